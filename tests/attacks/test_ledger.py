"""Rows A23 and A24: an audit ledger that is tampered with, and one that is robbed of its disk,
its process or its collector.
"""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.schema.audit_api import AuditSettings, HttpExport
from skerry.testing.clock import ManualClock
from skerry.testing.siem import Collector
from skerry.trust.ledger import Ledger, open_ledger
from skerry.trust.ledger_errors import (
    AuditExportError,
    LedgerFullError,
    LedgerTamperedError,
    LogForkError,
    WitnessRetiredError,
)
from skerry.trust.ledger_export import Exporter, FileSink, sinks_of
from skerry.trust.ledger_notes import SignedNote, read_note
from skerry.trust.ledger_ocsf import event_of, read_line
from skerry.trust.ledger_store import LEDGER_FILE, LedgerStore
from skerry.trust.ledger_tree import chain_start, leaf_hash
from skerry.trust.ledger_verify import verify_folder, verify_lines
from skerry.trust.ledger_witness import Witness, compare

OWNER = "oslo.eu.clinic.example/node/1"
POINTS = 10


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no event wait for others to come."""
    monkeypatch.setattr("skerry.trust.ledger.GROUP_S_MAX", 0)


def nothing(*_: object, **__: object) -> None:
    """Stand where a check stood."""


a23 = pytest.mark.attack(
    row="A23",
    title="audit tampering: rows changed, lost, moved or added, an older copy, two views",
    refused="AUDIT_TAMPERED, LOG_FORK",
    off={
        f"skerry.trust.{name}": nothing
        for name in (
            "ledger_verify.check_leaf",
            "ledger_verify.check_whole",
            "ledger_verify.check_witnessed",
            "ledger_witness.check_continues",
            "ledger_witness.check_memory",
            "ledger_witness.check_one_view",
        )
    },
)
a24 = pytest.mark.attack(
    row="A24",
    title="audit loss: kill -9 at every step, disk full, collector away, slow or duplicating",
    refused="AUDIT_DISK_LOW",
    off={"skerry.trust.ledger.check_room": nothing},
)


def note(ledger: Ledger, count: int, what: str = "m", **changed: Any) -> None:
    for n in range(count):
        facts: dict[str, Any] = {
            "kind": AuditKind.UPDATE,
            "outcome": AuditOutcome.DONE,
            "actor": OWNER,
            "target": f"{what}-{n}",
        }
        ledger.note_now(AuditEvent(**facts | changed))


def grow(folder: Path, count: int, what: str = "m") -> SignedNote:
    """Add entries to a ledger; returns its newest checkpoint."""
    ledger = open_ledger(folder, OWNER, ManualClock())
    note(ledger, count, what)
    ledger.sign_now()
    newest = ledger.store.checkpoints()[-1][1]
    ledger.close()
    return read_note(newest)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "audit"
    grow(folder, 20)
    grow(folder, 20)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "audit")
    return tmp_path / "audit"


# --- A23 ------------------------------------------------------------------------------

SWAP = """
UPDATE entry SET seq = 100 WHERE seq = 7; UPDATE entry SET seq = 7 WHERE seq = 8;
UPDATE entry SET seq = 8 WHERE seq = 100;
"""
INSERT = """
UPDATE entry SET seq = -seq - 1 WHERE seq > 6; UPDATE entry SET seq = -seq WHERE seq < 0;
INSERT INTO entry SELECT 7, leaf, body FROM entry WHERE seq = 3;
"""


@a23
@pytest.mark.parametrize(
    ("change", "first_bad"),
    [
        ("UPDATE entry SET body = replace(body, 'm-6', 'x-6') WHERE seq = 7", 7),
        ("DELETE FROM entry WHERE seq = 7", 7),
        (SWAP, 7),
        ("DELETE FROM entry WHERE seq > 30", 31),
        (INSERT, 7),
    ],
    ids=["changed", "deleted", "reordered", "truncated", "inserted"],
)
def test_a23_the_first_bad_entry_is_named(copy: Path, change: str, first_bad: int) -> None:
    with sqlite3.connect(copy / LEDGER_FILE) as base:
        base.executescript(change)
    with pytest.raises(LedgerTamperedError) as refused:
        verify_folder(copy)
    assert refused.value.seq == first_bad


@a23
def test_a23_every_hash_made_anew_still_lacks_the_signature(copy: Path) -> None:
    store = LedgerStore(copy, writable=False)
    entries, last = store.entries(0, 100), chain_start(store.origin)
    store.close()
    with sqlite3.connect(copy / LEDGER_FILE) as base:
        for entry in entries:
            body = entry.body.replace(b"m-6", b"x-6")
            last = leaf_hash(last, body)
            row = (body, last, entry.seq)
            base.execute("UPDATE entry SET body = ?, leaf = ? WHERE seq = ?", row)
    with pytest.raises(LedgerTamperedError, match="not those that were signed"):
        verify_folder(copy)


@a23
def test_a23_an_older_copy_is_found_by_what_a_witness_saw(tmp_path: Path) -> None:
    grow(tmp_path / "audit", 5)
    shutil.copytree(tmp_path / "audit", tmp_path / "older")
    seen = grow(tmp_path / "audit", 5)
    with pytest.raises(LogForkError):
        verify_folder(tmp_path / "older", witnessed=[seen])


@a23
def test_a23_a_witness_refuses_the_older_copy_and_what_grows_from_it(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "witness", "w", now_unix_s=0)
    grow(tmp_path / "audit", 5)
    shutil.copytree(tmp_path / "audit", tmp_path / "older")
    show(witness, grow(tmp_path / "audit", 5, "new"), tmp_path / "audit", 0)
    for grown in (1, 30):
        forked = grow(tmp_path / "older", grown, "forked")
        with pytest.raises(LogForkError):
            show(witness, forked, tmp_path / "older", 10)
    witness.close()


def show(witness: Witness, seen: SignedNote, folder: Path, old_size: int) -> None:
    ledger = open_ledger(folder, OWNER, ManualClock())
    size = seen.checkpoint.size
    proof = ledger.proof(old_size, size) if old_size < size else []
    text, key = ledger.store.checkpoints()[-1][1], ledger.store.first_key
    ledger.close()
    witness.see(text, key, proof, owner=OWNER, old_size=old_size, now_unix_s=0)


@a23
def test_a23_two_views_for_two_witnesses_do_not_compare(tmp_path: Path) -> None:
    grow(tmp_path / "one", 5)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    views = [grow(tmp_path / name, 5, name) for name in ("one", "two")]
    for name, view in zip(("one", "two"), views, strict=True):
        witness = Witness(tmp_path / f"witness-{name}", name, now_unix_s=0)
        show(witness, view, tmp_path / name, 0)  # each sees nothing wrong alone
        witness.close()
    with pytest.raises(LogForkError):
        compare(*views)


@a23
def test_a23_a_witness_that_forgot_is_retired(tmp_path: Path) -> None:
    Witness(tmp_path, "w", now_unix_s=0).close()
    (tmp_path / "witness.db").unlink()
    with pytest.raises(WitnessRetiredError):
        Witness(tmp_path, "w", now_unix_s=0)


# --- A24 ------------------------------------------------------------------------------


@a24
def test_a24_a_full_disk_refuses_actions_and_still_takes_evidence(tmp_path: Path) -> None:
    room = [10**9]
    ledger = open_ledger(tmp_path, OWNER, ManualClock(), free=lambda _: room[0])
    room[0] = 0
    with pytest.raises(LedgerFullError):
        note(ledger, 1)
    note(ledger, 3, outcome=AuditOutcome.REFUSED)
    ledger.close()
    assert verify_folder(tmp_path).entries == 3


@a24
def test_a24_a_collector_that_is_away_slow_or_deaf_gets_every_event_once(tmp_path: Path) -> None:
    """After dropping repeats of a chain and number, nothing is lost and nothing doubled."""
    collector = Collector().serve_http()
    ledger = open_ledger(tmp_path / "audit", OWNER, ManualClock())
    settings = HttpExport(url=f"http://127.0.0.1:{collector.port}/", batch=20)
    sink = sinks_of(AuditSettings(http=settings))["http"]
    rng = random.Random(24)
    for _ in range(30):
        collector.mood = rng.choice(["well", "away", "slow", "deaf"])
        note(ledger, rng.randint(1, 20))
        exporter = Exporter(ledger.store, sink(), tmp_path / "cursor")
        for _ in range(2):
            try:
                exporter.turn()
            except AuditExportError:
                continue
    collector.mood = "well"
    while exporter.turn():
        pass
    size = ledger.store.size()
    ledger.close()
    unique = {read_line(line).seq: line for line in collector.lines}
    assert sorted(unique) == list(range(1, size + 1))
    assert len(collector.lines) > size  # it was deaf now and then
    assert verify_lines([unique[seq] for seq in sorted(unique)], "siem").entries == size
    collector.stop()


CHILD = """
import asyncio, os, random, signal, sys
from pathlib import Path

