"""The outbox: nothing stored is lost or doubled, whatever is killed; must outlives the rest."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from skerry.schema.records import Keep
from skerry.spine.errors import OutboxBrokenError, OutboxFullError
from skerry.spine.journal import Cursor
from skerry.spine.outbox import Entry, Outbox, OutboxLimits


def outbox(folder: Path, *, boot: str = "b1", **limits: Any) -> Outbox:
    return Outbox(
        folder / "outbox.db",
        region="eu",
        site="oslo",
        node_number=1,
        boot=boot,
        limits=OutboxLimits(**limits),
    )


def entry(keep: Keep, number: int, size: int = 0) -> Entry:
    return Entry(keep, "summary", number, b'{"n":%d,"pad":"%s"}' % (number, b"x" * size))


def test_keys_count_on_across_reopening_and_begin_anew_with_each_boot(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    assert box.put_many([entry(Keep.MUST, 1)]) == ["eu.oslo.1.b1.1"]
    box.ack(["eu.oslo.1.b1.1"])
    box.close()
    box = outbox(tmp_path)  # the same boot, opened again: its numbers never return
    assert box.put_many([entry(Keep.MUST, 2)]) == ["eu.oslo.1.b1.2"]
    box.close()
    assert outbox(tmp_path, boot="b2").put_many([entry(Keep.MUST, 3)]) == ["eu.oslo.1.b2.1"]


def test_must_leaves_first_then_the_oldest_and_each_stays_until_acknowledged(
    tmp_path: Path,
) -> None:
    box = outbox(tmp_path)
    keeps = [Keep.LOW, Keep.HIGH, Keep.MUST, Keep.HIGH, Keep.MUST]
    keys = box.put_many([entry(keep, number) for number, keep in enumerate(keeps)])
    assert [one.key for one in box.take(10)] == [keys[at] for at in (2, 4, 1, 3, 0)]
    assert bytes(box.take(1)[0].body) == b'{"n":2,"pad":""}'
    box.ack([keys[2], keys[2], "unknown"])
    assert [one.key for one in box.take(2)] == [keys[4], keys[1]]
    assert box.stats().records == {Keep.MUST: 1, Keep.HIGH: 2, Keep.LOW: 1}
    assert box.stats().oldest_unix_ms == 0


def test_records_and_cursor_are_stored_together_or_not_at_all(tmp_path: Path) -> None:
    box = outbox(tmp_path, bytes_max=1000)
    box.put_many([entry(Keep.MUST, 1)], cursor=Cursor(3, 40))
    with pytest.raises(OutboxFullError):
        box.put_many([entry(Keep.MUST, 2), entry(Keep.MUST, 3, size=5000)], cursor=Cursor(9, 0))
    assert box.cursor() == Cursor(3, 40)
    assert sum(box.stats().records.values()) == 1
    assert box.put_many([entry(Keep.MUST, 4)]) == ["eu.oslo.1.b1.2"]


def test_low_goes_first_then_high_and_must_never(tmp_path: Path) -> None:
    box = outbox(tmp_path, bytes_max=80_000)
    for keep in (Keep.LOW, Keep.HIGH, Keep.MUST):
        box.put_many([entry(keep, number, size=400) for number in range(60)])
    stats = box.stats()
    assert stats.bytes <= 80_000
    assert stats.records[Keep.MUST] == 60
    assert stats.dropped[Keep.MUST] == 0
    assert stats.dropped[Keep.LOW] == 60 - stats.records[Keep.LOW] > 0
    box.put_many([entry(Keep.MUST, number, size=400) for number in range(60)])
    stats = box.stats()
    assert stats.records[Keep.LOW] == 0
    assert stats.records[Keep.HIGH] < 60
    assert stats.over_share
    assert box.put_many([entry(Keep.LOW, 1, size=60_000)]) == [""]  # it displaces nobody above
    with pytest.raises(OutboxFullError, match="only must records are left"):
        box.put_many([entry(Keep.MUST, number, size=400) for number in range(100)])
    assert box.stats().records[Keep.MUST] == 120


def test_the_totals_are_what_is_really_there(tmp_path: Path) -> None:
    box, rng = outbox(tmp_path, bytes_max=30_000), random.Random(3)
    for number in range(100):
        keep = rng.choice([Keep.HIGH, Keep.LOW])
        box.put_many([entry(keep, number, size=rng.randrange(800))])
        if number % 3 == 0:
            box.ack([one.key for one in box.take(1)])
    box.close()
    base = sqlite3.connect(tmp_path / "outbox.db")
    counted = base.execute(
        "SELECT rank, count(*), sum(length(body) + 96) FROM record GROUP BY rank ORDER BY rank"
    ).fetchall()
    told = base.execute("SELECT rank, records, bytes FROM total WHERE records > 0 ORDER BY rank")
    assert counted == told.fetchall()


def test_a_file_that_is_no_outbox_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database" * 100)
    with pytest.raises(OutboxBrokenError, match=r"outbox\.db"):
        outbox(tmp_path)


def test_a_full_disk_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    kept = box.put_many([entry(Keep.MUST, 1)])
    box._base.execute("PRAGMA max_page_count=16")  # SQLite's own way to run out of room
    with pytest.raises(OutboxFullError, match="full"):
        box.put_many([entry(Keep.MUST, number, size=4000) for number in range(100)])
    assert [one.key for one in box.take(10)] == kept


def test_start_up_from_a_full_spool_takes_under_a_second(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for start in range(0, 200_000, 20_000):
        box.put_many([entry(Keep.HIGH, start + number, size=200) for number in range(20_000)])
    box.close()
    began_s = time.monotonic()
    box = outbox(tmp_path, boot="b2")
    assert len(box.take(256)) == 256
    assert box.stats().records[Keep.HIGH] == 200_000
    took_s = time.monotonic() - began_s
    assert took_s < 1.0


CHILD = """
import sys
from pathlib import Path
from skerry.schema.records import Keep
from skerry.spine.journal import Cursor
from skerry.spine.outbox import Entry, Outbox

