"""Were records lost or counted twice? A count from the disks, beside the processes.

Each outbox numbers its records 1, 2, 3 ... within one life of its agent. `note` reads
how far every node has counted; `lost` are numbers that central never got and that no
outbox holds any more. `twice` are records that central holds under two numbers with
the same content. It reads the databases as they lie on the disk and trusts no process's
word for it.
"""

import sqlite3
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from skerry.local.folder import LocalFolder

SETTLE_S = 0.25


@dataclass(frozen=True, slots=True)
class RecordCount:
    """What became of the records that nodes had on disk."""

    stored: int
    lost: int
    twice: int
    waiting: int
    """Still on a node's disk, on their way."""


class RecordAudit:
    """Follows the record numbers of every node of a local fleet."""

    def __init__(self, folder: LocalFolder) -> None:
        self._folder = folder
        self._last: dict[str, int] = {}
        """`<site>.<n>.<boot>` to the highest number seen on disk."""

    def note(self) -> None:
        """Read how far every node has counted; call it before and after each fault."""
        for outbox in (self._folder.state / "nodes").glob("*/outbox.db"):
            site, _, number = outbox.parent.name.rpartition("-")
            for value in _column(outbox, "SELECT value FROM fact WHERE name = 'sequence'"):
                boot, _, last = value.partition(":")
                life = f"{site}.{number}.{boot}"
                self._last[life] = max(self._last.get(life, 0), int(last))

    def count(self, *, wait_s: float) -> RecordCount:
        """Wait until nothing is on its way (or the time is up), then count."""
        deadline_s = time.monotonic() + wait_s
        while True:
            self.note()
            wanted = dict(self._last)
            found = self._count(wanted)
            if (found.waiting == 0 and found.lost == 0) or time.monotonic() > deadline_s:
                return found
            time.sleep(SETTLE_S)

    def _count(self, wanted: dict[str, int]) -> RecordCount:
        waiting = {
            key
            for outbox in (self._folder.state / "nodes").glob("*/outbox.db")
            for key in _column(outbox, "SELECT key FROM record")
        }
        central = self._folder.central / "central.db"
        keys = _column(central, "SELECT key FROM records")
        numbers: dict[str, set[int]] = defaultdict(set)
        for key in [*keys, *waiting]:
            region_and_life, _, number = key.rpartition(".")
            numbers[region_and_life.partition(".")[2]].add(int(number))
        lost = sum(
            last - len({n for n in numbers[life] if n <= last}) for life, last in wanted.items()
        )
        bodies = Counter(_column(central, "SELECT node || '|' || hex(body) FROM records"))
        twice = sum(count - 1 for count in bodies.values())
        in_both = waiting & set(keys)  # stored, and the word that it was is still on its way
        return RecordCount(len(keys), lost, twice, len(waiting - in_both))


def _column(path: Path, query: str) -> list[str]:
    """Read one column of a database that a process may be writing; nothing if it is not there."""
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
    try:
        return [row[0] for row in connection.execute(query)]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # made just now
            return []
        raise
    finally:
        connection.close()
