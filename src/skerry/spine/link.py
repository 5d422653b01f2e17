"""Link emulator: signatures first, bodies follow in the next commit.

Run as a process: `python -m skerry.spine.link CONFIG.json` where CONFIG is a `LinksConfig`.
"""

from pathlib import Path

import msgspec


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One emulated link, dialed at `listen_port`, ending at the target. Delay is one way."""

    name: str
    listen_port: int
    target_host: str
    target_port: int
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    bandwidth_bit_per_s: float = 0.0
    """0 for no limit."""
    listen_host: str = "127.0.0.1"


class LinksConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All links of one process, and the Unix socket it is controlled by."""

    links: tuple[LinkSpec, ...]
    control: str
    seed: int = 0


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One link now. `up` is from the dialing side to the target."""

    name: str
    state: str
    """`open`, `cut` or `black-hole`."""
    delay_ms: float
    connections: int
    up_bytes: int
    down_bytes: int


async def run_links(config: LinksConfig) -> None:
    """Carry until cancelled."""
    raise NotImplementedError


class LinkControl:
    """Blocking client of the control socket; one short exchange per call. `LinkError`."""

    def __init__(self, control: Path) -> None:
        raise NotImplementedError

    def cut(self, name: str) -> None:
        """Reset what is open, refuse what comes."""
        raise NotImplementedError

    def black_hole(self, name: str) -> None:
        """Keep and accept connections, carry nothing."""
        raise NotImplementedError

    def heal(self, name: str) -> None:
        """Carry again."""
        raise NotImplementedError

    def set_delay(self, name: str, delay_ms: float) -> None:
        """Change the one-way delay."""
        raise NotImplementedError

    def status(self) -> dict[str, LinkStatus]:
        """All links now."""
        raise NotImplementedError
