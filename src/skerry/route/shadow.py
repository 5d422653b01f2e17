"""Shadow mode: a share of live requests goes to a candidate too, after its caller was answered.

    reply = primary(request)  ->  caller        nothing below is ever awaited by the caller
              \\-> drawn? may it go there? -> queue (bounded) -> candidate -> compare -> record

The caller's way is the primary's, plus a draw and, for those drawn, a copy of the
tensors into a bounded queue; a full queue drops and counts. Residency is judged before
anything is copied. A candidate that stops answering is left alone for a while, longer
each time. The record holds counts, sketches and a bounded sample of latencies; inputs
are kept only for data classes that the rule names.

Units:   seconds, on the clock's monotonic scale; the record has milliseconds.
Errors:  none reach the caller but the primary's own.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.units import MS_PER_SECOND
from skerry.route.shadow_compare import TOLERANCE, Comparison, compare
from skerry.schema.oip import (
    PRIORITY_LAST,
    InferFunction,
    InferReply,
    InferRequest,
    Parameter,
    Tensor,
)
from skerry.schema.shadow import (
    DIFFERENCE_EDGES,
    PAIRS_MAX,
    PARAMETER_SHADOW,
    Paired,
    ShadowRecord,
    ShadowRule,
)

AT_ONCE_MAX = 2
"""Copies of one rule under way at a time, so that a shadow stays a fraction of the load."""
FAILURES_MAX = 5
"""Failures in a row after which the candidate is left alone."""
PAUSE_S_MIN, PAUSE_S_MAX = 1.0, 60.0
REASONS_MAX = 16
_SEQUENCE = "sequence_id"

Call = Callable[[InferRequest, float], Awaitable[InferReply]]
"""Send a copy to the candidate, with the seconds it may take."""
Keep = Callable[[InferRequest, Sequence[Tensor], Sequence[Tensor]], Awaitable[bool]]
"""Keep an example on which the two disagree (request, primary's outputs, candidate's)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One rule with the ways to act on it.

    `refuses` returns why this request's data may not go to the candidate, or nothing.
    `keep` is asked only for requests of a data class that the rule names.
    """

    rule: ShadowRule
    call: Call
    refuses: Callable[[InferRequest], str]
    tolerance: Callable[[str, str], float | None] = lambda model, version: None
    keep: Keep | None = None


class Shadow:
    """Wraps an infer function; models that no rule names pass untouched."""

    def __init__(self, infer: InferFunction, targets: Sequence[Target], *, clock: Clock) -> None:
        self._infer, self._clock = infer, clock
        self._copying = [_Copying(target, clock) for target in targets]
        self._by_model: dict[str, list[_Copying]] = {}
        for copying in self._copying:
            self._by_model.setdefault(copying.rule.model, []).append(copying)

    @property
    def records(self) -> list[ShadowRecord]:
        """What came of each rule so far, in the order given."""
        return [copying.record for copying in self._copying]

    def resume(self, records: Sequence[ShadowRecord]) -> None:
        """Go on from records of before, one per rule in the order given."""
        for copying, record in zip(self._copying, records, strict=True):
            copying.record = record

    def infer(self, request: InferRequest) -> Awaitable[InferReply]:
        """Return the primary's answer; whatever the shadow does comes after it."""
        rules = self._by_model.get(request.model)
        if rules is None or PARAMETER_SHADOW in request.parameters:
            return self._infer(request)
        return self._shadowed(request, rules)

    async def _shadowed(self, request: InferRequest, rules: list["_Copying"]) -> InferReply:
        started_s = self._clock.monotonic_s()
        reply = await self._infer(request)
        took_s = self._clock.monotonic_s() - started_s
        for copying in rules:
            copying.offer(request, reply, took_s)
        return reply

    async def settle(self) -> None:
        """Wait until no copy waits or is under way."""
        for copying in self._copying:
            while copying.tasks:
                await asyncio.gather(*copying.tasks, return_exceptions=True)

    async def aclose(self) -> None:
        """Give up the copies that wait or are under way."""
        tasks = [task for copying in self._copying for task in copying.tasks]
        for copying in self._copying:
            copying.give_up()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True, kw_only=True)
class _Copy:
    request: InferRequest
    outputs: list[Tensor]
    took_s: float
    size: int
    data_class: str
    tolerance: float


