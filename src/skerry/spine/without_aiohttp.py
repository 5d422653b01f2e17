"""Keeps aiohttp out of a process that only speaks NATS: it would cost the agent 15 MB.

nats-py imports aiohttp for its websocket transport if it is installed, and does well without.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def blocked() -> Iterator[None]:
    """Make `import aiohttp` fail inside the block, unless it is loaded already."""
    if "aiohttp" in sys.modules:
        yield
        return
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # what Python documents for this
    try:
        yield
    finally:
        del sys.modules["aiohttp"]
