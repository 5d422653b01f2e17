"""System account of one NATS server: signatures first, bodies follow in the next commit."""

import ssl
from collections.abc import Callable, Sequence

from skerry.spine.nats_jwt import Credentials


class NatsAdmin:
    """Pushes account changes to one server and cuts live connections."""

    @classmethod
    async def connect(
        cls,
        servers: Sequence[str],
        *,
        tls: Callable[[], ssl.SSLContext],
        tls_hostname: str,
        credentials: Callable[[], Credentials],
    ) -> "NatsAdmin":
        """Log in with `ServerKit.system`."""
        raise NotImplementedError

    async def push_account(self, jwt: str) -> None:
        """Make the server use this account JWT. `AccountPushError`."""
        raise NotImplementedError

    async def live(self, public: str) -> list[int]:
        """Return the ids of live connections (clients and leafs) of a user key."""
        raise NotImplementedError

    async def revoke(self, jwt: str, publics: Sequence[str], *, deadline_s: float = 5.0) -> float:
        """Push, kick, and check that nobody of these is connected; returns the seconds it took."""
        raise NotImplementedError

    async def close(self) -> None:
        """Leave."""
        raise NotImplementedError