from skerry.base.clock import SystemClock
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.trust import ledger, ledger_export, ledger_keys, ledger_store

folder, steps, at = Path(sys.argv[1]), 0, 0


def step():
    global steps
    steps += 1
    if steps == at:
        os.kill(os.getpid(), signal.SIGKILL)


def stepped(owner, name):
    real = getattr(owner, name)
    def run(*given, **named):
        step()
        try:
            return real(*given, **named)
        finally:
            step()
    setattr(owner, name, run)


for owner, name in (
    (ledger_store.LedgerStore, "append"), (ledger_store.LedgerStore, "add_checkpoint"),
    (ledger_keys.SigningKey, "save"), (ledger.Ledger, "_settle_key"), (ledger, "sign"),
    (ledger_export.FileSink, "send"), (ledger_export, "write_private"),
):
    stepped(owner, name)
ledger.CHECKPOINT_S = 0.01
ledger_keys.KEY_LIFE_S = 0.05


async def act(book, name):
    await book.note(AuditEvent(
        kind=AuditKind.UPDATE, outcome=AuditOutcome.DONE, actor="a", target=name
    ))
    os.write(1, f"{name}\\n".encode())  # the action itself


async def live(life):
    book = ledger.open_ledger(folder / "audit", "oslo.eu.clinic.example/node/1", SystemClock())
    exporter = ledger_export.Exporter(
        book.store, ledger_export.FileSink(folder / "out.jsonl"), folder / "cursor"
    )
    rng, number = random.Random(life), 0
    while True:
        group = range(number, number + rng.randint(1, 60))
        number = group.stop
        await asyncio.gather(*(act(book, f"{life}-{n}") for n in group))
        if rng.random() < 0.5:
            exporter.turn()


