"""What would turn a recommendation round: changes to the fleet file, tried before they are told.

A candidate is a value at a dotted path, and the same change to the resolved fleet. Only one
that makes the decision come out otherwise is reported, so a stated flip flips.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName
from skerry.schema.policy import Residency, Stays

_RENT_PROBE_USD: Final = 100.0
_ENERGY_PROBE_USD: Final = 0.1
_PRICE_USD_MAX: Final = 1e9
_STEPS: Final = (1.01, 1.1, 2.0)


@dataclass(frozen=True, slots=True)
class Change:
    """A change: in words, as values of the fleet file by dotted path, and done to a fleet."""

    text: str
    values: dict[str, str]
    apply: Callable[[Fleet], Fleet]
    memory_gib: dict[str, float] = field(default_factory=dict)
    """Machines to what they would hold: `--memory MACHINE=GIB`."""


def rent(fleet: Fleet, tier: str, usd_per_month: float) -> Change:
    """Change what a tier's sites cost a month, in whole cents."""
    usd = round(usd_per_month, 2)
    word = "more" if usd > fleet.tiers[tier].usd_per_month else "less"

    def apply(before: Fleet) -> Fleet:
        changed = msgspec.structs.replace(before.tiers[tier], usd_per_month=usd)
        return msgspec.structs.replace(before, tiers={**before.tiers, tier: changed})

    text = f"a site of {tier} costs {usd:.2f} USD a month or {word}"
    return Change(text, {f"tiers.{tier}.monthly": f"{usd:.2f} USD"}, apply)


def energy_price(fleet: Fleet, tier: str, usd_per_kwh: float) -> Change:
    """Change what a tier pays for energy, in hundredths of a cent."""
    usd = round(usd_per_kwh, 4)
    word = "more" if usd > fleet.tiers[tier].energy_usd_per_kwh else "less"

    def apply(before: Fleet) -> Fleet:
        changed = msgspec.structs.replace(before.tiers[tier], energy_usd_per_kwh=usd)
        return msgspec.structs.replace(before, tiers={**before.tiers, tier: changed})

    text = f"energy costs {usd:g} USD/kWh or {word} at {tier}"
    return Change(text, {f"tiers.{tier}.energy": f"{usd:g} USD/kWh"}, apply)


def price_changes(
    fleet: Fleet, tiers: Iterable[str], gap: Callable[[Fleet], float]
) -> Iterator[Change]:
    """Give prices of tiers at which a gap closes: the other's cost less that of the chosen one.

    A gap is linear in every price, so two values of it tell where it is 0. The first written
    price past that comes first, then the next, as a tie may not flip, then steps beyond, as
    what else is chosen may move with a price.
    """
    now = gap(fleet)
    for tier in tiers:
        profile = fleet.tiers[tier]
        for make, price, probe, digit in (
            (rent, profile.usd_per_month, _RENT_PROBE_USD, 0.01),
            (energy_price, profile.energy_usd_per_kwh, _ENERGY_PROBE_USD, 0.0001),
        ):
            slope = (gap(make(fleet, tier, price + probe).apply(fleet)) - now) / probe
            if not math.isfinite(now) or not math.isfinite(slope) or slope == 0:
                continue
            move = -now / slope
            past = price + move
            first = (math.ceil if move > 0 else math.floor)(past / digit) * digit
            second = first + math.copysign(digit, move)
            for there in (first, second, *(price + move * step for step in _STEPS)):
                if 0 <= there <= _PRICE_USD_MAX:
                    yield make(fleet, tier, there)


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


def more_memory(machine: str, gib: float) -> Change:
    """Give a machine type more memory."""
    text = f"a {machine} has {gib:g} GiB of memory"
    return Change(text, {}, lambda before: before, {machine: gib})


def together(changes: Sequence[Change]) -> Change:
    """Return several changes as one."""

    def apply(before: Fleet) -> Fleet:
        for change in changes:
            before = change.apply(before)
        return before

    values = {path: value for change in changes for path, value in change.values.items()}
    memory = {name: gib for change in changes for name, gib in change.memory_gib.items()}
    return Change(" and ".join(change.text for change in changes), values, apply, memory)


def first_that_flips(
    changes: Iterable[Change], decide: Callable[[Change], str], *, to: str
) -> Change | None:
    """Return the first change under which the decision is `to`; None where none gets there."""
    return next((change for change in changes if decide(change) == to), None)
