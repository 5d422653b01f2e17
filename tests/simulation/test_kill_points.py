"""kill -9 between a request's record and its delivery: none is lost, none counts twice.

A child is a whole node's way up: it writes request records to the journal, folds them into
the outbox as the agent does, and hands them over. It is killed at points drawn from a seed.
Each request has a model name of its own, so that each summary is one request, known by name.
"""

import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.node.record_keeper import RecordKeeper
from skerry.schema.records import Summary
from skerry.spine.journal import JournalReader
from skerry.spine.outbox import Outbox
from skerry.testing.clock import ManualClock

POINTS = 10
LINES_MAX, WAIT_S_MAX = 60, 0.004
CHILD = """
import random, sys
from pathlib import Path
import msgspec
from skerry.base.clock import SystemClock
from skerry.node import record_keeper
from skerry.schema.records import Outcome, RequestRecord, Summary
from skerry.spine.journal import JournalReader, JournalWriter
from skerry.spine.outbox import Outbox

folder, life = Path(sys.argv[1]), int(sys.argv[2])
rng = random.Random(life)
record_keeper.READ_MAX = 20  # so that a journal is read in more than one turn
journal = JournalWriter(folder / "journal", segment_bytes=8192)
# Three lives share a boot id, the worst case for keys.
outbox = Outbox(
    folder / "outbox.db", region="eu", site="oslo", node_number=1, boot=f"b{life // 3}"
)
keeper = record_keeper.RecordKeeper(
    JournalReader(folder / "journal"), outbox, site="oslo", node="oslo/1",
    clock=SystemClock(), on_new=lambda: None,
)
number = life * 1_000_000
while True:
    first, number = number, number + rng.randint(1, 40)
    for one in range(first, number):
        journal.append(msgspec.msgpack.encode(RequestRecord(
            at_unix_ms=1_700_000_000_000 + number, model=f"m{one}", version="1",
            data_class="internal", outcome=Outcome.OK, latency_us=1000, served_site="oslo",
            served_node="oslo/1", served_tier="closet", reason="local", bytes_in=1,
            bytes_upstream=0,
        )))
    journal.flush()
    print("wrote", first, number, flush=True)
    for _ in range(rng.randint(0, 3)):
        keeper.turn()
    ready = outbox.take(rng.randint(0, 40))
    for one in ready:  # what the region has acknowledged, as it sees it
        told = msgspec.json.decode(one.body, type=Summary)
        print("sent", one.key, told.model, told.count, flush=True)
    outbox.ack([one.key for one in ready])
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the requests over all kills."""

    points: int
    requests: int
    lost: int
    doubled: int
    sent_again: int
    """Handed over twice under one key: what the region's own check is for."""


def kill_points(folder: Path, points: int, seed: int) -> Kept:
    """Kill `points` lives of a node one after another, then count what there is."""
    rng = random.Random(seed)
    wrote: set[str] = set()
    stored: dict[str, tuple[str, int]] = {}
    repeats = 0
    for life in range(points):
        for line in _one_life(folder, life, rng):
            match line.split():
                case ["wrote", first, end]:
                    wrote |= {f"m{number}" for number in range(int(first), int(end))}
                case ["sent", key, model, count]:
                    repeats += key in stored
                    assert stored.get(key, (model, int(count))) == (model, int(count))
                    stored[key] = (model, int(count))
    stored |= _left(folder)
    counts: Counter[str] = Counter()
    for model, count in stored.values():
        counts[model] += count
    doubled = sum(count > 1 for count in counts.values())
    return Kept(points, len(wrote), len(wrote - counts.keys()), doubled, repeats)


def _one_life(folder: Path, life: int, rng: random.Random) -> list[str]:
    """Run a child up to a point within its work; return the whole lines that it got out."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(life)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(rng.randint(1, LINES_MAX))]
    time.sleep(rng.uniform(0, WAIT_S_MAX))  # the point itself: anywhere, not just after a line
    child.kill()
    lines += child.stdout.readlines()
    assert child.wait() == -9, "the child ended before it was killed"
    return [line for line in lines if line.endswith("\n")]


def _left(folder: Path) -> dict[str, tuple[str, int]]:
    """Read the rest of the journal as the next agent would; return what the outbox holds."""
    outbox = Outbox(folder / "outbox.db", region="eu", site="oslo", node_number=1, boot="end")
    keeper = RecordKeeper(
        JournalReader(folder / "journal"),
        outbox,
        site="oslo",
        node="oslo/1",
        clock=ManualClock(),
        on_new=lambda: None,
    )
    while keeper.turn():
        pass
    assert keeper.unreadable == 0
    summaries = {
        one.key: msgspec.json.decode(one.body, type=Summary) for one in outbox.take(1_000_000)
    }
    outbox.close()
    return {key: (one.model, one.count) for key, one in summaries.items()}


def test_kill_9_between_record_and_delivery_loses_nothing_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    kept = kill_points(tmp_path, POINTS, seed=5)
    assert (kept.points, kept.lost, kept.doubled) == (POINTS, 0, 0)
    assert kept.requests > 20 * POINTS
