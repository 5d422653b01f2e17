"""What is said of each model: choice, reason, runner-up, flip, and the regret of the choice.

Regret: a model's place is chosen by the first half of the trace, the others where that
half puts them, and paid for on the second half.

Units:   USD per 1,000 requests answered in time, all models together.
"""

from collections.abc import Callable, Mapping
from typing import Final

from skerry.plan.assumptions import Assumptions
from skerry.plan.regret import regret
from skerry.plan.tiers.place import Candidate, Decision, Tried, cost_usd_per_1k, decide, try_all
from skerry.plan.tiers.place_facts import Facts
from skerry.plan.tiers.place_flip import flip_of
from skerry.plan.tiers.trial import halves
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet
from skerry.schema.plan_report import Advice, Regret

NOWHERE: Final = "nowhere"
_CROWDED: Final = "no room beside the other models"
_ALIKE: Final = 0.001
"""Costs that differ by less than this share are called the same."""
Halves = tuple[Tried, Tried]


def try_halves(
    fleet: Fleet,
    trace: Trace,
    services: Mapping[str, float],
    seed: int,
    tell: Callable[[float, str], None],
) -> Halves | None:
    """Try every model on both halves; None where a half lacks the requests of one."""
    parts = halves(trace)
    if not all(len(part) for part in parts):
        return None
    asked = [set(part.model.tolist()) for part in parts]
    if asked[0] != asked[1]:
        return None
    first, second = (
        try_all(fleet, part, services_s=services, seed=seed, tell=tell) for part in parts
    )
    return first, second


def advice_on(
    fleet: Fleet,
    trace: Trace,
    decision: Decision,
    model: str,
    tried: Tried,
    facts: Facts,
    table: Assumptions,
    split: Halves | None,
) -> Advice:
    """Return what is said of one model."""
    other, change = flip_of(fleet, decision, model, tried, facts, table)
    flip = "" if change is None else change.text
    runner_up = "" if other is None else other.name
    if model in decision.nowhere:
        why = "; ".join(
            f"{one.name}: {one.misses[0] if one.misses else _CROWDED}"
            for one in decision.candidates[model]
        )
        return Advice(
            choice=f"{model}: {NOWHERE}",
            reason=why,
            runner_up=runner_up,
            flip=flip,
            no_regret="there is no choice to regret",
        )
    judged, why = _regret(fleet, trace, decision, model, facts, table, split)
    return Advice(
        choice=f"{model}: {decision.chosen[model].name}",
        reason=_reason(fleet, decision, model, table),
        runner_up=runner_up,
        flip=flip,
        regret=judged,
        no_regret=why,
    )


def _reason(fleet: Fleet, decision: Decision, model: str, table: Assumptions) -> str:
    barred: dict[str, None] = {}
    for one in decision.candidates[model]:
        if one.misses and one.variant == model:
            barred[f"{one.name}: {one.misses[0]}"] = None
    usd = f"{decision.usd_per_1k:.3g} USD per 1,000 for all models"
    able = [one for one in decision.candidates[model] if not one.misses]
    if len(able) == 1:
        return "; ".join(["the only one that breaks no rule", *barred])
    dearer = [
        cost_with(fleet, decision, one, table) for one in able if one is not decision.chosen[model]
    ]
    more = min(dearer) - decision.usd_per_1k
    if more < decision.usd_per_1k * _ALIKE:
        return "; ".join([f"{usd}, and practically the same elsewhere", *barred])
    return "; ".join([f"{usd}, {more:.2g} more at best elsewhere", *barred])


def cost_with(fleet: Fleet, decision: Decision, one: Candidate, table: Assumptions) -> float:
    """Return what all models cost with one of them elsewhere."""
    others = [kept for name, kept in decision.chosen.items() if name != one.model]
    return cost_usd_per_1k(fleet, [*others, one], table)


def _regret(
    fleet: Fleet,
    trace: Trace,
    decision: Decision,
    model: str,
    facts: Facts,
    table: Assumptions,
    split: Halves | None,
) -> tuple[Regret | None, str]:
    """Choose a model's place by the first half of the trace, judge it by the second."""
    if split is None:
        return None, "one half of the trace lacks a model's requests"
    seen, unseen = (decide(fleet, tried, facts, table) for tried in split)
    if model not in seen.chosen or model not in unseen.chosen:
        return None, "one half of the trace leaves the model nowhere"
    later = {one.name: one for one in unseen.candidates[model]}
    able = [one for one in seen.candidates[model] if not one.misses]
    chosen = seen.chosen[model].name
    if later[chosen].misses:
        return None, f"on the second half {chosen} fails: {later[chosen].misses[0]}"
    kept = [one for one in able if not later[one.name].misses]
    return (
        regret(
            {one.name: cost_with(fleet, seen, one, table) for one in kept},
            {one.name: cost_with(fleet, unseen, later[one.name], table) for one in kept},
            unit="USD per 1,000",
            on=f"the second half ({trace.source})",
        ),
        "",
    )
