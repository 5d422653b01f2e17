"""The agent's books: whoever is killed, whenever, each request counts exactly once."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from skerry.node import record_keeper
from skerry.node.record_keeper import RecordKeeper
from skerry.node.recorder import Recorder
from skerry.schema.oip import InferReply, InferRequest
from skerry.schema.records import Outcome, RequestRecord, Summary
from skerry.spine.errors import OutboxFullError
from skerry.spine.journal import JournalReader, JournalWriter
from skerry.spine.outbox import Outbox, OutboxLimits
from skerry.testing.clock import ManualClock

AT_MS = 1_700_000_000_000


def record(number: int) -> bytes:
    one = RequestRecord(
        at_unix_ms=AT_MS + 10 * number,
        model="a",
        version="1",
        data_class="internal",
        outcome=Outcome.OK,
        latency_us=1000,
        served_site="oslo",
        served_node="oslo/1",
        served_tier="closet",
        reason="local",
        bytes_in=1,
        bytes_upstream=0,
    )
    return msgspec.msgpack.encode(one)


def outbox_at(folder: Path, *, boot: str = "b1", bytes_max: int = 1 << 20) -> Outbox:
    return Outbox(
        folder / "outbox.db",
        region="region-eu",
        site="oslo",
        node_number=1,
        boot=boot,
        limits=OutboxLimits(bytes_max=bytes_max),
    )


def keeper_of(folder: Path, outbox: Outbox) -> RecordKeeper:
    return RecordKeeper(
        JournalReader(folder / "journal"),
        outbox,
        site="oslo",
        node="oslo/1",
        clock=ManualClock(),
        on_new=lambda: None,
    )


def counted(outbox: Outbox) -> int:
    summaries = [one for one in outbox.take(10_000) if one.kind == "summary"]
    return sum(msgspec.json.decode(one.body, type=Summary).count for one in summaries)


def write(folder: Path, count: int) -> None:
    journal = JournalWriter(folder / "journal")
    for number in range(count):
        journal.append(record(number))
    journal.close()


def test_requests_become_summaries_and_an_event_lies_beside_them(tmp_path: Path) -> None:
    write(tmp_path, 250)
    outbox = outbox_at(tmp_path)
    keeper = keeper_of(tmp_path, outbox)
    assert keeper.turn() is False
    keeper.event("agent.started", "agent of oslo/1")
    assert counted(outbox) == 250
    assert keeper.recent.window(from_unix_ms=0, to_unix_ms=AT_MS + 5000).requests == 250
    assert [one.kind for one in outbox.take(100)].count("event") == 1
    assert keeper.turn() is False
    assert counted(outbox) == 250


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("seed", range(10))
def test_an_agent_killed_at_any_step_counts_each_request_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Killed before or after the read, the fold, the transaction and the release."""
    monkeypatch.setattr(record_keeper, "READ_MAX", 20)
    rng = random.Random(seed)
    write(tmp_path, 200)
    for life in range(30):
        outbox = outbox_at(tmp_path, boot=f"b{life}")
        keeper = keeper_of(tmp_path, outbox)
        name, after = rng.choice(["read", "put_many", "release"]), rng.random() < 0.5
        owner = outbox if name == "put_many" else keeper._reader
        work = getattr(owner, name)

        def cut(*args: object, _work=work, _after=after, **more: object) -> None:  # type: ignore[no-untyped-def]
            if _after:
                _work(*args, **more)
            raise Killed

        for _ in range(rng.randint(0, 2)):
            keeper.turn()
        setattr(owner, name, cut)
        try:
            while keeper.turn():
                pass
        except Killed:
            pass
        outbox.close()
    outbox = outbox_at(tmp_path, boot="last")
    keeper = keeper_of(tmp_path, outbox)
    while keeper.turn():
        pass
    assert counted(outbox) == 200


def test_while_the_outbox_is_full_records_wait_in_the_journal(tmp_path: Path) -> None:
    write(tmp_path, 300)
    small = outbox_at(tmp_path, bytes_max=600)
    keeper = keeper_of(tmp_path, small)
    for _ in range(3):
        with pytest.raises(OutboxFullError):
            keeper.turn()
    assert counted(small) == 0
    keeper.event("x", "a long word " * 80)  # no room for it either; the agent goes on
    small.close()
    outbox = outbox_at(tmp_path, boot="b2")
    assert keeper_of(tmp_path, outbox).turn() is False
    assert counted(outbox) == 300


def test_a_record_that_no_version_of_ours_wrote_is_counted_and_passed(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "journal")
    for payload in (record(1), b"\xc1", record(2)):
        journal.append(payload)
    journal.close()
    outbox = outbox_at(tmp_path)
    keeper = keeper_of(tmp_path, outbox)
    keeper.turn()
    assert (keeper.unreadable, counted(outbox)) == (1, 2)


def test_a_worker_that_is_killed_loses_no_answer_it_gave_in_an_earlier_turn(tmp_path: Path) -> None:
    """kill -9 right after the turn in which the last answer was noted: all of them are there."""
    script = f"""
import asyncio, os, signal
from pathlib import Path
from skerry.base.clock import SystemClock
from skerry.node.recorder import Recorder
from skerry.schema.oip import InferRequest
from skerry.spine.journal import JournalWriter

async def infer(request):
    raise RuntimeError

async def main():
    journal = JournalWriter(Path({str(tmp_path / "journal")!r}))
    recorder = Recorder(infer, journal, site="oslo", clock=SystemClock())
    async def one():
        try:
            await recorder.infer(InferRequest(model="a", inputs=[]))
        except RuntimeError:
            pass
    await asyncio.gather(*(one() for _ in range(77)))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=30, check=False)
    assert done.returncode == -9
    outbox = outbox_at(tmp_path)
    keeper = keeper_of(tmp_path, outbox)
    keeper.turn()
    assert counted(outbox) == 77
    summary = msgspec.json.decode(outbox.take(1)[0].body, type=Summary)
    assert summary.outcome is Outcome.FAILED


def test_all_answers_of_one_turn_cost_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = JournalWriter(tmp_path / "journal")
    flushes: list[int] = []
    flush = journal.flush
    monkeypatch.setattr(journal, "flush", lambda: (flushes.append(1), flush()))

    async def infer(request: InferRequest) -> InferReply:
        raise RuntimeError

    async def main() -> None:
        recorder = Recorder(infer, journal, site="oslo", clock=ManualClock())
        request = InferRequest(model="a", inputs=[])
        await asyncio.gather(*(recorder.infer(request) for _ in range(50)), return_exceptions=True)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert len(flushes) == 1
