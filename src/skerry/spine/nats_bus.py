"""The nats-py door: signatures first, bodies follow in the next commit."""

import ssl
from collections.abc import Callable, Sequence

from skerry.spine.nats_jwt import Credentials


class NatsBus:
    """`Bus` on a real NATS server. Reconnects for ever; `connect` is the constructor to use."""

    @classmethod
    async def connect(
        cls,
        servers: Sequence[str],
        *,
        name: str,
        inbox_prefix: str,
        tls: Callable[[], ssl.SSLContext],
        tls_hostname: str,
        credentials: Callable[[], Credentials],
        domain: str | None = None,
        on_note: Callable[[str], None] | None = None,
        timeout_s: float = 5.0,
        wait: bool = True,
    ) -> "NatsBus":
        """Connect. `tls` and `credentials` are asked again at every (re)connect, so they may renew.

        `wait=False` returns at once and keeps trying in the background. `domain` is the JetStream
        domain of `ensure_stream`, `pull` and `ack` (a region's own id, or `central`).
        """
        raise NotImplementedError

    async def replace_credentials(self) -> None:
        """Open a new connection with what `tls` and `credentials` now return, move over, drain the old."""
        raise NotImplementedError
