"""How an answer is explained: the model is run again and again, on parts of its input.

A request is answered first, as any other; then the model that gave the answer is run in
small pieces, at the lowest priority and with a turn of the loop between them, or a pause
while clients are asking, so that plain requests keep their latency. It works on any
model, for it only runs it.

Units:   seconds, on the clock's monotonic scale; budgets in runs of one row.
Shapes:  an explanation has its input's shape, without the batch axis where there is one.
Errors:  ExplainError, BudgetError, ExplainBusyError, ExplainElsewhereError,
         UnexplainableError.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.clock import Clock
from skerry.base.drive import in_task
from skerry.base.errors import SkerryError
from skerry.learn.attribution import Attribution, Coalitions, Steps, Values, occlusion, shapley
from skerry.learn.attribution_baseline import baselines_of, replaced, taken_apart
from skerry.learn.attribution_players import Players, players_of
from skerry.learn.errors import ExplainBusyError, ExplainElsewhereError, UnexplainableError
from skerry.learn.explain_subject import Subject, check_request, subject_of
from skerry.learn.explain_wish import Wish, wish_of
from skerry.learn.explainer import RunModel
from skerry.schema.model import Card
from skerry.schema.oip import (
    PRIORITY_LAST,
    InferFunction,
    InferReply,
    InferRequest,
    Parameter,
    Tensor,
)
from skerry.schema.oip_documents import ModelMetadata

Array = NDArray[Any]
EXPLANATION = "explanation."
UNDER_WAY_MAX = 4
DEADLINE_S = 30.0
PIECE_S = 0.0005
"""Longest that one piece should hold a model: half of what may hold the event loop."""
PAUSE_RUNS = 4
"""Between two pieces clients get as many pieces' time to themselves, while they are asking."""
PAUSE_S = PIECE_S * PAUSE_RUNS
SAME_VALUE = 1e-3
"""How far, relative to numbers above 1, a second run may be from the answer: batches round."""
_RETRY_S = 0.005
RESERVE_RATIO = 0.1
"""Share of a deadline that is left for the answer's way back, and for a piece that drags on."""
_BUSY, _TOO_LATE = (429, 503), 504


class Explanations:
    """The explanations of one server; the arguments are those of `Explainer`."""

    def __init__(
        self,
        infer: InferFunction,
        *,
        run: RunModel,
        metadata: Callable[[str, str], ModelMetadata],
        cards: Callable[[str, str], Card | None],
        asked: Callable[[], int],
        node: str,
        clock: Clock,
    ) -> None:
        self._infer, self._run, self._asked = infer, run, asked
        self._metadata, self._cards = metadata, cards
        self._node, self._clock = node, clock
        self._under_way = 0

    async def answer(self, request: InferRequest) -> InferReply:
        """Answer a request whose parameters speak of explaining."""
        wish = wish_of(request.parameters)
        if wish is None:
            return await self._infer(request)
        started_s = request.received_s or self._clock.monotonic_s()
        request, given = taken_apart(request)
        check_request(request)
        if self._under_way >= UNDER_WAY_MAX:
            raise ExplainBusyError(self._under_way)
        self._under_way += 1
        try:
            await in_task()
            reply = await self._infer(request)
            if any(output.name.startswith(EXPLANATION) for output in reply.outputs):
                return reply  # who answered is another node, and has explained it
            if reply.served_by is not None and reply.served_by.node != self._node:
                raise ExplainElsewhereError(reply.served_by.node, reply.model)
            budget_s = DEADLINE_S if request.deadline_s is None else request.deadline_s
            end_s = started_s + budget_s * (1 - RESERVE_RATIO)
            return await self._explain(request, reply, wish, given, end_s)
        finally:
            self._under_way -= 1

    async def _explain(
        self,
        request: InferRequest,
        reply: InferReply,
        wish: Wish,
        given: Mapping[str, Tensor],
        end_s: float,
    ) -> InferReply:
        card = self._cards(reply.model, reply.version)
        subject = subject_of(request, reply, self._metadata(reply.model, reply.version), card, wish)
        baselines, baseline_name = baselines_of(
            wish.baseline, subject.names, subject.rows, card, batched=subject.batched
        )
        if given:
            baselines = replaced(baselines, given, request.inputs, batched=subject.batched)
            baseline_name = "given"
        players = players_of(subject.rows, baselines)
        method = wish.method or ("occlusion" if players.grid else "shapley")
        if method == "shapley":
            rng = np.random.default_rng(wish.seed)
            steps = shapley(players.count, budget=wish.budget, rng=rng)
        else:
            steps = occlusion(players.count, budget=wish.budget)
        runs = _Runs(self._run, self._asked, subject, players, baselines, self._clock, end_s)
        found = await runs.follow(steps)
        if abs(found.value - subject.answered) > SAME_VALUE * max(1.0, abs(subject.answered)):
            raise UnexplainableError(reply.model, subject.answered, found.value)
        shares = [] if found.values is None else _tensors(subject, players, found.values)
        facts = _facts(found, subject, method, baseline_name, runs.done, wish)
        # A reply of its own: whoever gave this one may keep it for other requests.
        return msgspec.structs.replace(
            reply, outputs=[*reply.outputs, *shares], parameters={**reply.parameters, **facts}
        )


