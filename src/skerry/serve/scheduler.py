"""One lane per model version: a bounded, fair queue, runs on the loop or on threads, batches.

A model whose run is short (`admission.INLINE_S_MAX`) runs on the event loop; a longer
one on the lane's own threads, so that health checks and other models keep their
latency. Where a model gains from batches, everything that became readable in one turn
of the loop, or that waited for a thread, runs as one: no timer, no added latency. Requests
that keep coming one by one are not made to wait for the end of a turn.

Units:   seconds, on the clock's monotonic scale.
Errors:  QueueFullError, RateLimitError, DeadlineError; ModelRunError from the engine.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.base.clock import Clock
from skerry.base.drive import Later
from skerry.serve import admission
from skerry.serve.errors import DeadlineError, QueueFullError, RateLimitError, ServeError
from skerry.serve.fair_queue import FairQueue
from skerry.serve.model_settings import LaneSettings
from skerry.serve.onnx_engine import OnnxModel
from skerry.serve.statistics import Statistics, Timeline

log = logging.getLogger("skerry.serve")

_ALONE_MAX = 32  # runs may be noted before they are counted
_LONELY_AFTER = 8  # batches of one, one after the other: nobody comes at the same time
_LOOK_AGAIN_AFTER = 32  # requests that then run at once, before one waits to see who else comes

Array = NDArray[Any]
Inputs = dict[str, Array]


class _Waiting:
    """One request in the queue."""

    __slots__ = ("answer", "client", "deadline_at_s", "deadline_s", "inputs", "items", "like",
                 "outputs", "priority", "timeline")  # fmt: skip

    def __init__(
        self,
        inputs: Inputs,
        outputs: list[str],
        deadline_at_s: float,
        deadline_s: float,
        client: int,
        priority: int,
        timeline: Timeline | None,
    ) -> None:
        self.timeline = timeline
        self.inputs, self.outputs = inputs, outputs
        self.deadline_at_s, self.deadline_s = deadline_at_s, deadline_s
        self.client, self.priority = client, priority
        self.answer: Later[list[Array]] = Later()
        self.items = 1
        self.like: tuple[Any, ...] = ()


Outcome = list[Array] | ServeError


class Lane:
    """Runs one model; every call belongs to one event loop."""

    def __init__(self, model: OnnxModel, settings: LaneSettings, *, clock: Clock) -> None:
        self._model = model
        self._settings = settings
        self._now_s = clock.monotonic_s
        self.run_s = settings.run_s
        self.statistics = Statistics()
        self._alone_s: list[float] = []
        """Runs on the loop that nobody waited for, to be counted many at a time."""
        self.batch_max = settings.batch_max if model.batch_axes else 1
        self._inline = self._belongs_inline(before=1)
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._shedding = 0
        self._limited = settings.rate_per_s is not None
        self._tokens, self._tokens_at_s = float(settings.burst), self._now_s()
        self._batches = self.batch_max > 1
        self._lonely = 0
        """Batches of one in a row, at most `_LONELY_AFTER`."""
        self._at_once_left = 0
        """Requests of a model with batches that may still run at once."""
        self._running = 0
        self._flushing = False
        self._threads: ThreadPoolExecutor | None = None
        self._idle: asyncio.Event | None = None
        self._axis_of = dict(
            zip(
                model.output_names,
                model.batch_axes.outputs if model.batch_axes else (),
                strict=model.batch_axes is not None,
            )
        )

    @property
    def queue_len(self) -> int:
        """How many requests wait, the ones under way left out."""
        return len(self._queue)

    def at_once(
        self, inputs: Inputs, outputs: list[str], deadline_at_s: float
    ) -> list[Array] | None:
        """Run a request here and now; None where it has to wait, so that `submit` must."""
        if not self._inline or self._queue or self._running or self._limited:
            return None
        if self._batches:
            if not self._at_once_left or self._items_of(inputs) != 1:
                return None
            self._at_once_left -= 1
        now_s = self._now_s()
        if now_s + self.run_s > deadline_at_s:
            return None
        found = self._model.run(inputs, outputs)
        run_s = self._now_s() - now_s
        self._alone_s.append(run_s)
        if run_s > admission.INLINE_S_MAX or len(self._alone_s) >= _ALONE_MAX:
            self.settle()
        return found

    async def submit(
        self,
        inputs: Inputs,
        outputs: list[str],
        *,
        deadline_at_s: float,
        deadline_s: float,
        client: int = 0,
        priority: int = 0,
        timeline: Timeline | None = None,
    ) -> list[Array]:
        """Run a request and return its outputs in the order asked for.

        `deadline_s` is the whole budget, for the text of an error; `deadline_at_s` is
        when it ends. Requests of one `client` wait behind each other; `priority` is as
        `FairQueue` has it.
        """
        now_s = self._now_s()
        left_s = deadline_at_s - now_s
        if self._settings.rate_per_s is not None:
            self._take_token(self._settings.rate_per_s, now_s)
        alone = not self._queue and not self._running
        if alone and self._inline and self.batch_max == 1 and self.run_s <= left_s:
            return self._timed_run(inputs, outputs, 1, 1, timeline)
        self._admit(left_s, deadline_s)
        waiting = _Waiting(
            inputs,
            outputs,
            deadline_at_s,
            deadline_s,
            client,
            priority or self._settings.priority_default,
            timeline,
        )
        if self.batch_max > 1:
            self._note_likeness(waiting)
        if not self._queue:
            self._shedding = 0
        self._queue.push(waiting)
        loop = asyncio.get_running_loop()
        if not self._flushing and self._running < self._settings.concurrency:
            self._flushing = True
            loop.call_soon(self._next)  # after everything else that is readable in this turn
        if self._inline:
            return await waiting.answer
        timer = loop.call_later(left_s, self._expire, waiting)
        try:
            return await waiting.answer
        finally:
            timer.cancel()

    def settle(self) -> None:
        """Count the runs that were only noted so far."""
        runs_s, self._alone_s = self._alone_s, []
        for run_s in runs_s:
            self.run_s = admission.mean_run_s(self.run_s, run_s)
            self._inline = self._belongs_inline(self._inline)
        if runs_s:
            self.statistics.ran_alone(runs_s)

    async def drain(self) -> None:
        """Wait until nothing waits or runs, then let the threads go."""
        if self._queue or self._running:
            self._idle = asyncio.Event()
            await self._idle.wait()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    def _admit(self, left_s: float, deadline_s: float) -> None:
        queue_len, settings = len(self._queue), self._settings
        verdict = admission.admit(
            queue_len,
            settings.queue_len_max,
            self._running,
            self.run_s,
            self.batch_max * settings.concurrency,
            left_s,
            self._shedding,
        )
        if verdict == admission.REFUSE_QUEUE_FULL:
            self._shedding = 1
            wait_s = admission.retry_after_s(queue_len, self._running, self.run_s, self.batch_max)
            raise QueueFullError(self._model.name, queue_len, wait_s)
        if verdict == admission.REFUSE_DEADLINE:
            raise DeadlineError(self._model.name, deadline_s, foretold=True)

    def _take_token(self, rate_per_s: float, now_s: float) -> None:
        burst = float(self._settings.burst)
        tokens = admission.tokens(self._tokens, burst, rate_per_s, now_s - self._tokens_at_s)
        self._tokens_at_s = now_s
        if tokens < 1.0:
            self._tokens = tokens
            raise RateLimitError(self._model.name, rate_per_s, (1.0 - tokens) / rate_per_s)
        self._tokens = tokens - 1.0

    def _next(self) -> None:
        """Start the next batches; runs as a loop callback, so nothing may escape it."""
        self._flushing = False
        loop = asyncio.get_running_loop()
        while self._queue and self._running < self._settings.concurrency:
            batch = self._take()
            if not batch:
                break
            if self._inline and not self._running:
                self._look_round(len(batch))
                self._deliver(batch, self._run_batch(batch))
                if self._queue:
                    self._flushing = True
                    loop.call_soon(self._next)
                break
            if self._threads is None:
                self._threads = ThreadPoolExecutor(
                    self._settings.concurrency, thread_name_prefix=f"run-{self._model.name}"
                )
            self._running += 1
            job = loop.run_in_executor(self._threads, self._run_batch, batch)
            job.add_done_callback(lambda done, batch=batch: self._finish(batch, done.result()))  # type: ignore[misc]
        if self._idle is not None and not self._queue and not self._running:
            self._idle.set()

    def _items_of(self, inputs: Inputs) -> int:
        """Return how many items a request for a model with batches holds, by its first input."""
        axes = self._model.batch_axes
        assert axes is not None  # noqa: S101 - batch_max is 1 without axes
        return int(inputs[self._model.inputs[0].name].shape[axes.inputs[0]])

    def _look_round(self, requests: int) -> None:
        """Note how many came in one turn: where it is always one, waiting for others costs only."""
        self._lonely = min(self._lonely + 1, _LONELY_AFTER) if requests == 1 else 0
        self._at_once_left = _LOOK_AGAIN_AFTER if self._lonely == _LONELY_AFTER else 0

    def _finish(self, batch: list[_Waiting], outcomes: list[Outcome]) -> None:
        self._running -= 1
        self._deliver(batch, outcomes)
        if not self._flushing:
            self._next()

    def _take(self) -> list[_Waiting]:
        """Take like requests off the queue, dropping those that nobody can answer in time."""
        queue = self._queue
        batch: list[_Waiting] = []
        items = 0
        waited_s = 0.0
        now_s = self._now_s()
        while queue:
            first = queue.first()
            if first.answer.settled:  # its client left, or its deadline passed
                queue.pop()
                continue
            if not admission.still_in_time(self.run_s, first.deadline_at_s - now_s):
                self._expire(queue.pop())
                continue
            if batch and (items + first.items > self.batch_max or first.like != batch[0].like):
                break
            batch.append(queue.pop())
            waited_s += now_s - first.deadline_at_s + first.deadline_s
            items += first.items
            if self.batch_max == 1:
                break
        self.statistics.waited(waited_s)
        return batch

    def _expire(self, waiting: _Waiting) -> None:
        if not waiting.answer.settled:
            foretold = waiting.deadline_at_s > self._now_s()
            error = DeadlineError(self._model.name, waiting.deadline_s, foretold=foretold)
            waiting.answer.set_exception(error)

    def _run_batch(self, batch: list[_Waiting]) -> list[Outcome]:
        """Run a batch as one; if that fails, each alone, so that one cannot fail another."""
        if len(batch) > 1:
            try:
                return list(self._run_together(batch))
            except ServeError:
                pass  # falls to the loop below, which finds out whose fault it was
        outcomes: list[Outcome] = []
        for waiting in batch:
            try:
                outcomes.append(
                    self._timed_run(
                        waiting.inputs, waiting.outputs, 1, waiting.items, waiting.timeline
                    )
                )
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
        names = batch[0].outputs
        start_s = self._now_s()
        items = sum([one.items for one in batch])
        found = self._timed_run(inputs, names, len(batch), items, None)
        for one in batch:
            if one.timeline is not None:
                one.timeline += (("COMPUTE_START", start_s), ("COMPUTE_END", self._now_s()))
        before = [(slice(None),) * self._axis_of[name] for name in names]
        shares: list[list[Array]] = []
        start = 0
        for one in batch:
            part = slice(start, start + one.items)
            start += one.items
            shares.append([array[(*left, part)] for array, left in zip(found, before, strict=True)])
        return shares

    def _timed_run(
        self,
        inputs: Inputs,
        outputs: list[str],
        requests: int,
        items: int,
        timeline: Timeline | None,
    ) -> list[Array]:
        start_s = self._now_s()
        found = self._model.run(inputs, outputs)
        end_s = self._now_s()
        self.run_s = admission.mean_run_s(self.run_s, end_s - start_s)
        self.statistics.ran(requests, items, start_s, end_s, timeline)
        self._inline = self._belongs_inline(self._inline)
        return found

    def _belongs_inline(self, before: int) -> int:
        if self._settings.run_on == "auto":
            return admission.runs_inline(before, self.run_s)
        return int(self._settings.run_on == "inline")

    @staticmethod
    def _deliver(batch: list[_Waiting], outcomes: list[Outcome]) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.answer.settled:
                continue
            try:
                if isinstance(outcome, ServeError):
                    waiting.answer.set_exception(outcome)
                else:
                    waiting.answer.set_result(outcome)
            except Exception:  # one client's failure may not end a batch
                log.exception("an answer could not be delivered")

    def _note_likeness(self, waiting: _Waiting) -> None:
        """Requests may run as one if they differ in the number of items alone."""
        axes = self._model.batch_axes
        assert axes is not None  # noqa: S101 - batch_max is 1 without axes
        items = -1
        rest: list[Any] = [tuple(waiting.outputs)]
        for spec, axis in zip(self._model.inputs, axes.inputs, strict=True):
            shape = waiting.inputs[spec.name].shape
            if items not in (-1, shape[axis]):  # the model will say what is wrong, to this one
                waiting.like = (id(waiting),)
                return
            items = shape[axis]
            rest.append(shape[:axis] + shape[axis + 1 :])
        waiting.items, waiting.like = items, tuple(rest)
