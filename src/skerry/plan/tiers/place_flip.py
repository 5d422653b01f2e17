"""What would move a model elsewhere: a change of the fleet file or of a machine, tried out.

Where the runner-up may be chosen: a price of the chosen tier, or of the runner-up's. Where a
rule bars it: what would lift the rule, and a price on top if it needs that too.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from skerry.plan.assumptions import Assumptions
from skerry.plan.tiers.flip import (
    Change,
    first_that_flips,
    latency_goal,
    let_travel,
    more_memory,
    price_changes,
    together,
)
from skerry.plan.tiers.place import Candidate, Decision, Tried, cost_usd_per_1k, decide, next_best
from skerry.plan.tiers.place_facts import Facts
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName

_ROOM: Final = 1.1
"""Memory that is asked for over what the model needs, as others stand beside it."""


def flip_of(
    fleet: Fleet, decision: Decision, model: str, tried: Tried, facts: Facts, table: Assumptions
) -> tuple[Candidate | None, Change | None]:
    """Return the runner-up of a model and what would make it the choice.

    The runner-up is the best of the others for which such a change was found; where none
    was, the best of the others, and no change.
    """

    def after(change: Change) -> str:
        known = replace(facts, memory_gib={**facts.memory_gib, **change.memory_gib})
        again = decide(change.apply(fleet), tried, known, table)
        return again.chosen[model].name if model in again.chosen else ""

    rest = next_best(fleet, decision, model, table)
    for one in rest:
        changes = _changes(fleet, decision, one, facts, table)
        found = first_that_flips(changes, after, to=one.name)
        if found is not None:
            return one, found
    return (rest[0] if rest else None), None


def _changes(
    fleet: Fleet, decision: Decision, other: Candidate, facts: Facts, table: Assumptions
) -> Iterator[Change]:
    prices = list(_prices(fleet, decision, other, table))
    if not other.misses:
        yield from prices
        return
    freed = _freed(fleet, other, facts, table)
    if freed:
        yield together(freed)
        yield from (together([*freed, one]) for one in prices)


def _freed(fleet: Fleet, other: Candidate, facts: Facts, table: Assumptions) -> list[Change]:
    """Return what lifts the rules of place, time and memory that a candidate breaks."""
    changes = [let_travel(data_class) for data_class in other.journeys.barred]
    p95_ms = other.trial.latency_ms(95)
    if p95_ms > fleet.goals.get(GoalName.LATENCY_MS_P95, math.inf):
        changes.append(latency_goal(math.ceil(p95_ms)))
    if other.memory_ratio > 1:
        size_gib = facts.model(other.variant).size_mib / 1024 * table["memory_per_model_ratio"]
        wanted = math.ceil(size_gib * _ROOM + table["memory_reserved_gib"])
        machines = {fleet.tiers[tier].machine.name for tier in other.trial.tiers}
        changes += [
            more_memory(machine, wanted)
            for machine in sorted(machines)
            if facts.memory_of(machine) < wanted
        ]
    return changes


def _prices(
    fleet: Fleet, decision: Decision, other: Candidate, table: Assumptions
) -> Iterator[Change]:
    """Make the chosen tiers dearer, or the other's cheaper, until the other costs less."""
    taken = decision.chosen.get(other.model)
    if taken is None:
        return
    stay = list(decision.chosen.values())
    move = [other if one is taken else one for one in stay]

    def gap(changed: Fleet) -> float:
        return cost_usd_per_1k(changed, move, table) - cost_usd_per_1k(changed, stay, table)

    yield from price_changes(fleet, (*taken.trial.tiers, *other.trial.tiers), gap)
