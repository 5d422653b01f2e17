"""An event loop that the waiting thread itself drives, so that a blocking call hops no thread.

A thread that waits for work takes the turn: it drives the loop until its own work is
done, and everybody else's with it, then hands the turn to a thread that still waits. Only
where nobody can take it (work goes on with no caller left, or the caller is itself inside
another event loop) does a background thread, started when first needed, drive.

Errors:  ClientClosedError, for work that comes after `close`, or that it cut short;
         UsageError, for a call from within a call.
"""

import asyncio
import selectors
import threading
from collections.abc import Coroutine
from concurrent import futures
from typing import Any, Final, TypeVar

from skerry.base.errors import UsageError
from skerry.client.errors import ClientClosedError

T = TypeVar("T")
SKIPPED_MAX: Final = 8
BEGUN_S_MAX: Final = 1.0
"""How long work that nobody waits for may go on while all is closed."""


class _Waiter:
    """A thread whose work another thread drives. `wake` says: look again."""

    __slots__ = ("future", "may_drive", "wake")

    def __init__(self, future: "futures.Future[Any]", *, may_drive: bool) -> None:
        self.future, self.may_drive = future, may_drive
        self.wake = threading.Event()
        future.add_done_callback(lambda _: self.wake.set())


class _Selector(selectors.DefaultSelector):
    """Asks the system for events only where the loop would wait for them, or every few turns.

    A turn that has callbacks to run anyway costs a system call less; a call makes several.
    """

    _skipped = 0

    def select(self, timeout: float | None = None) -> Any:
        """Return what is readable or writable."""
        if timeout == 0 and self._skipped < SKIPPED_MAX:
            self._skipped += 1
            return []
        self._skipped = 0
        return super().select(timeout)


class Turns:
    """One loop for any number of threads."""

    def __init__(self) -> None:
        self._loop = asyncio.SelectorEventLoop(_Selector())
        self._loop.set_task_factory(self._task)
        self._tasks = 0  # those under way that no call itself is
        self._turn = threading.Lock()  # whoever holds it drives the loop
        self._waiters: list[_Waiter] = []
        self._begun: set[futures.Future[None]] = set()
        self._closing = threading.Lock()
        self._closed = self._ended = self._keeping = False
        self._keeper: threading.Thread | None = None
        self._starting = threading.Lock()
        self._keeper_wake = threading.Event()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work to its end and return what it returns, in this thread where that is possible."""
        if self._closed:
            work.close()
            raise ClientClosedError
        return self._wait(work)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Have work done soon, by whoever drives; none is done once all is closed."""
        try:
            begun = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
        else:
            self._begun.add(begun)
            begun.add_done_callback(self._begun.discard)
            self._wake_keeper()

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run the last work, end all other, and close; a second call does nothing."""
        with self._closing:
            if self._closed:
                last.close()
                return
            self._closed = True
            self._wait(_end(last, self._begun))
            self._ended = True
            for waiter in tuple(self._waiters):
                waiter.wake.set()
            if self._keeper is not None:
                self._keeper_wake.set()
                self._keeper.join()
            with self._turn:
                self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        running = asyncio._get_running_loop()
        if running is self._loop:  # from a signal handler or a finalizer: it would wait for itself
            work.close()
            raise UsageError("a client was called from within one of its own calls", "")
        inside = running is not None
        if not inside and self._turn.acquire(blocking=False):
            try:
                return self._drive(work)
            finally:
                self._turn.release()
                self._hand_over()
        return self._follow(work, may_drive=not inside)

    def _drive(self, work: Coroutine[Any, Any, T]) -> T:
        """Drive this thread's own work; it holds the turn."""
        task = asyncio.Task(self._then_stop(work), loop=self._loop)
        try:
            while not task.done():
                self._loop.run_forever()
            return task.result()
        except asyncio.CancelledError as error:
            raise ClientClosedError from error
        except BaseException:
            task.add_done_callback(self._stop)
            task.cancel()  # an interrupted caller waits no longer, so nor does the request
            while not task.done():
                self._loop.run_forever()
            work.close()  # in case it never began
            raise

    def _follow(self, work: Coroutine[Any, Any, T], *, may_drive: bool) -> T:
        """Wait while others drive this thread's work, and drive when the turn is free."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:  # closed in this very moment
            work.close()
            raise ClientClosedError from error
        waiter = _Waiter(future, may_drive=may_drive)
        self._waiters.append(waiter)
        if may_drive and self._keeping:
            self._loop.call_soon_threadsafe(self._loop.stop)
        try:
            while not future.done():
                if self._ended:
                    raise ClientClosedError
                if may_drive and self._turn.acquire(blocking=False):
                    try:
                        self._drive_until(future)
                    finally:
                        self._turn.release()
                    continue
                if not may_drive:
                    self._wake_keeper()
                waiter.wake.wait()
                waiter.wake.clear()
            return future.result()
        except futures.CancelledError as error:
            raise ClientClosedError from error
        except BaseException:
            future.cancel()
            raise
        finally:
            self._waiters.remove(waiter)
            self._hand_over()

    def _drive_until(self, future: "futures.Future[Any]") -> None:
        future.add_done_callback(self._stop)
        while not (future.done() or self._loop.is_closed()):
            self._loop.run_forever()

    async def _then_stop(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        finally:
            self._loop.stop()

    def _task(self, loop: asyncio.AbstractEventLoop, work: Any, **how: Any) -> "asyncio.Task[Any]":
        """Make a task, and count it: looking through all of them costs more than a request."""
        task = asyncio.Task(work, loop=loop, **how)
        self._tasks += 1
        task.add_done_callback(self._ended_task)
        return task

    def _ended_task(self, done: object) -> None:
        self._tasks -= 1

    def _stop(self, done: object) -> None:
        """Runs in the thread that drives, as work ends there; a needless stop costs one turn."""
        self._loop.stop()

    def _hand_over(self) -> None:
        """Let somebody else drive what is left to be driven."""
        for waiter in tuple(self._waiters):
            if waiter.may_drive and not waiter.future.done():
                waiter.wake.set()
                return
        if self._tasks and not self._ended:
            self._wake_keeper()

    def _wake_keeper(self) -> None:
        with self._starting:
            if self._keeper is None:
                keeper = threading.Thread(target=self._keep, name="skerry-client", daemon=True)
                keeper.start()
                self._keeper = keeper  # only now: `close` may join it at once
        self._keeper_wake.set()

    def _keep(self) -> None:
        """Drive the loop while there is work that no caller drives."""
        while not self._ended:
            self._keeper_wake.wait()
            self._keeper_wake.clear()
            with self._turn:
                if not self._ended:
                    self._drive_the_rest()
            self._hand_over()

    def _drive_the_rest(self) -> None:
        """Drive until nothing is left, or a thread comes that would drive itself."""
        idle = self._loop.create_task(_until_idle())
        idle.add_done_callback(self._stop)
        self._keeping = True
        self._loop.run_forever()
        self._keeping = False
        idle.cancel()
        while not idle.done():
            self._loop.run_forever()


async def _until_idle() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


async def _end(last: Coroutine[Any, Any, None], begun: "set[futures.Future[None]]") -> None:
    await last
    if begun:
        await asyncio.wait([asyncio.wrap_future(one) for one in begun], timeout=BEGUN_S_MAX)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # transports say goodbye
