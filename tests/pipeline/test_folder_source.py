"""The watched folder: no file lost, none handled twice, whatever dies and whenever."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.errors import SkerryError
from skerry.base.files import FolderBusyError
from skerry.pipeline.errors import FileRefusedError
from skerry.pipeline.folder_source import (
    SUMMARY,
    FolderSettings,
    FolderSource,
    safe_label,
)
from skerry.pipeline.steps import Label
from skerry.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


async def first_letter(content: bytes) -> Label:
    return Label(chr(content[0]), 0.9)


def source(
    folder: Path,
    clock: ManualClock,
    infer: Callable[[bytes], object] = first_letter,
    **settings: object,
) -> FolderSource:
    for place in (".work", "done", "failed"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    chosen = FolderSettings(**{"settle_s": 1.0, "deadline_s": 0.5} | settings)  # type: ignore[arg-type]
    return FolderSource(folder, infer, clock=clock, settings=chosen)  # type: ignore[arg-type]


async def look_twice(watched: FolderSource, clock: ManualClock) -> None:
    await watched.look()
    clock.advance(1.0)
    await watched.look()


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


async def test_a_file_that_stands_still_is_answered_and_moved_to_its_label(tmp_path: Path) -> None:
    clock = ManualClock()
    (tmp_path / "one.txt").write_bytes(b"alpha")
    watched = source(tmp_path, clock)
    await look_twice(watched, clock)
    assert files(tmp_path) == ["done/a/one.txt"]
    assert watched.counts.done == Counter(a=1)
    assert (tmp_path / "done/a/one.txt").read_bytes() == b"alpha"


async def test_a_growing_file_is_left_alone_until_it_is_whole(tmp_path: Path) -> None:
    clock = ManualClock()
    path = tmp_path / "one.txt"
    watched = source(tmp_path, clock)
    for size in range(1, 4):
        path.write_bytes(b"a" * size)
        await watched.look()
        clock.advance(1.0)
        assert path.exists()
    await watched.look()
    assert files(tmp_path) == ["done/a/one.txt"]


async def test_a_file_is_not_taken_before_it_stood_still_for_the_whole_time(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    (tmp_path / "one.txt").write_bytes(b"alpha")
    watched = source(tmp_path, clock, settle_s=3.0)
    for _ in range(3):
        await watched.look()
        assert (tmp_path / "one.txt").exists()
        clock.advance(1.0)
    await watched.look()
    assert files(tmp_path) == ["done/a/one.txt"]


async def test_hidden_files_links_and_folders_are_not_taken(tmp_path: Path) -> None:
    clock = ManualClock()
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    (inbox / ".partial").write_bytes(b"a")
    (inbox / "folder").mkdir()
    (inbox / "link").symlink_to(tmp_path / "outside")
    watched = source(inbox, clock)
    await look_twice(watched, clock)
    assert not watched.counts.done
    assert (tmp_path / "outside").exists()


async def test_two_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    clock = ManualClock()
    watched = source(tmp_path, clock)
    for content in (b"alpha", b"also"):
        (tmp_path / "one.txt").write_bytes(content)
        await look_twice(watched, clock)
    contents = {p.read_bytes() for p in (tmp_path / "done/a").iterdir()}
    assert contents == {b"alpha", b"also"}
    assert watched.counts.done == Counter(a=2)


async def test_a_file_that_cannot_be_taken_is_set_aside(tmp_path: Path) -> None:
    async def refuse(content: bytes) -> Label:
        raise FileRefusedError("no image", "an image")

    clock = ManualClock()
    (tmp_path / "one.txt").write_bytes(b"alpha")
    watched = source(tmp_path, clock, refuse)
    await look_twice(watched, clock)
    assert files(tmp_path) == ["failed/one.txt"]
    (tmp_path / "large.txt").write_bytes(b"aaaa")
    watched = source(tmp_path, clock, file_bytes_max=3)
    await look_twice(watched, clock)
    assert files(tmp_path) == ["failed/large.txt", "failed/one.txt"]


async def test_a_file_that_nobody_answers_waits_and_is_tried_again(tmp_path: Path) -> None:
    tries = 0

    async def down_twice(content: bytes) -> Label:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise SkerryError("down")
        if tries == 2:
            await anyio.sleep(60)  # never answers: the deadline ends it
        return Label("a", 0.9)

    clock = ManualClock()
    (tmp_path / "one.txt").write_bytes(b"alpha")
    watched = source(tmp_path, clock, down_twice, retry_s=5.0, deadline_s=0.05)
    await look_twice(watched, clock)
    await watched.look()
    assert tries == 1, "the pause was not kept"
    for _ in range(2):
        clock.advance(5.0)
        await watched.look()
    assert files(tmp_path) == ["done/a/one.txt"]
    assert watched.counts.retried == 2


class Killed(BaseException):
    """Stands for kill -9: nothing catches it, nothing is tidied."""


@given(kills=st.lists(st.integers(0, 3), max_size=6), summary=st.booleans())
def test_no_file_is_lost_or_handled_twice_whenever_the_process_dies(
    kills: list[int], summary: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Dies before the answer, after it, before the move, or after the move, file by file."""
    folder = tmp_path_factory.mktemp("inbox")
    for number in range(4):
        (folder / f"{number}.txt").write_bytes(b"abcd"[number : number + 1])
    left = kills.copy()

    class Mortal(FolderSource):
        def _put(self, claim: Path, place: Path) -> None:
            if left and left[0] == 2:
                left.pop(0)
                raise Killed
            super()._put(claim, place)
            if left and left[0] == 3:
                left.pop(0)
                raise Killed

    async def infer(content: bytes) -> Label:
        if left and left[0] in (0, 1):
            left.pop(0)
            raise Killed
        return await first_letter(content)

    async def lives() -> None:
        for place in (".work", "done", "failed"):
            (folder / place).mkdir(exist_ok=True)
        for _ in range(len(kills) + 1):
            clock = ManualClock()
            watched = Mortal(
                folder,
                infer,
                clock=clock,
                settings=FolderSettings(summary=summary, parallel=1),
            )
            try:
                await look_twice(watched, clock)
            except* Killed:
                pass  # the next life starts from what is on disk

    anyio.run(lives)
    assert [f for f in files(folder) if f != SUMMARY] == [
        "done/a/0.txt",
        "done/b/1.txt",
        "done/c/2.txt",
        "done/d/3.txt",
    ]
    if summary:
        lines = [msgspec.json.decode(ln) for ln in (folder / SUMMARY).read_bytes().splitlines()]
        assert sorted(line["label"] for line in lines) == ["a", "b", "c", "d"]