@dataclass(slots=True)
class _Copying:
    """One rule at work: its queue, its record, and how its candidate is."""

    target: Target
    clock: Clock
    rule: ShadowRule = field(init=False)
    record: ShadowRecord = field(init=False)
    tasks: set["asyncio.Task[None]"] = field(init=False, default_factory=set)
    workers: int = field(init=False, default=0)
    queue: deque[_Copy] = field(init=False, default_factory=deque)
    queue_bytes: int = field(init=False, default=0)
    failures: int = field(init=False, default=0)
    resume_at_s: float = field(init=False, default=0.0)
    draw: Random = field(init=False)
    pick: Random = field(init=False)

    def __post_init__(self) -> None:
        rule = self.rule = self.target.rule
        self.draw = Random(rule.seed)  # noqa: S311 - a sample, no secret
        self.pick = Random(rule.seed + 1)  # noqa: S311 - as above
        now_ms = int(self.clock.unix_s() * MS_PER_SECOND)
        self.record = ShadowRecord(
            model=rule.model,
            to=rule.to,
            candidate=rule.tried,
            version=rule.version,
            share=rule.share,
            seed=rule.seed,
            started_unix_ms=now_ms,
            updated_unix_ms=now_ms,
            differences=[0] * (len(DIFFERENCE_EDGES) + 1),
        )

    def offer(self, request: InferRequest, reply: InferReply, took_s: float) -> None:
        """Take a copy of an answered request, or count why not; waits for nothing."""
        record, rule = self.record, self.rule
        record.requests += 1
        if self.draw.random() >= rule.share:
            return
        record.sampled += 1
        if reply.stream is not None or request.parameters.get(_SEQUENCE):
            record.skipped += 1
            return
        refusal = self.target.refuses(request)
        if refusal:
            _count(record.refused, refusal)
            return
        if self.clock.monotonic_s() < self.resume_at_s:
            record.paused += 1
            return
        size = _size(request.inputs) + _size(reply.outputs)
        if len(self.queue) >= rule.queue_len_max or self.queue_bytes + size > rule.queue_bytes_max:
            record.dropped += 1
            return
        tolerance = rule.tolerance
        if tolerance is None:
            tolerance = self.target.tolerance(reply.model, reply.version)
        self.queue_bytes += size
        self.queue.append(
            _Copy(
                request=self._copy_of(request),
                outputs=[_owned(tensor) for tensor in reply.outputs],
                took_s=took_s,
                size=size,
                data_class=request.data_class or "",
                tolerance=TOLERANCE if tolerance is None else tolerance,
            )
        )
        if self.workers < AT_ONCE_MAX:
            self.workers += 1
            task = asyncio.get_running_loop().create_task(self._work())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def give_up(self) -> None:
        """Drop what waits and end what is under way."""
        self.record.dropped += len(self.queue)
        self._empty()
        for task in self.tasks:
            task.cancel()

    def _copy_of(self, request: InferRequest) -> InferRequest:
        """The receive buffer may be used again once the caller has its answer."""
        rule = self.rule
        return msgspec.structs.replace(
            request,
            model=rule.tried,
            version=rule.version,
            inputs=[_owned(tensor) for tensor in request.inputs],
            parameters={**_of_the_model(request.parameters), PARAMETER_SHADOW: True},
            deadline_s=rule.deadline_s,
            binary_outputs=True,
            priority=PRIORITY_LAST,
            timeline=None,
            streams=False,
            wishes=None,
            wanted=None,
            placed=None,  # whatever memory it lies in, a copy is sent whole
        )

    async def _work(self) -> None:
        try:
            while self.queue:
                copy = self.queue.popleft()
                self.queue_bytes -= copy.size
                await self._one(copy)
        finally:
            self.workers -= 1

    async def _one(self, copy: _Copy) -> None:
        record, deadline_s = self.record, self.rule.deadline_s
        started_s = copy.request.received_s = self.clock.monotonic_s()
        try:
            async with asyncio.timeout(deadline_s):
                reply = await self.target.call(copy.request, deadline_s)
        except asyncio.CancelledError:
            record.dropped += 1
            raise
        except Exception as error:  # whatever it is, it is the candidate's, and is counted
            self._failed(error)
            return
        self.failures = 0
        candidate_s = self.clock.monotonic_s() - started_s
        rows = copy.request.inputs[0].shape[0] if copy.request.inputs[0].shape else 1
        found = compare(copy.outputs, reply.outputs, rows=rows, tolerance=copy.tolerance)
        self._note(found, copy.took_s, candidate_s)
        if not found.same and self.target.keep and copy.data_class in self.rule.keep_classes:
            kept = await self.target.keep(copy.request, copy.outputs, reply.outputs)
            record.examples_kept += kept

    def _failed(self, error: Exception) -> None:
        record = self.record
        code = error.code if isinstance(error, SkerryError) else type(error).__name__
        _count(record.failed, code)
        self._touch()
        self.failures += 1
        if self.failures >= FAILURES_MAX:
            pause_s = PAUSE_S_MIN * 2.0 ** min(self.failures - FAILURES_MAX, 10)
            self.resume_at_s = self.clock.monotonic_s() + min(pause_s, PAUSE_S_MAX)
            record.paused += len(self.queue)
            self._empty()

    def _note(self, found: Comparison, primary_s: float, candidate_s: float) -> None:
        record = self.record
        record.compared += 1
        record.same += found.same
        record.within += found.within
        self._touch()
        if found.unlike:
            record.unlike += 1
        else:
            record.abs_difference_max = max(record.abs_difference_max, found.abs_max)
            record.rel_difference_max = max(record.rel_difference_max, found.rel_max)
            record.differences[bisect_left(DIFFERENCE_EDGES, found.abs_max)] += 1
        pair = Paired(primary_s * MS_PER_SECOND, candidate_s * MS_PER_SECOND)
        if len(record.pairs) < PAIRS_MAX:
            record.pairs.append(pair)
        else:  # each pair so far is kept with the same chance (Vitter's algorithm R)
            place = self.pick.randrange(record.compared)
            if place < PAIRS_MAX:
                record.pairs[place] = pair

    def _touch(self) -> None:
        self.record.updated_unix_ms = int(self.clock.unix_s() * MS_PER_SECOND)

    def _empty(self) -> None:
        self.queue.clear()
        self.queue_bytes = 0


def _of_the_model(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Leave out what is between the caller and its server: deadline, priority, explanations."""
    return {
        name: value
        for name, value in parameters.items()
        if name not in ("timeout", "priority") and not name.startswith(("skerry-", "explain"))
    }


def _count(counts: dict[str, int], reason: str) -> None:
    """Count by reason; past a bound of unlike reasons, together."""
    if reason not in counts and len(counts) >= REASONS_MAX:
        reason = "other"
    counts[reason] = counts.get(reason, 0) + 1


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(
        sum(len(item) for item in tensor.data.flat)
        if tensor.datatype == "BYTES"
        else tensor.data.nbytes
        for tensor in tensors
    )


def _owned(tensor: Tensor) -> Tensor:
    return Tensor(tensor.name, tensor.datatype, tensor.shape, tensor.data.copy())
