"""One request, several candidates: in rank order, hedged on silence, the loser cancelled.

Inference is idempotent, so a failed attempt is repeated at the next candidate at once,
within the deadline and the budget. Each candidate gets the request at most once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError
from skerry.base.http_errors import PeerUnreachableError
from skerry.route import decide
from skerry.route.choose import Candidate
from skerry.route.errors import Considered, PeerAnsweredError
from skerry.schema.desired import Peer
from skerry.schema.oip import InferReply
from skerry.schema.route_trace import AttemptSeen

log = logging.getLogger(__name__)
_told: set[type[BaseException]] = set()

HEDGES_MAX: Final = 2
PARAMETER_LOAD: Final = "skerry-load"
"""What a node tells the one that forwarded to it: how many requests it has under way."""
ANSWERED: Final = "answered"
_ABSENT: Final = decide.VERDICT_WORDS[decide.ABSENT]
Send = Callable[[Peer, float], Awaitable[InferReply]]
"""Send the request to a peer with so many seconds left."""


@dataclass(slots=True)
class _Attempt:
    candidate: Candidate
    started_s: float
    cause: str
    trial: bool


@dataclass(slots=True)
class Won:
    """The answer, who gave it, and why it was not the first candidate (empty if it was)."""

    reply: InferReply
    peer: Peer
    cause: str


class Race:
    """The attempts of one request. `run` returns the first answer, or None if there was none.

    `considered` then holds every candidate with its verdict. Errors that are the
    request's own fault (a 4xx answer) are raised as they came.
    """

    def __init__(
        self,
        model: str,
        send: Send,
        clock: Clock,
        rng: Random,
        suspect: Callable[[Candidate], None],
        may_retry: Callable[[], bool],
    ) -> None:
        self._model, self._send, self._clock, self._rng = model, send, clock, rng
        self._suspect, self._may_retry = suspect, may_retry
        self._running: dict[asyncio.Task[InferReply], _Attempt] = {}
        self.considered: list[Considered] = []
        self._over: list[tuple[_Attempt, float, str]] = []

    def attempts(self, since_s: float) -> list[AttemptSeen]:
        """Return every attempt that is over, as a trace tells it."""
        return [
            AttemptSeen(
                node=attempt.candidate.peer.node,
                model=self._model,
                cause=attempt.cause,
                at_ms=(attempt.started_s - since_s) * 1000,
                took_ms=(ended_s - attempt.started_s) * 1000,
                verdict=word,
            )
            for attempt, ended_s, word in self._over
        ]

    async def run(self, candidates: list[Candidate], deadline_s: float) -> Won | None:
        """Ask the candidates, best first, until `deadline_s` (monotonic)."""
        if len(candidates) == 1:
            return await self._alone(candidates[0], deadline_s)
        waiting = candidates[::-1]
        cause, hedges = "", 0
        newest = self._start(waiting.pop(), cause, deadline_s)
        try:
            while True:
                may_hedge = bool(waiting) and hedges < HEDGES_MAX
                until_s = self._patience_s(newest, deadline_s) if may_hedge else deadline_s
                finished = await self._wait(until_s)
                for task in finished:
                    error = task.exception()
                    reply = None if error is not None else task.result()
                    won = self._judge(self._running.pop(task), reply, error)
                    if won is not None:
                        return won
                    cause = self.considered[-1].verdict
                now_s = self._clock.monotonic_s()
                if now_s >= deadline_s:
                    return None
                if not finished:  # silence
                    hedges, cause = hedges + 1, "hedge"
                    newest.candidate.health.silent(now_s)
                    self._suspect(newest.candidate)
                if waiting and (not finished or not self._running):
                    # Who does not have the model is not sick: asking on costs nothing.
                    if cause == _ABSENT or self._may_retry():
                        newest = self._start(waiting.pop(), cause, deadline_s)
                        continue
                    for candidate in reversed(waiting):
                        self._note(candidate.peer, decide.BUDGET, "")
                    waiting.clear()
                if not self._running:
                    return None
        finally:
            await self._stop()

    async def _alone(self, candidate: Candidate, deadline_s: float) -> Won | None:
        """Ask the only candidate: nobody can stand in for it, so no timer and no task is made."""
        attempt = self._begin(candidate, "")
        reply, failure = None, None
        try:
            reply = await self._send(candidate.peer, deadline_s - attempt.started_s)
        except Exception as error:
            failure = error
        except BaseException:
            self._abandon(attempt, self._clock.monotonic_s())
            raise
        return self._judge(attempt, reply, failure)

    def _begin(self, candidate: Candidate, cause: str) -> _Attempt:
        candidate.health.in_flight += 1
        trial = candidate.health.link.phase != decide.CLOSED
        if trial:
            candidate.health.trial = True
        return _Attempt(candidate, self._clock.monotonic_s(), cause, trial)

    def _start(self, candidate: Candidate, cause: str, deadline_s: float) -> _Attempt:
        attempt = self._begin(candidate, cause)
        sending = self._send(candidate.peer, deadline_s - attempt.started_s)
        self._running[asyncio.ensure_future(sending)] = attempt
        return attempt

    def _patience_s(self, attempt: _Attempt, deadline_s: float) -> float:
        latency = attempt.candidate.health.model(self._model).latency
        return attempt.started_s + decide.hedge_delay_s(
            latency.p95_s,
            latency.samples,
            attempt.candidate.health.round_trip_s,
            deadline_s - attempt.started_s,
        )

    async def _wait(self, until_s: float) -> list[asyncio.Task[InferReply]]:
        loop = asyncio.get_running_loop()
        news: asyncio.Future[None] = loop.create_future()

        def tell(_: object = None) -> None:
            if not news.done():
                news.set_result(None)

        for task in self._running:
            task.add_done_callback(tell)
        stop_timer = _alarm(self._clock, until_s - self._clock.monotonic_s(), tell)
        try:
            await news
        finally:
            stop_timer()
            for task in self._running:
                task.remove_done_callback(tell)
        return [task for task in self._running if task.done()]

    def _judge(
        self, attempt: _Attempt, reply: InferReply | None, error: BaseException | None
    ) -> Won | None:
        peer, health = attempt.candidate.peer, attempt.candidate.health
        health.in_flight -= 1
        if attempt.trial:
            health.trial = False
        now_s = self._clock.monotonic_s()
        verdict = decide.FIT if error is None else verdict_of(error)
        word = "refused" if verdict is None else decide.VERDICT_WORDS[verdict]
        word = ANSWERED if verdict == decide.FIT else word
        self._over.append((attempt, now_s, word))
        if reply is not None:
            health.answered(self._model, now_s - attempt.started_s, now_s)
            told = reply.parameters.pop(PARAMETER_LOAD, None)
            if isinstance(told, int | float):
                health.told_load(float(told), now_s)
            return Won(reply, peer, attempt.cause)
        assert error is not None  # noqa: S101 - an attempt ends one way or the other
        if verdict is None:
            if isinstance(error, PeerAnsweredError):  # it is alive and well
                health.answered(self._model, now_s - attempt.started_s, now_s)
            raise error
        if isinstance(error, PeerUnreachableError):
            health.link_failed(now_s, self._rng)
        elif verdict == decide.ABSENT:
            health.lacks(self._model, now_s)
        elif verdict == decide.DOWN:
            health.model_failed(self._model, now_s, self._rng)
        self._note(peer, verdict, str(error))
        return None

    def _note(self, peer: Peer, verdict: int, detail: str) -> None:
        word = decide.VERDICT_WORDS[verdict]
        self.considered.append(Considered(peer.node, peer.site, peer.tier, word, detail))

    async def _stop(self) -> None:
        """Cancel what still runs: losers of a race, or everybody at the deadline."""
        now_s = self._clock.monotonic_s()
        left, self._running = self._running, {}
        for task, attempt in left.items():
            task.cancel()
            self._abandon(attempt, now_s)
            self._note(attempt.candidate.peer, decide.DEADLINE, "no answer yet")
        if left:
            await asyncio.gather(*left, return_exceptions=True)

    def _abandon(self, attempt: _Attempt, now_s: float) -> None:
        attempt.candidate.health.in_flight -= 1
        if attempt.trial:
            attempt.candidate.health.trial = False
        # At least so long: without it, only fast answers would count, and the
        # percentile, and with it the hedge delay, would creep down.
        latency = attempt.candidate.health.model(self._model).latency
        latency.saw(now_s - attempt.started_s, now_s)
        self._over.append((attempt, now_s, "cancelled"))


def _alarm(clock: Clock, duration_s: float, ring: Callable[[], None]) -> Callable[[], None]:
    """Ring after a duration unless what is returned is called; a system clock costs no task."""
    if isinstance(clock, SystemClock):
        return asyncio.get_running_loop().call_later(duration_s, ring).cancel
    sleeping = asyncio.ensure_future(clock.sleep(duration_s))
    sleeping.add_done_callback(lambda _: ring())
    return sleeping.cancel  # type: ignore[return-value]


def verdict_of(error: BaseException) -> int | None:
    """Return what a failed attempt says of its candidate; None: the request itself is at fault.

    Errors of other rooms are known by their `http_status`, not by their class.
    """
    if isinstance(error, PeerUnreachableError):
        return decide.DOWN
    if isinstance(error, TimeoutError):
        return decide.DEADLINE
    status = getattr(error, "http_status", 500)
    if status == 504:
        return decide.DEADLINE
    if status in (429, 503):
        # An engine that is not ready is down, not busy; a peer's 503 does not say which.
        engine = not isinstance(error, PeerAnsweredError)
        unready = engine and getattr(error, "grpc_code", "") == "UNAVAILABLE"
        return decide.DOWN if unready else decide.BUSY
    if status == 404:
        return decide.ABSENT
    if status == 403:
        return decide.RESIDENCY
    if not isinstance(error, SkerryError | OSError):
        _tell_once(error)
    return decide.DOWN if status >= 500 else None


def _tell_once(error: BaseException) -> None:
    """Log an error that nobody foresaw, once per class: as `down` alone it would stay hidden."""
    kind = type(error)
    if kind not in _told:
        _told.add(kind)
        log.error("an unforeseen %s counts as down", kind.__name__, exc_info=error)
