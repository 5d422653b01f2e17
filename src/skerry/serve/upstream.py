"""The lane of a runtime that is another server: so many at once, a bounded queue, deadlines.

    submit -> ready? -> room in the queue? -> a turn -> the call -> answer

Nobody waits for a server that cannot be asked, and nobody is sent who cannot be answered in
time. A client that leaves frees its turn, and its call is cut.

Units:   seconds, on the clock's monotonic scale.
Errors:  UpstreamDownError, QueueFullError, DeadlineError; what the runtime raises.
"""

import asyncio
from collections import deque
from typing import Any, Protocol

from numpy.typing import NDArray

from skerry.base.clock import Clock
from skerry.base.drive import in_task
from skerry.base.http_errors import PeerBrokenError, PeerUnreachableError
from skerry.schema.answer_stream import AnswerStream
from skerry.serve import admission
from skerry.serve.errors import DeadlineError, QueueFullError
from skerry.serve.runtime import Runtime
from skerry.serve.statistics import Statistics, Timeline
from skerry.serve.upstream_errors import UpstreamDownError, UpstreamFailedError
from skerry.serve.upstream_health import UpstreamHealth

Array = NDArray[Any]
Inputs = dict[str, Array]


class RemoteRuntime(Runtime, Protocol):
    """A runtime that is asked over a network."""

    async def run(self, inputs: Inputs, outputs: list[str], left_s: float) -> list[Array]:
        """Ask it once; the caller keeps the time."""
        ...

    async def stream(self, inputs: Inputs, left_s: float) -> AnswerStream:
        """Ask it once for an answer piece by piece."""
        ...

    def close(self) -> None:
        """Let its connections go."""
        ...


class _Turn:
    """One request's place with the server; given back once."""

    __slots__ = ("_given_back", "_lane", "_start_s")

    def __init__(self, lane: "UpstreamLane", start_s: float) -> None:
        self._lane, self._start_s, self._given_back = lane, start_s, False

    def give_back(self, *, count: bool = False) -> None:
        """End the turn; one that counts goes into the mean time of a run."""
        if not self._given_back:
            self._given_back = True
            self._lane.end_turn(self._start_s if count else None)


class UpstreamLane:
    """Asks one upstream; every call belongs to one event loop."""

    def __init__(
        self,
        runtime: RemoteRuntime,
        health: UpstreamHealth,
        *,
        concurrency: int,
        queue_len_max: int,
        timeout_s: float,
        clock: Clock,
    ) -> None:
        self.run_s = 0.0
        self.statistics = Statistics()
        self.batch_max = 1
        self._runtime, self._health = runtime, health
        self._concurrency, self._queue_len_max = concurrency, queue_len_max
        self._timeout_s = timeout_s
        self._clock = clock
        self._running = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()

    @property
    def queue_len(self) -> int:
        """How many requests wait, the ones under way left out."""
        return len(self._queue)

    def at_once(
        self, inputs: Inputs, outputs: list[str], deadline_at_s: float
    ) -> list[Array] | None:
        """Never: another server is waited for."""
        return None

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
        """Ask the server and return its outputs in the order asked for; turns are its own."""
        await in_task()
        turn = await self._turn(deadline_at_s, deadline_s)
        count, left_s = False, self._left_s(deadline_at_s)
        start_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(left_s):
                found = await self._runtime.run(inputs, outputs, left_s)
            count = True
            self.statistics.ran(1, 1, start_s, self._clock.monotonic_s(), timeline)
            self._health.answered()
        except Exception as error:
            raise self._judged(error, deadline_s, left_s) from error
        finally:
            turn.give_back(count=count)
        return found

    async def stream(
        self, inputs: Inputs, *, deadline_at_s: float, deadline_s: float
    ) -> AnswerStream:
        """Ask the server for an answer piece by piece; it must be read to its end or closed."""
        await in_task()
        turn = await self._turn(deadline_at_s, deadline_s)
        left_s = self._left_s(deadline_at_s)
        try:
            async with asyncio.timeout(left_s):
                stream = await self._runtime.stream(inputs, left_s)
        except BaseException as error:
            turn.give_back()
            if isinstance(error, Exception):
                raise self._judged(error, deadline_s, left_s) from error
            raise
        late = asyncio.get_running_loop().call_later(left_s, stream.cut)

        def ended(stream: AnswerStream) -> None:
            late.cancel()
            turn.give_back(count=stream.whole)
            if stream.whole:
                self._health.answered()
            elif isinstance(stream.error, Exception):
                self._judged(stream.error, deadline_s, left_s)

        stream.when_ended(ended)
        return stream

    def settle(self) -> None:
        """Nothing is only noted here: a call to another server is counted when it ends."""

    async def drain(self) -> None:
        """Wait until nothing waits or runs, then let the server go."""
        while self._running or self._queue:
            self._idle.clear()
            await self._idle.wait()
        self._health.stop()
        self._runtime.close()

    def end_turn(self, start_s: float | None) -> None:
        """Free a place with the server, for the one who waited longest."""
        if start_s is not None:
            self.run_s = admission.mean_run_s(self.run_s, self._clock.monotonic_s() - start_s)
        self._running -= 1
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.done():
                self._running += 1
                waiting.set_result(None)
                return
        if not self._running:
            self._idle.set()

    async def _turn(self, deadline_at_s: float, deadline_s: float) -> _Turn:
        name = self._runtime.name
        if not self._health.ready:
            raise UpstreamDownError(name, self._health.reason)
        if self._running < self._concurrency:
            self._running += 1
            return _Turn(self, self._clock.monotonic_s())
        queue_len, width = len(self._queue), self._concurrency
        if queue_len >= self._queue_len_max:
            wait_s = admission.retry_after_s(queue_len, 1, self.run_s, width)
            raise QueueFullError(name, queue_len, wait_s)
        left_s = deadline_at_s - self._clock.monotonic_s()
        if admission.wait_s(queue_len, 1, self.run_s, width) > left_s:
            raise DeadlineError(name, deadline_s, foretold=True)
        waiting = asyncio.get_running_loop().create_future()
        self._queue.append(waiting)
        try:
            async with asyncio.timeout(left_s):
                await waiting
        except BaseException as error:
            if waiting.done() and not waiting.cancelled():  # it had its turn already
                self.end_turn(None)
            elif waiting in self._queue:
                self._queue.remove(waiting)
            if isinstance(error, TimeoutError):
                raise DeadlineError(name, deadline_s, foretold=False) from error
            raise
        return _Turn(self, self._clock.monotonic_s())

    def _left_s(self, deadline_at_s: float) -> float:
        return min(max(deadline_at_s - self._clock.monotonic_s(), 0.0), self._timeout_s)

    def _judged(self, error: Exception, deadline_s: float, left_s: float) -> Exception:
        """Return the error to raise, and count it if it is the server's."""
        name = self._runtime.name
        if isinstance(error, TimeoutError):
            if left_s >= self._timeout_s:  # a client's short deadline is not the server's fault
                self._health.failed(f"no answer in {self._timeout_s:g} s")
            return DeadlineError(name, min(deadline_s, self._timeout_s), foretold=False)
        if isinstance(error, PeerUnreachableError):
            self._health.failed(str(error))
            return UpstreamDownError(name, str(error))
        if isinstance(error, PeerBrokenError):
            self._health.failed(str(error))
            return UpstreamFailedError(name, str(error))
        if isinstance(error, UpstreamFailedError):
            self._health.failed(error.why)
        return error
