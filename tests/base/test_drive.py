"""A request is stepped by hand as far as it goes, and ends the same way under a Task."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from skerry.base.drive import Later, begin, in_task

Ended = list[tuple[Any, BaseException | None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


@pytest.fixture
def ended() -> Ended:
    return []


@pytest.fixture
def done(ended: Ended) -> Callable[..., None]:
    return lambda answer, error: ended.append((answer, error))


async def until(ended: Ended, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while len(ended) < count:
            await asyncio.sleep(0)


async def test_what_waits_for_nothing_ends_at_once_without_a_task(ended: Ended, done: Any) -> None:
    async def answer() -> int:
        return 1

    before = len(asyncio.all_tasks())
    assert begin(answer(), done) is None
    assert ended == [(1, None)]
    assert len(asyncio.all_tasks()) == before


async def test_an_error_reaches_done_as_it_is(ended: Ended, done: Any) -> None:
    async def fail() -> int:
        raise KeyError("x")

    assert begin(fail(), done) is None
    (answer, error) = ended[0]
    assert answer is None
    assert isinstance(error, KeyError)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_later_goes_on_in_the_moment_it_is_settled(
    ended: Ended, done: Any, fails: bool
) -> None:
    later: Later[int] = Later()

    async def answer() -> int:
        return await later + 1

    before = len(asyncio.all_tasks())
    assert begin(answer(), done) is not None
    assert not ended
    if fails:
        later.set_exception(ValueError())
        assert isinstance(ended[0][1], ValueError)
    else:
        later.set_result(1)
        assert ended == [(2, None)]
    assert len(asyncio.all_tasks()) == before


async def test_a_later_that_is_settled_already_is_not_waited_for(ended: Ended, done: Any) -> None:
    later: Later[int] = Later()
    later.set_result(3)

    async def answer() -> int:
        return await later

    assert begin(answer(), done) is None
    assert ended == [(3, None)]


async def test_what_needs_a_task_gets_one_where_it_stands(ended: Ended, done: Any) -> None:
    later: Later[str] = Later()

    async def answer() -> str:
        first = await later
        await in_task()
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        return first + "b"

    begin(answer(), done)
    later.set_result("a")
    await until(ended)
    assert ended == [("ab", None)]


async def test_a_wait_that_nobody_announced_gets_a_task_too(ended: Ended, done: Any) -> None:
    later: Later[str] = Later()

    async def answer() -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "a")
        return await future + await later  # the second under the Task that the first brought

    begin(answer(), done)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later.set_result("b")
    await until(ended)
    assert ended == [("ab", None)]


async def test_under_an_ordinary_task_it_is_all_the_same() -> None:
    later: Later[int] = Later()

    async def answer() -> int:
        await in_task()
        return await later

    asyncio.get_running_loop().call_soon(later.set_result, 5)
    assert await answer() == 5


@pytest.mark.parametrize("in_a_task", [False, True])
async def test_who_is_cancelled_cleans_up_and_is_not_heard_of(
    ended: Ended, done: Any, in_a_task: bool
) -> None:
    later: Later[int] = Later()
    cleaned: list[bool] = []

    async def answer() -> int:
        try:
            if in_a_task:
                await in_task()
            return await later
        finally:
            cleaned.append(True)

    begun = begin(answer(), done)
    assert begun is not None
    await asyncio.sleep(0)
    begun.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert cleaned == [True]
    assert later.settled
    assert not ended


async def test_another_threads_steps_are_its_own(done: Any) -> None:
    """A server's loop in one thread, a client's in another: each knows who steps what."""
    stepping, seen = threading.Event(), threading.Event()

    async def hold() -> None:
        stepping.set()
        assert seen.wait(5)

    thread = threading.Thread(target=lambda: begin(hold(), done))
    thread.start()
    try:
        assert await asyncio.to_thread(stepping.wait, 5)
        await in_task()  # this is a Task: were it taken for a step, it would yield nonsense
    finally:
        seen.set()
        thread.join()
