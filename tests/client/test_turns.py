"""The loop that callers drive: no thread of its own unless one is needed, no work left behind."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from skerry.base.errors import UsageError
from skerry.client.errors import ClientClosedError
from skerry.client.turns import Turns


async def nothing() -> None:
    """What a client does last."""


@pytest.fixture
def turns():
    made = Turns()
    yield made
    made.close(nothing())


async def where() -> int:
    await asyncio.sleep(0.001)
    return threading.get_ident()


def test_a_lone_caller_does_its_own_work(turns: Turns) -> None:
    before = threading.active_count()
    assert turns.wait(where()) == threading.get_ident()
    assert threading.active_count() == before


def test_every_thread_gets_its_own_answer(turns: Turns) -> None:
    async def echo(number: int) -> int:
        await asyncio.sleep(0.001 * (number % 3))
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: turns.wait(echo(n)), range(200))) == list(range(200))


def test_work_nobody_waits_for_goes_on_without_a_caller(turns: Turns) -> None:
    done = threading.Event()

    async def later() -> None:
        await asyncio.sleep(0.01)
        done.set()

    async def begin() -> None:
        turns.kept = asyncio.get_running_loop().create_task(later())  # type: ignore[attr-defined]

    turns.wait(begin())
    assert done.wait(2)
    assert turns.wait(where())


@pytest.mark.anyio
async def test_a_caller_inside_another_loop_is_served_by_a_thread(turns: Turns) -> None:
    assert turns.wait(where()) != threading.get_ident()


def test_errors_come_out_as_they_are(turns: Turns) -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        turns.wait(fail())


def test_an_interrupt_cancels_the_work(turns: Turns) -> None:
    ended: list[str] = []

    async def interrupted() -> None:
        async def hit() -> None:
            raise KeyboardInterrupt

        task = asyncio.ensure_future(hit())
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("closed")
            await asyncio.wait([task])

    with pytest.raises(KeyboardInterrupt):
        turns.wait(interrupted())
    assert ended == ["closed"]
    assert turns.wait(where()) == threading.get_ident()


def test_an_interrupt_before_the_work_has_begun_does_not_hang(turns: Turns) -> None:
    def hit() -> None:
        raise KeyboardInterrupt

    turns._loop.call_soon(hit)  # comes before the first step of what is waited for
    with pytest.raises(KeyboardInterrupt):
        turns.wait(where())
    assert turns.wait(where()) == threading.get_ident()


def test_a_call_leaves_no_thread_where_it_leaves_no_work(turns: Turns) -> None:
    async def with_tasks() -> None:
        await asyncio.gather(where(), where())

    before = threading.active_count()
    for _ in range(20):
        turns.wait(with_tasks())
    assert threading.active_count() == before


def test_a_call_from_within_a_call_is_refused_and_not_waited_for(turns: Turns) -> None:
    async def outer() -> str:
        with pytest.raises(UsageError, match="within"):
            turns.wait(where())
        return "went on"

    assert turns.wait(outer()) == "went on"


def test_work_is_begun_without_a_wait_and_not_once_all_is_closed(turns: Turns) -> None:
    done = threading.Event()

    async def work() -> None:
        await asyncio.sleep(0.001)
        done.set()

    turns.begin(work())
    assert done.wait(2)
    turns.close(nothing())
    turns.begin(work())


def test_closing_meets_no_thread_that_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background thread is seen by others only once it runs, and there is one of it."""
    turns = Turns()
    seen: list[object] = []
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        seen.append(turns._keeper)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    turns.begin(nothing())
    turns.begin(nothing())
    assert seen == [None]
    turns.close(nothing())


def test_closing_ends_those_who_still_wait() -> None:
    turns = Turns()
    started = threading.Event()

    async def forever() -> None:
        started.set()
        await asyncio.sleep(60)

    def call() -> str:
        try:
            turns.wait(forever())
        except ClientClosedError:
            return "closed"
        return "answered"

    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call) for _ in range(3)]
        assert started.wait(2)
        time.sleep(0.02)  # so that the others wait too; either way they end
        turns.close(nothing())
        assert {one.result(5) for one in calls} == {"closed"}
    with pytest.raises(ClientClosedError):
        turns.wait(where())
    turns.close(nothing())