folder, boot = Path(sys.argv[1]), sys.argv[2]
box = Outbox(folder / "outbox.db", region="eu", site="oslo", node_number=1, boot=boot)
at = box.cursor().offset
while True:
    bodies = [b"%d" % number for number in range(at, at + 5)]
    at += 5
    keys = box.put_many([Entry(Keep.MUST, "event", 0, b) for b in bodies], cursor=Cursor(1, at))
    for key, body in zip(keys, bodies):
        print("put", key, body.decode(), flush=True)
    gone = box.take(3)
    for one in gone:
        print("got", one.key, bytes(one.body).decode(), flush=True)
    box.ack([one.key for one in gone])
"""


def test_kill_9_at_ten_random_points_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """The journal is the integers; each must be in the outbox or delivered, under one key."""
    rng = random.Random(11)
    put: dict[str, str] = {}
    delivered: dict[str, str] = {}
    for life in range(10):
        # Every third life keeps the boot id of the one before, the worst case for keys.
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), f"b{life // 3}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        lines = []
        for _ in range(rng.randrange(1, 120)):
            lines.append(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        child.wait()
        for line in lines:
            words = line.split()
            if len(words) != 3 or not line.endswith("\n"):
                continue
            kind, key, body = words
            seen = put if kind == "put" else delivered
            assert seen.get(key, body) == body, "one key, two records"
            seen[key] = body
    box = outbox(tmp_path, boot="end")
    left = {one.key: bytes(one.body).decode() for one in box.take(1_000_000)}
    upto = box.cursor().offset
    everything = left | delivered
    assert set(put) <= set(everything)
    assert sorted(int(body) for body in everything.values()) == list(range(upto))
    assert upto > 50
