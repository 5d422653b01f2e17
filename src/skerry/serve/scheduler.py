"""One lane per model version: a bounded queue, runs on the loop or on a thread, batches.

A model whose run is short (`admission.INLINE_S_MAX`) runs on the event loop; a longer
one on the lane's own thread, so that health checks and other models keep their
latency. Where a model gains from batches, everything that became readable in one turn
of the loop, or that waited for the thread, runs as one: no timer, no added latency.

Units:   seconds, on the clock's monotonic scale.
Errors:  QueueFullError, DeadlineError; ModelRunError from the engine.
"""

import asyncio
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.base.clock import Clock
from skerry.serve import admission
from skerry.serve.errors import DeadlineError, QueueFullError, ServeError
from skerry.serve.onnx_engine import OnnxModel

Array = NDArray[Any]
Inputs = dict[str, Array]


class _Waiting:
    """One request in the queue."""

    __slots__ = ("answer", "deadline_at_s", "deadline_s", "inputs", "items", "like", "outputs")

    def __init__(
        self,
        inputs: Inputs,
        outputs: list[str],
        deadline_at_s: float,
        deadline_s: float,
        answer: "asyncio.Future[list[Array]]",
    ) -> None:
        self.inputs, self.outputs, self.answer = inputs, outputs, answer
        self.deadline_at_s, self.deadline_s = deadline_at_s, deadline_s
        self.items = 1
        self.like: tuple[Any, ...] = ()


