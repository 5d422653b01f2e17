"""A cascade under way: the small model's answer stands while it is sure; some are checked.

A fixed random share of the sure answers goes to the large model all the same. Its answer
is given, and whether the two differ is counted: the certificate of `route.calibrate` held
for yesterday's traffic, the count tells whether it holds for today's.
"""

from collections.abc import Awaitable, Callable
from random import Random

import numpy as np
from numpy.typing import NDArray

from skerry.route.calibrate import confidence_of, interval
from skerry.route.journey import Journey
from skerry.schema.oip import InferReply, Tensor
from skerry.schema.route import Cascade
from skerry.schema.route_trace import CascadeSeen

SURE, UNSURE, CHECK, NO_ANSWER = "sure", "unsure", "check", "no-answer"


class CascadeState:
    """One cascade of a router, and what its checks have found so far."""

    __slots__ = ("_rng", "checked", "disagreed", "settings")

    def __init__(self, settings: Cascade, rng: Random) -> None:
        self.settings, self._rng = settings, rng
        self.checked = self.disagreed = 0

    def judge(self, reply: InferReply | None) -> CascadeSeen:
        """Decide on the small model's answer: every item in it has to be sure."""
        settings = self.settings
        confidence = None if reply is None else self._confidence(reply)
        verdict = NO_ANSWER
        if confidence is not None:
            verdict = SURE if confidence >= settings.threshold else UNSURE
            if verdict == SURE and self._rng.random() < settings.check_ratio:
                verdict = CHECK
        seen = CascadeSeen(
            small=settings.small,
            verdict=verdict,
            confidence=confidence,
            threshold=settings.threshold,
        )
        self.tell(seen)
        return seen

    def compare(self, small: InferReply, large: InferReply) -> None:
        """Count one check: whether any item's best class differs."""
        one, other = self._scores(small), self._scores(large)
        if one is None or other is None or len(one.data) != len(other.data):
            return
        self.checked += 1
        self.disagreed += not np.array_equal(_best(one), _best(other))

    def tell(self, seen: CascadeSeen) -> None:
        """Write what the checks have found into a trace."""
        seen.checked, seen.disagreed = self.checked, self.disagreed
        seen.disagreement_low, seen.disagreement_high = interval(self.disagreed, self.checked)

    def _confidence(self, reply: InferReply) -> float | None:
        scores = self._scores(reply)
        if scores is None:
            return None
        settings = self.settings
        rows = confidence_of(scores.data, logits=settings.logits, temperature=settings.temperature)
        lowest = float(rows.min())
        return lowest if np.isfinite(lowest) else None

    def _scores(self, reply: InferReply) -> Tensor | None:
        wanted = self.settings.output
        for tensor in reply.outputs:
            if tensor.name == wanted or not wanted:
                usable = tensor.data.dtype.kind == "f" and tensor.data.ndim and tensor.data.size
                return tensor if usable else None
        return None


async def ask_cascade(
    journey: Journey,
    state: CascadeState,
    small_here: Callable[[str], Awaitable[InferReply | None]],
    large: Callable[[], Awaitable[InferReply]],
) -> InferReply:
    """Return the small model's answer if it is sure and not checked, else the large one's."""
    small = await small_here(state.settings.small)
    seen = state.judge(small)
    if journey.trace is not None:
        journey.trace.cascade = seen
    if small is not None and seen.verdict == SURE:
        return small
    journey.prefix = f"cascade-{seen.verdict}"
    answer = await large()
    if small is not None and seen.verdict == CHECK and answer.model != small.model:
        state.compare(small, answer)
        state.tell(seen)
    return answer


def _best(tensor: Tensor) -> NDArray[np.intp]:
    return np.asarray(tensor.data.reshape(len(tensor.data), -1).argmax(axis=1))
