"""Requests that are stepped by hand: what another thread does is no matter of this one."""

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from skerry.base.drive import begin, in_task


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_task_is_a_task_while_another_thread_steps_requests(busy_threads: None) -> None:
    ended = threading.Event()

    async def request() -> int:
        return sum(range(200))

    def door() -> None:
        while not ended.is_set():
            begin(request(), lambda value, error: None)

    async def ask() -> None:
        for _ in range(5000):
            await in_task()
            await asyncio.sleep(0)

    thread = threading.Thread(target=door)
    thread.start()
    try:
        asyncio.run(ask())
    finally:
        ended.set()
        thread.join()
