"""Requests are coroutines that the door steps itself; a Task is made only where one must wait.

Most requests are answered without waiting for anything but the model, so a Task, which
costs more than a small model's run, would be waste. `begin` steps a request at once:

    it returns              -> `done` is called with the answer, before `begin` returns
    it awaits a `Later`     -> it goes on when somebody in this loop settles it, with no Task
    it awaits anything else -> a Task takes it over where it stands

A request that is about to use what belongs to tasks (a timeout, a task group, a library
that asks for the current task) says `await in_task()` first. Under an ordinary Task all
of this works as well, and costs what asyncio costs.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

Answer = TypeVar("Answer")
Done = Callable[["Answer | None", "BaseException | None"], None]
"""Called once with the answer, or with the error that the request ended with."""


class _Here(threading.local):
    """What this thread does: other threads may step requests of other loops meanwhile."""

    stepping = False  # whether a request is being stepped by `begin` or a `Later`, not by a Task


_here = _Here()


class Later(Generic[Answer]):
    """An answer that this loop will have later. One request awaits it, once."""

    __slots__ = ("_error", "_resume", "_value", "settled")

    def __init__(self) -> None:
        self.settled = False
        """Whether it has an answer, or nobody waits for one any more."""
        self._value: Answer | None = None
        self._error: BaseException | None = None
        self._resume: Callable[[], None] | None = None

    def set_result(self, value: Answer) -> None:
        """Give the answer; whoever waits goes on before this returns, unless it is a Task."""
        self._value = value
        self._settle()

    def set_exception(self, error: BaseException) -> None:
        """Fail whoever waits."""
        self._error = error
        self._settle()

    def abandon(self) -> None:
        """Say that nobody waits any more."""
        self.settled, self._resume = True, None

    def __await__(self) -> Generator[Any, None, Answer]:
        """Wait for the answer."""
        if not self.settled:
            if _here.stepping:
                yield self
            else:
                waiting = asyncio.get_running_loop().create_future()
                self._resume = lambda: None if waiting.done() else waiting.set_result(None)
                try:
                    yield from waiting
                except BaseException:
                    self.abandon()
                    raise
        if self._error is not None:
            raise self._error
        return cast(Answer, self._value)

    def _settle(self) -> None:
        self.settled = True
        resume, self._resume = self._resume, None
        if resume is not None:
            resume()


class Begun(Generic[Answer]):
    """A request that waits."""

    __slots__ = ("_done", "_later", "_task", "_work")

    def __init__(
        self, work: Coroutine[Any, Any, Answer], done: "Done[Answer]", waits_for: object
    ) -> None:
        self._work, self._done = work, done
        self._later: Later[Any] | None = None
        self._task: asyncio.Task[Answer] | None = None
        self._wait(waits_for)

    def cancel(self) -> None:
        """End it; `done` is not called."""
        if self._task is not None:
            self._task.cancel()
        elif self._later is not None:
            self._later.abandon()
            self._later = None
            self._work.close()

    def _wait(self, waits_for: object) -> None:
        if isinstance(waits_for, Later):
            self._later = waits_for
            waits_for._resume = self._go_on
            return
        self._later = None
        work = _TakenOver(self._work, waits_for)
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._finished)

    def _go_on(self) -> None:
        waits_for = _step(self._work, self._done)
        if waits_for is not _ENDED:
            self._wait(waits_for)

    def _finished(self, task: "asyncio.Task[Answer]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        self._done(None if error is not None else task.result(), error)


def begin(work: Coroutine[Any, Any, Answer], done: "Done[Answer]") -> "Begun[Answer] | None":
    """Step a request; None if it ended (`done` was called), else what it is known by."""
    waits_for = _step(work, done)
    return None if waits_for is _ENDED else Begun(work, done, waits_for)


class _InTask:
    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        if _here.stepping:
            yield _IN_TASK


def in_task() -> _InTask:
    """Await it to be run by a Task from here on."""
    return _InTask()


_ENDED: Any = object()
_IN_TASK: Any = object()


def _step(work: Coroutine[Any, Any, Answer], done: "Done[Answer]") -> object:
    """Run a request up to its next wait and return what it waits for, or _ENDED."""
    here = _here
    before, here.stepping = here.stepping, True
    value: Answer | None = None
    failed: BaseException | None = None
    try:
        return work.send(None)
    except StopIteration as stop:
        value = stop.value
    except Exception as error:
        failed = error
    finally:
        here.stepping = before
    done(value, failed)
    return _ENDED


class _TakenOver(Coroutine[Any, Any, Answer]):
    """A coroutine under way, as a Task can run it: what it waits for comes first."""

    __slots__ = ("_first", "_work")

    def __init__(self, work: Coroutine[Any, Any, Answer], first: object) -> None:
        self._work, self._first = work, first

    def send(self, value: Any) -> Any:
        if self._first is not _IN_TASK:
            first, self._first = self._first, _IN_TASK
            return first
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        self._first = _IN_TASK
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, None, Answer]:
        raise TypeError("a Task steps it; nobody awaits it")
