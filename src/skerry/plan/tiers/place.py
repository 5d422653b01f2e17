"""Which model belongs on which level: rules first, then the least money and carbon.

Each model, or the smaller one that may stand in for it, is tried on each level that can
answer (`tier_trial`). A rule that a candidate breaks bars it: residency, memory, latency,
request rate, updates, accuracy. Among what is left the assignment of all models together is
chosen that costs least per 1,000 requests answered in time:

    (money + carbon * its price) of every tier that is some model's level / in time * 1000

A tier is paid for once and in full, whoever shares it.

Units:   USD and g CO2e over the trace's span; ms; GiB; shares of a month.
Limits:  a tier that only stands in as a fallback costs the same under every choice and is
         left out. Models are tried alone; what they ask of one node is added up, their waits
         on each other are not, so the advised fleet is replayed whole for its goals.
         Up to 512 assignments are all tried; beyond, one model after the other is moved
         until no move is cheaper.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from skerry.base.units import BYTES_PER_MIB
from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.plan.assumptions import Assumptions
from skerry.plan.tiers.compare import misses as level_misses
from skerry.plan.tiers.place_facts import Facts
from skerry.plan.tiers.trial import Journeys, Level, Trial, bill_of, journeys, levels_of, of_model
from skerry.plan.tiers.trial import try_level as try_one
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName

ASSIGNMENTS_MAX: Final = 512
_MIB_PER_GIB: Final = 1024
_G_PER_KG: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A model, or its stand-in, on one level; `misses` are the rules it breaks."""

    model: str
    variant: str
    trial: Trial
    journeys: Journeys
    memory_ratio: float
    """What it needs over what its smallest node has; NaN where one of them is not known."""
    link_share: float
    """Share of the month in which updates hold the slowest link; NaN where not known."""
    accuracy_ratio: float
    peak_load: float
    """Busy share of its busiest site's nodes in the busiest step."""
    misses: tuple[str, ...]

    @property
    def level(self) -> Level:
        """Where it is."""
        return self.trial.level

    @property
    def name(self) -> str:
        """Return the level, with the variant where it is not the model itself."""
        return (
            str(self.level) if self.variant == self.model else f"{self.level} with {self.variant}"
        )


Tried = Mapping[str, Sequence[tuple[str, Trial]]]
"""Model to (variant, trial): everything that takes a replay."""
Assignment = dict[str, Candidate]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decision:
    """What was chosen; in `nowhere` are models that rules or the others' room bar everywhere."""

    candidates: dict[str, tuple[Candidate, ...]]
    chosen: Assignment
    usd_per_1k: float
    nowhere: tuple[str, ...]


def try_all(
    fleet: Fleet,
    trace: Trace,
    *,
    services_s: Mapping[str, float],
    seed: int,
    tell: Callable[[float, str], None] | None = None,
) -> dict[str, list[tuple[str, Trial]]]:
    """Replay every asked model and its stand-in on every level."""
    asked = [trace.models[place] for place in sorted(set(trace.model.tolist()))]
    found: dict[str, list[tuple[str, Trial]]] = {}
    for done, name in enumerate(asked):
        part = of_model(trace, name)
        standin = next(model.standin for model in fleet.models if model.name == name)
        variants = [name] if standin is None else [name, standin]
        found[name] = []
        for variant, (level, tiers) in itertools.product(variants, levels_of(fleet, part).items()):
            # The stand-in answers under the model's name: only its run takes another time.
            times = {**services_s, name: services_s[variant]}
            trial = try_one(fleet, part, level, tiers, services_s=times, seed=seed)
            found[name].append((variant, trial))
        if tell is not None:
            tell((done + 1) / len(asked), name)
    return found


def decide(fleet: Fleet, tried: Tried, facts: Facts, table: Assumptions) -> Decision:
    """Judge what was tried by a fleet's rules, goals and prices, and choose."""
    candidates = {
        model: tuple(_candidate(fleet, model, *one, facts, table) for one in trials)
        for model, trials in tried.items()
    }
    able = {
        model: [one for one in some if not one.misses]
        for model, some in candidates.items()
        if any(not one.misses for one in some)
    }
    chosen = _cheapest(fleet, able, table) if able else {}
    if not _fits(fleet, list(chosen.values()), table):
        chosen = _those_that_fit(fleet, able, table)
    return Decision(
        candidates=candidates,
        chosen=chosen,
        usd_per_1k=cost_usd_per_1k(fleet, chosen.values(), table) if chosen else math.nan,
        nowhere=tuple(model for model in tried if model not in chosen),
    )


def cost_usd_per_1k(fleet: Fleet, candidates: Iterable[Candidate], table: Assumptions) -> float:
    """Return money and priced carbon of candidates together per 1,000 requests in time."""
    together = list(candidates)
    used = bill_of(fleet, (one.trial for one in together))
    limit_ms = fleet.goals.get(GoalName.LATENCY_MS_P95)
    in_time = sum(one.trial.in_time(limit_ms) for one in together)
    usd = used.total_usd + used.carbon_g / _G_PER_KG * table["carbon_usd_per_kg"]
    return usd / in_time * 1000 if in_time else math.inf


