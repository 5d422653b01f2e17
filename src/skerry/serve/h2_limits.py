"""What one gRPC door gives to its clients, and how much of nothing a client may send."""

from dataclasses import dataclass

CALM_MAX = 2000
"""Frames that carry nothing which a client may send at once."""
CALM_PER_S = 200
RESETS_MAX = 1000
"""Calls that a client may take back at once (nghttp2's own bound)."""
RESETS_PER_S = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcLimits:
    """Each bound is there against a kind of attack."""

    head_bytes_max: int = 16 * 1024
    """Size of a header list; also the bytes that a block may take on the wire."""
    continuations_max: int = 8
    message_bytes_max: int = 64 * 1024**2
    held_bytes_max: int = 512 * 1024**2
    """All messages of all connections together."""
    connections_max: int = 1024
    streams_max: int = 256
    """Calls under way on one connection."""
    stream_window_bytes: int = 16 * 1024**2
    connection_window_bytes: int = 32 * 1024**2
    frame_bytes_max: int = 1024**2
    idle_s: float = 600.0
    head_s: float = 10.0
    """Longest time for the preface, and for a header block in pieces."""
    message_pause_s: float = 10.0
    """Longest silence within a message."""
    message_s: float = 120.0
    write_s: float = 30.0
    """Longest time a client may leave its answers unread or their windows shut."""


class Calm:
    """What a client has left of a kind of frame; useful work and time give some back."""

    __slots__ = ("_max", "left")

    def __init__(self, most: int) -> None:
        self._max = most
        self.left = float(most)

    def spend(self, count: float = 1) -> bool:
        """Take some; False when there is none left."""
        self.left -= count
        return self.left >= 0

    def earn(self, count: float) -> None:
        """Give some back."""
        self.left = min(self._max, self.left + count)
