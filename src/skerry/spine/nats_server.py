"""NATS child: signatures first, bodies follow in the next commit."""

from pathlib import Path

from skerry.spine.nats_config import ServerConfig


def server_binary() -> Path:
    """Find the program: `SKERRY_NATS_SERVER`, beside this Python, or on PATH; `ServerBinaryError`."""
    raise NotImplementedError


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago."""
    raise NotImplementedError


class NatsServer:
    """A supervised nats-server child; start it from the main thread (event loop thread of the process)."""

    def __init__(self, config: ServerConfig, folder: Path) -> None:
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The child's id while it runs."""
        raise NotImplementedError

    @property
    def client_url(self) -> str:
        """`tls://127.0.0.1:<client port>`."""
        raise NotImplementedError

    async def start(self, *, deadline_s: float = 10.0) -> float:
        """Start and wait until healthy; returns the seconds it took. `ServerStartError`, `FolderBusyError`."""
        raise NotImplementedError

    async def healthy(self) -> bool:
        """Whether `/healthz` says so now."""
        raise NotImplementedError

    async def leafs(self) -> int:
        """How many leaf connections there are (`/leafz`)."""
        raise NotImplementedError

    def reload(self) -> None:
        """Make it read rotated certificates (SIGHUP)."""
        raise NotImplementedError

    async def watch(self) -> int:
        """Wait until the child ends; returns its exit status (restart it with `start`)."""
        raise NotImplementedError

    async def stop(self, *, deadline_s: float = 5.0) -> None:
        """SIGTERM, wait, then SIGKILL."""
        raise NotImplementedError