async def test_a_line_torn_by_a_power_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    clock = ManualClock()
    (tmp_path / SUMMARY).write_bytes(b'{"at_unix_s": 17, "cl')
    (tmp_path / "one.txt").write_bytes(b"alpha content")
    await look_twice(source(tmp_path, clock, summary=True), clock)
    last = (tmp_path / SUMMARY).read_bytes().splitlines()[-1]
    line = msgspec.json.decode(last)
    assert (line["name"], line["label"], line["size_bytes"]) == ("one.txt", "a", 13)
    assert b"content" not in (tmp_path / SUMMARY).read_bytes()


async def test_a_restarted_watch_knows_its_counts_and_a_second_one_is_refused(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    (tmp_path / "one.txt").write_bytes(b"alpha")
    await look_twice(source(tmp_path, clock), clock)
    again = source(tmp_path, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(again.run)
        with anyio.fail_after(5):
            while not again.counts.done:
                await anyio.sleep(0)
        with pytest.raises(FolderBusyError):
            await source(tmp_path, clock).run()
        group.cancel_scope.cancel()
    assert again.counts.done == Counter(a=1)


@given(st.text(max_size=80))
def test_a_label_never_becomes_a_path(label: str) -> None:
    name = safe_label(label)
    assert name
    assert "/" not in name
    assert "\0" not in name
    assert not name.startswith(".")
    assert len(name) <= 64
