"""One real node worker whose received bytes are watched: which marked content did it see?

    python benchmarks/leaks_node.py --state DIR --tally FILE [--broken]

Everything is the product's own worker; only its HTTP connections are watched, behind
TLS and before any parsing, so content that is refused on arrival counts as seen too.
A marked payload says its data class, its origin and the policy's generation; sightings
are counted in a shared file, which survives the death of the process.

`--broken` switches the residency filter off, to show that a leak would be found.
"""

import argparse
import asyncio
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = b"\xa7SKERRY-MARK\x1b"
MARKED_BYTES = len(MARK) + 3
CLASSES, SITES, GENERATIONS = 8, 16, 64
TALLY_BYTES = CLASSES * SITES * GENERATIONS * 4


def marked(data_class: int, origin: int, generation: int) -> bytes:
    """Return the mark of one payload."""
    return MARK + bytes((data_class, origin, generation))


class Tally:
    """Counts of sightings, in a file that outlives this process."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(TALLY_BYTES))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), TALLY_BYTES)
        self._counts = memoryview(self._map).cast("I")

    def saw(self, data: bytes) -> None:
        """Count every whole mark in some bytes."""
        at = data.find(MARK)
        while at >= 0 and at + MARKED_BYTES <= len(data):
            data_class, origin, generation = data[at + len(MARK) : at + MARKED_BYTES]
            self._counts[(generation * CLASSES + data_class) * SITES + origin] += 1
            at = data.find(MARK, at + MARKED_BYTES)

    def sightings(self) -> list[tuple[int, int, int, int]]:
        """Return what was seen: class, origin, generation, and how often."""
        found = []
        for index, count in enumerate(self._counts):
            if count:
                rest, origin = divmod(index, SITES)
                generation, data_class = divmod(rest, CLASSES)
                found.append((data_class, origin, generation, count))
        return found


def watch(tally: Tally) -> None:
    """Have every HTTP connection of this process count the marks in what it receives."""
    from skerry.serve.http_connection import HttpConnection

    tails: dict[int, bytes] = {}  # a mark may lie across two reads

    def look(connection: Any, data: bytes) -> None:
        whole = tails.get(id(connection), b"") + data
        tally.saw(whole)
        last = whole.rfind(MARK)
        done = last + MARKED_BYTES if 0 <= last <= len(whole) - MARKED_BYTES else 0
        tails[id(connection)] = whole[max(done, len(whole) - MARKED_BYTES + 1) :]

    made = HttpConnection.connection_made

    def connection_made(self: Any, transport: Any) -> None:
        tails.pop(id(self), None)
        made(self, transport)

    HttpConnection.connection_made = connection_made  # type: ignore[method-assign]
    if hasattr(HttpConnection, "buffer_updated"):
        _watch_buffers(HttpConnection, look)
    else:
        received = HttpConnection.data_received

        def data_received(self: Any, data: bytes) -> None:
            look(self, bytes(data))
            received(self, data)

        HttpConnection.data_received = data_received  # type: ignore[method-assign]


def _watch_buffers(kind: Any, look: Callable[[Any, bytes], None]) -> None:
    get_buffer, updated = kind.get_buffer, kind.buffer_updated
    given: dict[int, Any] = {}

    def watched_get(self: Any, size: int) -> Any:
        given[id(self)] = buffer = get_buffer(self, size)
        return buffer

    def watched_updated(self: Any, count: int) -> None:
        look(self, bytes(memoryview(given[id(self)]).cast("B")[:count]))
        updated(self, count)

    kind.get_buffer, kind.buffer_updated = watched_get, watched_updated


def break_filter() -> None:
    """Let everything go everywhere: the fault that the run must find."""
    from skerry.route import choose, journey

    def nothing(*_: object) -> str:
        return ""

    choose.refusal = journey.refusal = nothing  # type: ignore[assignment]


def main() -> None:
    """Run the worker until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--tally", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--broken", action="store_true")
    chosen = parser.parse_args()
    from skerry.base.processes import end_with_parent
    from skerry.node.worker import run_worker

    end_with_parent(chosen.parent)
    watch(Tally(chosen.tally))
    if chosen.broken:
        break_filter()
    work = run_worker(chosen.state, announce=True)
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    main()