def _candidate(
    fleet: Fleet, model: str, variant: str, trial: Trial, facts: Facts, table: Assumptions
) -> Candidate:
    trip = journeys(fleet, trial)
    memory, link = (
        _memory_ratio(fleet, variant, trial, facts, table),
        _link_share(fleet, variant, trial, facts),
    )
    accuracy = facts.model(variant).accuracy_ratio
    found = [*level_misses(fleet, trial, trip)]
    if memory > 1:
        found.append(f"it needs {memory:.3g} times the memory of a node")
    most = table["update_link_share_most"]
    if link > most:
        found.append(f"updates hold its link {link:.2%} of the month, at most {most:.2%}")
    peak = trial.peak_load(fleet)
    if peak > table["peak_load_most"]:
        found.append(f"its nodes are busy {peak:.0%} in the busiest step")
    least = facts.model(model).accuracy_least_ratio
    if accuracy < least:
        found.append(f"its accuracy is {accuracy:.4g}, wanted {least:.4g}")
    elif variant != model and not accuracy >= least:
        found.append("its accuracy, or the least that is wanted, is not known")
    return Candidate(
        model=model,
        variant=variant,
        trial=trial,
        journeys=trip,
        memory_ratio=memory,
        link_share=link,
        accuracy_ratio=accuracy,
        peak_load=peak,
        misses=tuple(found),
    )


def _memory_ratio(
    fleet: Fleet, variant: str, trial: Trial, facts: Facts, table: Assumptions
) -> float:
    least = min(facts.memory_of(fleet.tiers[tier].machine.name) for tier in trial.tiers)
    free_gib = least - table["memory_reserved_gib"]
    needed_gib = facts.model(variant).size_mib / _MIB_PER_GIB * table["memory_per_model_ratio"]
    if math.isnan(free_gib) or math.isnan(needed_gib):
        return math.nan
    return needed_gib / free_gib if free_gib > 0 else math.inf


def _link_share(fleet: Fleet, variant: str, trial: Trial, facts: Facts) -> float:
    known = facts.model(variant)
    bits = known.size_mib * BYTES_PER_MIB * 8 * known.updates_per_month
    slowest = min(fleet.tiers[tier].uplink_bit_per_s for tier in trial.tiers)
    return bits / slowest / SECONDS_PER_MONTH


def _fits(fleet: Fleet, some: Sequence[Candidate], table: Assumptions) -> bool:
    """Tell whether models that share a level share its memory and its time."""
    for level in Level:
        here = [one for one in some if one.level is level]
        memory = [one.memory_ratio for one in here if not math.isnan(one.memory_ratio)]
        load = sum(one.peak_load for one in here)
        if sum(memory) > 1 or (len(here) > 1 and load > table["peak_load_most"]):
            return False
    return True


def _room(one: Candidate) -> float:
    """Return how much of a node a candidate takes: of its memory or of its time."""
    memory = 0.0 if math.isnan(one.memory_ratio) else one.memory_ratio
    return max(memory, one.peak_load)


def _cheapest(
    fleet: Fleet, able: Mapping[str, Sequence[Candidate]], table: Assumptions
) -> Assignment:
    """Return the assignment that costs least among those that fit together."""
    models = list(able)

    def usd(some: Sequence[Candidate]) -> float:
        if not _fits(fleet, some, table):
            return math.inf
        return cost_usd_per_1k(fleet, some, table)

    if math.prod(len(some) for some in able.values()) <= ASSIGNMENTS_MAX:
        best = min(itertools.product(*able.values()), key=usd)
    else:
        alone = tuple(min(some, key=lambda one: usd([one])) for some in able.values())
        best = _improved(alone, list(able.values()), usd)
    return dict(zip(models, best, strict=True))


def _those_that_fit(
    fleet: Fleet, able: Mapping[str, Sequence[Candidate]], table: Assumptions
) -> Assignment:
    """Place one model after the other, the smallest first, and leave out what no longer fits."""
    placed: dict[str, Sequence[Candidate]] = {}
    chosen: Assignment = {}
    for model in sorted(able, key=lambda model: min(map(_room, able[model]))):
        more = {**placed, model: able[model]}
        best = _cheapest(fleet, more, table)
        if _fits(fleet, list(best.values()), table):
            placed, chosen = more, best
    return chosen


def _improved(
    start: tuple[Candidate, ...],
    able: Sequence[Sequence[Candidate]],
    usd: Callable[[Sequence[Candidate]], float],
) -> tuple[Candidate, ...]:
    """Move one model at a time while that makes the whole cheaper."""
    best, least = list(start), usd(start)
    moved = True
    while moved:
        moved = False
        for place, some in enumerate(able):
            for one in some:
                trial = [*best[:place], one, *best[place + 1 :]]
                now = usd(trial)
                if now < least:
                    best, least, moved = trial, now, True
    return tuple(best)


def next_best(fleet: Fleet, decision: Decision, model: str, table: Assumptions) -> list[Candidate]:
    """Return a model's other candidates, best first, the other models where they are.

    Those that break a rule come last, and stand-ins after the model itself.
    """
    others = [one for name, one in decision.chosen.items() if name != model]
    taken = decision.chosen.get(model)
    return sorted(
        (one for one in decision.candidates[model] if one is not taken),
        key=lambda one: (
            bool(one.misses),
            one.variant != model,
            cost_usd_per_1k(fleet, [*others, one], table),
        ),
    )
