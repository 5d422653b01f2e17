"""The audit ledger: durable events per second, 1,000 kills, and how fast a ledger is checked.

    python benchmarks/ledger.py [--points 1000] [--seed 24] [--events 20000]

Each event is waited for, as an action waits: 500 tasks note at once, so groups fill. The kills
are those of `tests/attacks/test_ledger.py`, which makes ten. Figures depend on how fast the disk
flushes; a single flush is told beside them.
"""

import argparse
import asyncio
import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

from measured import median_ms, tell

from skerry.base.clock import SystemClock
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.trust.ledger import open_ledger
from skerry.trust.ledger_verify import verify_folder

TEST = Path(__file__).parent.parent / "tests" / "attacks" / "test_ledger.py"
TASKS = 500
NAME = "spiffe://oslo.region-eu.clinic.example/node/1"


async def note_all(folder: Path, events: int) -> tuple[float, float]:
    """Note events from many tasks; returns events per second, and bytes per event."""
    ledger = open_ledger(folder, NAME, SystemClock())

    async def actor(task: int) -> None:
        for n in range(events // TASKS):
            await ledger.note(
                AuditEvent(
                    kind=AuditKind.JOIN,
                    outcome=AuditOutcome.DONE,
                    actor=f"spiffe://site-{task}.region-eu.clinic.example/node/1",
                    target="region-eu",
                    text="site-1/1 gets a certificate and a login",
                    fields={"ends_unix_s": str(n), "login": "U" * 56},
                )
            )

    began_s = time.perf_counter()
    await asyncio.gather(*(actor(task) for task in range(TASKS)))
    took_s = time.perf_counter() - began_s
    ledger.close()
    size = (folder / "ledger.db").stat().st_size
    return events / took_s, size / events


def one_by_one_ms(folder: Path) -> float:
    """Return how long a lone action waits for its record."""
    ledger = open_ledger(folder, NAME, SystemClock())
    event = AuditEvent(kind=AuditKind.BAN, outcome=AuditOutcome.DONE, actor="ann", target="oslo/1")
    waited_ms = median_ms(lambda: ledger.note_now(event), times=50)
    ledger.close()
    return waited_ms


def flush_ms(folder: Path) -> float:
    """Return how long the disk takes to make one page last."""
    handle = os.open(folder / "page", os.O_WRONLY | os.O_CREAT, 0o600)

    def flush() -> None:
        os.pwrite(handle, bytes(4096), 0)
        os.fsync(handle)

    took_ms = median_ms(flush, times=50)
    os.close(handle)
    return took_ms


def main() -> int:
    """Measure, kill, print; 0 only if no acknowledged event is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=24)
    parser.add_argument("--events", type=int, default=20_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        per_s, size = asyncio.run(note_all(folder / "many", chosen.events))
        tell("ledger-events", per_s, "events/s")
        tell("ledger-event-bytes", size, "bytes")
        tell("ledger-lone-event", one_by_one_ms(folder / "one"), "ms")
        tell("disk-flush", flush_ms(folder), "ms")
        began_s = time.perf_counter()
        entries = verify_folder(folder / "many").entries
        tell("ledger-verified", entries / (time.perf_counter() - began_s), "entries/s")
    spec = importlib.util.spec_from_file_location("ledger_attacks", TEST)
    assert spec is not None
    assert spec.loader is not None
    attacks = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = attacks  # dataclasses look their module up
    spec.loader.exec_module(attacks)
    with tempfile.TemporaryDirectory() as name:
        kept = attacks.kill_points(Path(name), chosen.points, chosen.seed)
    tell("ledger-kills", kept.points, "kills")
    tell("ledger-kills-actions", kept.actions, "actions")
    tell("ledger-kills-lost", kept.lost, "actions")
    tell("ledger-kills-doubled", kept.doubled, "actions")
    return int(kept.lost > 0 or kept.doubled > 0)


if __name__ == "__main__":
    sys.exit(main())
