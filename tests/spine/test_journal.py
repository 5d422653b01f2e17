"""The journal: a torn tail costs the torn record only, and its size stays bounded."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.spine.journal import RECORD_BYTES_MAX, Cursor, JournalReader, JournalWriter, frame

payloads = st.lists(st.binary(max_size=60), min_size=1, max_size=20)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def test_what_was_flushed_is_read_in_order_by_another_process(tmp_path: Path) -> None:
    writer, reader = JournalWriter(tmp_path), JournalReader(tmp_path)
    for number in range(5):
        writer.append(b"%d" % number)
    assert reader.read(Cursor(), 10)[0] == []  # buffered is not written
    writer.flush()
    found, cursor = reader.read(Cursor(), 3)
    assert found == [b"0", b"1", b"2"]
    writer.append(b"5")
    writer.flush()
    found, cursor = reader.read(cursor, 10)
    assert found == [b"3", b"4", b"5"]
    assert reader.read(cursor, 10) == ([], cursor)
    assert writer.counts.written == 6


@given(written=payloads, cut=st.integers(0, 1 << 12), more=payloads)
def test_a_tail_cut_anywhere_loses_only_the_torn_record(
    written: list[bytes], cut: int, more: list[bytes]
) -> None:
    """Kill -9 in mid-write, restart, go on: all whole records before and after are there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = JournalWriter(folder)
        for payload in written:
            writer.append(payload)
        writer.flush()
        (path,) = segments(folder)
        size = path.stat().st_size
        cut = min(cut, size)
        os.truncate(path, size - cut)
        whole, left = [], size - cut
        for payload in written:
            left -= len(frame(payload))
            if left < 0:
                break
            whole.append(payload)
        writer = JournalWriter(folder)
        for payload in more:
            writer.append(payload)
        writer.flush()
        reader = JournalReader(folder)
        found, _ = reader.read(Cursor(), 1000)
        assert found == whole + more
        torn = size - cut - sum(len(frame(payload)) for payload in whole)
        assert reader.garbage_bytes == torn


@given(junk=st.binary(min_size=1, max_size=64), read=st.integers(1, 5))
def test_garbage_is_skipped_counted_and_never_raises(junk: bytes, read: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        JournalWriter(folder).close()
        segments(folder)[0].write_bytes(frame(b"first") + b"\xff\xff\xff\xff" + junk)
        writer = JournalWriter(folder)
        writer.append(b"last")
        writer.close()
        reader, cursor, found = JournalReader(folder), Cursor(), []
        for _ in range(4):
            more, cursor = reader.read(cursor, read)
            found += more
        assert found == [b"first", b"last"]
        assert reader.garbage_bytes == 4 + len(junk)


def test_a_flipped_bit_stops_the_segment_not_the_journal(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    for payload in (b"good", b"bad", b"after"):
        writer.append(payload)
    writer.close()
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(frame(b"good")) + 8] ^= 1
    path.write_bytes(data)
    writer = JournalWriter(tmp_path)
    writer.append(b"next")
    writer.close()
    reader = JournalReader(tmp_path)
    assert reader.read(Cursor(), 10)[0] == [b"good", b"next"]
    assert reader.garbage_bytes > 0


def test_past_its_limit_the_oldest_segments_go_and_are_counted(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, limit_bytes=8000, segment_bytes=1000)
    for number in range(400):
        writer.append(b"%080d" % number)
        writer.flush()
    size = sum(path.stat().st_size for path in segments(tmp_path))
    assert size <= 8000 + 100
    found, _ = JournalReader(tmp_path).read(Cursor(), 1000)
    assert len(found) + writer.counts.dropped == 400
    assert found[-1] == b"%080d" % 399


def test_released_segments_are_deleted_and_the_rest_stays_readable(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, segment_bytes=200)
    for number in range(20):
        writer.append(b"%050d" % number)
        writer.flush()
    reader = JournalReader(tmp_path)
    found, cursor = reader.read(Cursor(), 9)
    before = len(segments(tmp_path))
    reader.release(cursor)
    assert len(segments(tmp_path)) < before
    rest, _ = reader.read(cursor, 100)
    assert [int(one) for one in found + rest] == list(range(20))
    assert reader.lost_segments == 0


def test_a_full_disk_is_counted_and_the_journal_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(tmp_path)
    writer.append(b"before")
    writer.flush()
    real = os.write

    def full(handle: int, data: bytes) -> int:
        real(handle, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    writer.append(b"lost")
    writer.flush()
    monkeypatch.setattr(os, "write", real)
    writer.append(b"after")
    writer.flush()
    assert (writer.counts.dropped, writer.counts.failures, writer.counts.written) == (1, 1, 2)
    assert JournalReader(tmp_path).read(Cursor(), 10)[0] == [b"before", b"after"]


def test_a_record_that_is_too_large_is_counted_not_written(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    writer.append(bytes(RECORD_BYTES_MAX + 1))
    writer.flush()
    assert (writer.counts.dropped, writer.counts.written) == (1, 0)
