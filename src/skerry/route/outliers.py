"""Candidates that stand out of their like are ejected: one judgement over all of them.

Like are the nodes of one tier, and latencies are compared per model, without the round
trip that the link takes. Once a candidate has been well for as long as its next ejection
would last, its earlier ones are forgotten.
"""

from collections import defaultdict
from collections.abc import Iterable
from math import nan
from random import Random
from statistics import median
from typing import Final

from skerry.route import decide
from skerry.route.choose import Candidate
from skerry.route.health import Health

JUDGED_S: Final = 1.0
"""Time between two judgements."""


def eject_outliers(
    candidates: Iterable[Candidate], *, now_s: float, ratio_max: float, rng: Random
) -> list[Candidate]:
    """Eject who stands out, at most `ratio_max` of each tier; return them."""
    tiers: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        tiers[candidate.peer.tier].append(candidate)
    gone = []
    for like in tiers.values():
        out = sum(candidate.health.is_ejected(now_s) for candidate in like)
        for candidate in like:
            health = candidate.health
            if health.is_ejected(now_s) or not decide.may_eject(out, len(like), ratio_max):
                continue
            others = [
                other.health
                for other in like
                if other is not candidate and not other.health.is_ejected(now_s)
            ]
            if _stands_out(health, others, now_s):
                health.eject(now_s, rng.random())
                gone.append(candidate)
                out += 1
            elif health.ejections and now_s > health.ejected_until_s + decide.ejection_s(
                health.ejections, 1.0
            ):
                health.ejections = 0
    return gone


def _stands_out(health: Health, others: list[Health], now_s: float) -> bool:
    known = [other.errors_ratio for other in others if other.answers >= decide.OUTLIER_ANSWERS_MIN]
    like_errors_ratio = median(known) if known else nan
    if decide.is_outlier(health.answers, health.errors_ratio, like_errors_ratio, nan, nan):
        return True
    for name, model in health.models.items():
        like_s = [
            _service_s(other, name, now_s)
            for other in others
            if name in other.models and other.models[name].latency.samples
        ]
        if like_s and decide.is_outlier(
            model.latency.samples, 0.0, nan, _service_s(health, name, now_s), median(like_s)
        ):
            return True
    return False


def _service_s(health: Health, model: str, now_s: float) -> float:
    expected_s = health.models[model].latency.expected_s(now_s)
    return max(expected_s - health.round_trip_s, 0.0)
