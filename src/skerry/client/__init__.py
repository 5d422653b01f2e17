"""The SDK, shaped like httpx: `Client` and `AsyncClient`, with the node's own routing inside."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.client.async_client import AsyncClient
    from skerry.client.sync_client import Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> object:
    """Load the two clients when they are first asked for, so that importing stays cheap."""
    if name == "AsyncClient":
        from skerry.client.async_client import AsyncClient

        return AsyncClient
    if name == "Client":
        from skerry.client.sync_client import Client

        return Client
    raise AttributeError(f"module 'skerry.client' has no attribute {name!r}")