for line in sys.stdin:  # each life is a process of its own, without the cost of a new Python
    life, at = map(int, line.split())
    pid = os.fork()
    if not pid:
        asyncio.run(live(life))
    _, status = os.waitpid(pid, 0)
    os.write(1, f"ended {status}\\n".encode())
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the actions over all kills."""

    points: int
    actions: int
    lost: int
    doubled: int
    entries: int
    exported_again: int


def kill_points(folder: Path, points: int, seed: int) -> Kept:
    """Kill `points` lives of a process at a step of their own, then count what there is."""
    rng, acted = random.Random(seed), Counter[str]()
    command = [sys.executable, "-c", CHILD, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for life in range(points):
            child.stdin.write(f"{life} {rng.randint(1, 200)}\n")
            while not (line := child.stdout.readline().strip()).startswith("ended"):
                assert line, "the child ended"
                acted[line] += 1
            assert line == f"ended {int(signal.SIGKILL)}", line
        child.stdin.close()
    ledger = open_ledger(folder / "audit", OWNER, ManualClock(start_unix_s=time.time()))
    exporter = Exporter(ledger.store, FileSink(folder / "out.jsonl"), folder / "cursor")
    while exporter.turn():
        pass
    ledger.close()
    size = verify_folder(folder / "audit").entries
    store = LedgerStore(folder / "audit", writable=False)
    noted = Counter(event_of(entry.body)[0].target for entry in store.entries(0, 10**9))
    store.close()
    lines = whole_lines((folder / "out.jsonl").read_bytes())
    unique = {line.seq: line for line in map(read_line, lines)}
    assert all(line.fits for line in unique.values())
    assert sorted(unique) == list(range(1, size + 1))
    assert not list((folder / "audit").glob("tampered-*"))
    return Kept(
        points=points,
        actions=len(acted),
        lost=sum(name not in noted for name in acted),
        doubled=sum(noted[name] > 1 for name in acted),
        entries=size,
        exported_again=len(lines) - size,
    )


def whole_lines(data: bytes) -> list[bytes]:
    """Return the lines that were written whole: a kill may have left half a one."""
    found = []
    for line in data.split(b"\n"):
        try:
            read_line(line)
        except Exception:
            continue
        found.append(line)
    return found


@a24
def test_a24_kill_9_at_any_step_loses_no_action_and_leaves_a_whole_chain(tmp_path: Path) -> None:
    kept = kill_points(tmp_path, POINTS, seed=24)
    assert (kept.points, kept.lost, kept.doubled) == (POINTS, 0, 0)
    assert kept.actions > 10 * POINTS
