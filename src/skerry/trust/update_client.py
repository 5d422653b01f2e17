"""A node's view of signed state: verified, never older than before, never after its time.

python-tuf does the verification; three guards are ours, because it has no defence there: a time
floor (a clock set back accepts expired things), a floor of versions and generations beside the
metadata (a wiped cache accepts an old repository), and the bootstrap root passed at every start
(a torn cache recovers). Expired metadata stops installing, never running.

Runs in a plain thread and imports no array, RPC or web library: a node's agent has 60 MB.

Errors:  UpdateRefused subclasses, each with a stable `reason`; UpdateUnreachable.
Source:  TUF specification 1.0.34; floors as in Uptane 2.1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skerry.base.clock import Clock

Fetch = Callable[[str, int], Iterator[bytes]]
"""`fetch(relative_path, max_length)` yields the bytes of `metadata/<file>` or `targets/<file>`.

Raises `FileNotFoundError` where the other side says that there is no such file, and any other
exception where it could not be asked.
"""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh found. `changed`: the snapshot is another than at the last refresh."""

    snapshot_version: int
    changed: bool


class UpdateClient:
    """The signed state of one fleet, kept in a folder of this node."""

    def __init__(self, folder: Path, bootstrap_root: bytes, fetch: Fetch, clock: Clock) -> None:
        raise NotImplementedError

    def refresh(self) -> Refreshed:
        """Bring the metadata up to date, or raise why that was refused."""
        raise NotImplementedError

    def target_bytes(self, path: str) -> bytes:
        """Return a target, verified; fetched only if it is not held. Call `refresh` first."""
        raise NotImplementedError

    def target_sha256(self, path: str) -> str | None:
        """Return the signed digest of a target, or None if nobody who may has signed it."""
        raise NotImplementedError

    def age_s(self) -> float:
        """Return how long ago the last refresh succeeded; infinite if none ever did."""
        raise NotImplementedError

    def check_fresh(self) -> None:
        """Raise `UpdateStale` if no refresh succeeded for three days: an alarm, not a stop."""
        raise NotImplementedError

    def generation_floor(self, name: str) -> int:
        """Return the newest generation ever accepted under this name; 0 for none."""
        raise NotImplementedError

    def raise_floor(self, name: str, generation: int) -> None:
        """Remember a generation as accepted. It never goes down."""
        raise NotImplementedError