class Lane:
    """Runs one model; every call belongs to one event loop."""

    def __init__(
        self, model: OnnxModel, *, run_s: float, batch_max: int, queue_len_max: int, clock: Clock
    ) -> None:
        self._model = model
        self.run_s = run_s
        self.batch_max = batch_max if model.batch_axes else 1
        self._queue_len_max = queue_len_max
        self._clock = clock
        self._inline = admission.runs_inline(1, run_s)
        self._queue: deque[_Waiting] = deque()
        self._running = 0
        self._flushing = False
        self._thread: ThreadPoolExecutor | None = None
        self._idle: asyncio.Event | None = None

    @property
    def queue_len(self) -> int:
        """How many requests wait, the ones under way left out."""
        return len(self._queue)

    async def submit(
        self, inputs: Inputs, outputs: list[str], *, deadline_at_s: float, deadline_s: float
    ) -> list[Array]:
        """Run a request and return its outputs in the order asked for.

        `deadline_s` is the whole budget, for the text of an error; `deadline_at_s` is
        when it ends.
        """
        left_s = deadline_at_s - self._clock.monotonic_s()
        queue_len = len(self._queue)
        verdict = admission.admit(
            queue_len, self._queue_len_max, self._running, self.run_s, self.batch_max, left_s
        )
        if verdict == admission.REFUSE_QUEUE_FULL:
            wait_s = admission.retry_after_s(queue_len, self._running, self.run_s, self.batch_max)
            raise QueueFullError(self._model.name, queue_len, wait_s)
        if verdict == admission.REFUSE_DEADLINE:
            raise DeadlineError(self._model.name, deadline_s, foretold=True)
        alone = not queue_len and not self._running
        if self._inline and alone and self.batch_max == 1:
            return self._timed_run(inputs, outputs)

        loop = asyncio.get_running_loop()
        waiting = _Waiting(inputs, outputs, deadline_at_s, deadline_s, loop.create_future())
        if self.batch_max > 1:
            self._note_likeness(waiting)
        self._queue.append(waiting)
        if not self._flushing and not self._running:
            self._flushing = True
            loop.call_soon(self._next)  # after everything else that is readable in this turn
        try:
            async with asyncio.timeout(left_s if left_s < math.inf else None):
                return await waiting.answer
        except TimeoutError as error:
            raise DeadlineError(self._model.name, deadline_s, foretold=False) from error

    async def drain(self) -> None:
        """Wait until nothing waits or runs, then let the thread go."""
        if self._queue or self._running:
            self._idle = asyncio.Event()
            await self._idle.wait()
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    def _next(self) -> None:
        """Start the next batch; runs as a loop callback, so nothing may escape it."""
        self._flushing = False
        if self._running:
            return
        batch = self._take()
        if not batch:
            self._settle()
            return
        if self._inline:
            outcomes = self._run_batch(batch)
            self._deliver(batch, outcomes)
            if self._queue:
                self._flushing = True
                asyncio.get_running_loop().call_soon(self._next)
            else:
                self._settle()
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"run-{self._model.name}")
        self._running = 1
        job = asyncio.get_running_loop().run_in_executor(self._thread, self._run_batch, batch)
        job.add_done_callback(lambda done: self._finish(batch, done.result()))

    def _finish(self, batch: list[_Waiting], outcomes: "list[list[Array] | ServeError]") -> None:
        self._running = 0
        self._deliver(batch, outcomes)
        self._next()

    def _settle(self) -> None:
        if self._idle is not None and not self._queue and not self._running:
            self._idle.set()

    def _take(self) -> list[_Waiting]:
        """Take like requests off the queue, dropping those that nobody can answer in time."""
        batch: list[_Waiting] = []
        items = 0
        now_s = self._clock.monotonic_s()
        while self._queue:
            first = self._queue[0]
            if first.answer.done():  # its client left, or its deadline passed
                self._queue.popleft()
                continue
            if not admission.still_in_time(self.run_s, first.deadline_at_s - now_s):
                self._queue.popleft()
                error = DeadlineError(self._model.name, first.deadline_s, foretold=True)
                first.answer.set_exception(error)
                continue
            if batch and (items + first.items > self.batch_max or first.like != batch[0].like):
                break
            batch.append(self._queue.popleft())
            items += first.items
            if self.batch_max == 1:
                break
        return batch

    def _run_batch(self, batch: list[_Waiting]) -> "list[list[Array] | ServeError]":
        """Run a batch as one; if that fails, each alone, so that one cannot fail another."""
        if len(batch) > 1:
            try:
                return list(self._run_together(batch))
            except ServeError:
                pass  # falls to the loop below, which finds out whose fault it was
        outcomes: list[list[Array] | ServeError] = []
        for waiting in batch:
            try:
                outcomes.append(self._timed_run(waiting.inputs, waiting.outputs))
            except ServeError as error:
                outcomes.append(error)
        return outcomes

    def _run_together(self, batch: list[_Waiting]) -> list[list[Array]]:
        axes = self._model.batch_axes
        assert axes is not None  # noqa: S101 - batch_max is 1 without axes
        inputs = {
            spec.name: np.concatenate([one.inputs[spec.name] for one in batch], axis=axis)
            for spec, axis in zip(self._model.inputs, axes.inputs, strict=True)
        }
        found = self._timed_run(inputs, batch[0].outputs)
        ends = np.cumsum([one.items for one in batch])[:-1]
        axis_of = dict(zip(self._model.output_names, axes.outputs, strict=True))
        cut = [
            np.split(array, ends, axis=axis_of[name])
            for name, array in zip(batch[0].outputs, found, strict=True)
        ]
        return [list(parts) for parts in zip(*cut, strict=True)]

    def _timed_run(self, inputs: Inputs, outputs: list[str]) -> list[Array]:
        start_s = self._clock.monotonic_s()
        found = self._model.run(inputs, outputs)
        self.run_s = admission.mean_run_s(self.run_s, self._clock.monotonic_s() - start_s)
        self._inline = admission.runs_inline(self._inline, self.run_s)
        return found

    @staticmethod
    def _deliver(batch: list[_Waiting], outcomes: "list[list[Array] | ServeError]") -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(outcome, ServeError):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)

    def _note_likeness(self, waiting: _Waiting) -> None:
        """Requests may run as one if they differ in the number of items alone."""
        axes = self._model.batch_axes
        assert axes is not None  # noqa: S101 - batch_max is 1 without axes
        counts = set()
        rest: list[Any] = [tuple(waiting.outputs)]
        for spec, axis in zip(self._model.inputs, axes.inputs, strict=True):
            shape = waiting.inputs[spec.name].shape
            counts.add(shape[axis])
            rest.append(shape[:axis] + shape[axis + 1 :])
        if len(counts) == 1:
            waiting.items, waiting.like = counts.pop(), tuple(rest)
        else:  # the model will say what is wrong; nobody else shall hear it
            waiting.items, waiting.like = 1, (id(waiting),)