class _Runs:
    """Runs coalitions in pieces, until the method has what it needs or time is up."""

    def __init__(
        self,
        run: RunModel,
        asked: Callable[[], int],
        subject: Subject,
        players: Players,
        baselines: Sequence[Array],
        clock: Clock,
        end_s: float,
    ) -> None:
        self._run, self._asked = run, asked
        self._subject, self._players = subject, players
        self._baselines, self._clock = baselines, clock
        self._end_s = end_s
        self._piece = 2 if subject.batched else 1
        self._piece_s = 0.0
        self._asked_before = asked()
        self.done = 0

    async def follow(self, steps: Steps) -> Attribution:
        coalitions: Coalitions = next(steps)
        while True:
            try:
                coalitions = steps.send(await self._values(coalitions))
            except StopIteration as stop:
                found: Attribution = stop.value
                return found

    async def _values(self, coalitions: Coalitions) -> Values | None:
        """Return what the model answers for each coalition; None where time is up."""
        values = np.empty(len(coalitions))
        at = 0
        while at < len(coalitions):
            piece = coalitions[at : at + self._piece]
            found = await self._one_piece(piece)
            if found is None:
                return None
            values[at : at + len(piece)] = found
            at += len(piece)
        return values

    async def _one_piece(self, coalitions: Coalitions) -> Values | None:
        """Run one piece, waiting while plain requests fill the queue."""
        subject = self._subject
        blended = self._players.blend(coalitions, subject.rows, self._baselines)
        while True:
            await self._give_way()
            start_s = self._clock.monotonic_s()
            left_s = self._end_s - start_s
            if left_s <= self._piece_s:
                return None
            arrays = blended if subject.batched else [array[0] for array in blended]
            try:
                outputs = await self._run(self._request(arrays, start_s, left_s))
            except SkerryError as error:
                status = getattr(error, "http_status", 500)
                if status == _TOO_LATE:
                    return None
                if status not in _BUSY:
                    raise
                await self._clock.sleep(_RETRY_S)
                continue
            self.done += len(coalitions)
            self._learn(len(coalitions), self._clock.monotonic_s() - start_s)
            return subject.picked(outputs[0], len(coalitions))

    async def _give_way(self) -> None:
        """Let what came in meanwhile go first; leave a pause where clients are asking."""
        asked = self._asked()
        busy, self._asked_before = asked != self._asked_before, asked
        if busy:
            await self._clock.sleep(max(PAUSE_S, self._piece_s * PAUSE_RUNS))
        else:
            await asyncio.sleep(0)

    def _request(self, arrays: Sequence[Array], start_s: float, left_s: float) -> InferRequest:
        subject = self._subject
        return InferRequest(
            model=subject.model,
            version=subject.version,
            inputs=[
                Tensor(name, datatype, array.shape, np.asarray(array, order="C"))
                for name, datatype, array in zip(
                    subject.names, subject.datatypes, arrays, strict=True
                )
            ],
            outputs=[subject.output],
            deadline_s=left_s,
            received_s=start_s,
            priority=PRIORITY_LAST,
        )

    def _learn(self, rows: int, took_s: float) -> None:
        """Keep pieces short: double what was quick, halve what was slow."""
        self._piece_s = took_s
        if not self._subject.batched:
            return
        if took_s < PIECE_S / 2 and rows == self._piece:
            self._piece = min(self._piece * 2, self._subject.rows_max)
        elif took_s > PIECE_S:
            self._piece = max(self._piece // 2, 1)


def _tensors(subject: Subject, players: Players, values: Values) -> list[Tensor]:
    return [
        Tensor(EXPLANATION + name, "FP32", array.shape, array)
        for name, array in zip(subject.names, players.spread(values), strict=True)
    ]


def _facts(
    found: Attribution, subject: Subject, method: str, baseline: str, runs: int, wish: Wish
) -> dict[str, Parameter]:
    """Return how it was done and how sure it is, for the reply's parameters."""
    facts: dict[str, Parameter] = {
        "explain_method": f"{method}-exact" if found.exact else method,
        "explain_output": subject.output,
        "explain_target": subject.target,
        "explain_baseline": baseline,
        "explain_budget": wish.budget,
        "explain_runs": runs,
        "explain_seed": wish.seed,
    }
    if found.stopped:
        facts["explain_stopped"] = "deadline"
    numbers = {
        "explain_value": found.value,
        "explain_base_value": found.base_value,
        "explain_gap": found.gap,
        "explain_standard_error": math.nan
        if found.standard_error is None
        else float(found.standard_error.max(initial=0.0)),
    }
    facts |= {name: value for name, value in numbers.items() if math.isfinite(value)}
    if found.top_kept is not None:
        facts["explain_top3_kept"] = found.top_kept
    return facts
