"""What would turn a recommendation round: changes to the fleet file, tried before they are told.

A candidate is a value at a dotted path, and the same change to the resolved fleet. Only one
that makes the decision come out otherwise is reported, so a stated flip flips.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName
from skerry.schema.policy import Residency, Stays


@dataclass(frozen=True, slots=True)
class Change:
    """A change: in words, as values of the fleet file by dotted path, and done to a fleet."""

    text: str
    values: dict[str, str]
    apply: Callable[[Fleet], Fleet]


def rent(fleet: Fleet, tier: str, usd_per_month: float) -> Change:
    """Change what a tier's sites cost a month, in whole cents."""
    usd = round(usd_per_month, 2)
    word = "more" if usd > fleet.tiers[tier].usd_per_month else "less"

    def apply(before: Fleet) -> Fleet:
        changed = msgspec.structs.replace(before.tiers[tier], usd_per_month=usd)
        return msgspec.structs.replace(before, tiers={**before.tiers, tier: changed})

    text = f"a site of {tier} costs {usd:.2f} USD a month or {word}"
    return Change(text, {f"tiers.{tier}.monthly": f"{usd:.2f} USD"}, apply)


def latency_goal(limit_ms: float) -> Change:
    """Change the goal of p95."""

    def apply(before: Fleet) -> Fleet:
        goals = {**before.goals, GoalName.LATENCY_MS_P95: limit_ms}
        return msgspec.structs.replace(before, goals=goals)

    text = f"the latency goal is {limit_ms:g} ms at p95"
    return Change(text, {"goals.latency_p95": f"{limit_ms:g} ms"}, apply)


def let_travel(data_class: str) -> Change:
    """Let a data class go anywhere."""

    def apply(before: Fleet) -> Fleet:
        classes = {**before.data_classes, data_class: Residency(stays=Stays.ANYWHERE)}
        return msgspec.structs.replace(before, data_classes=classes)

    text = f"{data_class} data may go anywhere"
    return Change(text, {f"data.{data_class}.stays": "anywhere"}, apply)


def together(changes: Sequence[Change]) -> Change:
    """Return several changes as one."""

    def apply(before: Fleet) -> Fleet:
        for change in changes:
            before = change.apply(before)
        return before

    values = {path: value for change in changes for path, value in change.values.items()}
    return Change(" and ".join(change.text for change in changes), values, apply)


def first_that_flips(
    fleet: Fleet, changes: Iterable[Change], decide: Callable[[Fleet], str], *, to: str
) -> Change | None:
    """Return the first change after which the decision is `to`; None where none gets there."""
    return next((change for change in changes if decide(change.apply(fleet)) == to), None)
