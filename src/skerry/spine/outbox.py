"""Outbox: signatures first, bodies follow in the next commit."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from skerry.schema.records import Envelope, Keep
from skerry.spine.journal import Cursor


class OutboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`bytes_max` bounds the bodies; beyond `warn_ratio` of it in must records, `over_share` is set."""

    bytes_max: int = 256 << 20
    warn_ratio: float = 0.8


class Entry(msgspec.Struct, frozen=True):
    """One record to keep: `Entry(Keep.MUST, "event", unix_ms, json_bytes)`."""

    keep: Keep
    kind: str
    at_unix_ms: int
    body: bytes


class OutboxStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the outbox holds; `dropped` counts records given up since the outbox was created."""

    records: dict[Keep, int]
    dropped: dict[Keep, int]
    bytes: int
    oldest_unix_ms: int | None
    over_share: bool


class Outbox:
    """Records on their way up, on disk. Safe to call from several threads of one process."""

    def __init__(
        self,
        path: Path,
        *,
        region: str,
        site: str,
        node_number: int,
        boot: str,
        limits: OutboxLimits = OutboxLimits(),
    ) -> None:
        raise NotImplementedError

    def put_many(self, entries: Sequence[Entry], *, cursor: Cursor | None = None) -> list[str]:
        """Store entries and the journal cursor in one transaction; returns keys ("" where dropped).

        Raises `OutboxFullError`.
        """
        raise NotImplementedError

    def take(self, limit: int) -> list[Envelope]:
        """Return up to `limit` records, must first, then oldest. They stay until `ack`."""
        raise NotImplementedError

    def ack(self, keys: Sequence[str]) -> None:
        """Forget records that the region has stored."""
        raise NotImplementedError

    def cursor(self) -> Cursor:
        """Return the journal cursor of the last transaction."""
        raise NotImplementedError

    def stats(self) -> OutboxStats:
        """Count what is held and what was dropped."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""
        raise NotImplementedError
