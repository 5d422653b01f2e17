"""Where each model belongs, as a report: choice, reason, runner-up, flip, regret."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from skerry.energy.carbon import per_1k
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.compare_cells import known
from skerry.plan.errors import NothingToPlanError
from skerry.plan.place import (
    Candidate,
    Decision,
    Tried,
    cost_usd_per_1k,
    decide,
    try_all,
)
from skerry.plan.place_facts import Facts, read_facts
from skerry.plan.place_flip import flip_of
from skerry.plan.predict import predict, prediction_errors
from skerry.plan.regret import regret
from skerry.plan.services import guessed, services_s
from skerry.plan.tier_trial import bill_of, halves, place_from
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName
from skerry.schema.plan_report import Advice, Bars, Cell, PlanReport, Regret, Section, Table
from skerry.schema.run_figures import RunFigures

TABLE: Final = "place"
NOWHERE: Final = "nowhere"
Halves = tuple[Tried, Tried]


def place_report(
    fleet: Fleet,
    trace: Trace,
    *,
    models_path: Path | None = None,
    memory: Sequence[str] = (),
    assume_path: Path | None = None,
    settings: Sequence[str] = (),
    run: RunFigures | None = None,
    seed: int = 7,
    clock: Callable[[], float] = time.time,
    tell: Callable[[float, str], None] | None = None,
) -> PlanReport:
    """Decide for every model that the trace asks for; a run's service times replace the table's."""
    if not len(trace):
        raise NothingToPlanError(fleet.name, "no request in the trace")
    table = assumptions(TABLE, path=assume_path, settings=settings)
    facts = read_facts(fleet, models_path, memory)
    measured = run.service_ms if run else None
    services = services_s(fleet, measured)
    tell = tell or _nobody
    tried = try_all(fleet, trace, services_s=services, seed=seed, tell=_part(tell, 0.0, 0.4))
    decision = decide(fleet, tried, facts, table)
    split = _halves(fleet, trace, services, seed, _part(tell, 0.4, 0.8))
    advice = tuple(
        _advice(fleet, trace, decision, model, tried, facts, table, split) for model in tried
    )
    tell(0.85, "the whole fleet")
    changes = _changes(fleet, trace, decision)
    advised = _placed(fleet, trace, decision)
    after = predict(advised, lambda _: trace, seeds=(seed,), service_ms=measured, clock=clock)
    errors = {}
    if run:
        today = predict(fleet, lambda _: trace, seeds=(seed,), service_ms=measured, clock=clock)
        errors = prediction_errors(today.goals, run.goals)
    return PlanReport(
        verb="place",
        question="Which model belongs on which tier?",
        lead=_lead(decision),
        figures=_figures(fleet, trace, decision, advice, table),
        advice=advice,
        changes=changes,
        goals=after.goals,
        prediction_error_ratio={name.value: error for name, error in errors.items()},
        sections=_sections(fleet, decision, advice, table),
        assumptions=table.used(),
        notes=tuple(_notes(fleet, decision, facts, guessed(fleet, measured))),
    )


def _nobody(share: float, what: str) -> None:
    """Tell nobody."""


def _part(
    tell: Callable[[float, str], None], begins: float, ends: float
) -> Callable[[float, str], None]:
    def told(share: float, what: str) -> None:
        tell(begins + share * (ends - begins), what)

    return told


def _halves(
    fleet: Fleet,
    trace: Trace,
    services: Mapping[str, float],
    seed: int,
    tell: Callable[[float, str], None],
) -> Halves | None:
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


def _advice(
    fleet: Fleet,
    trace: Trace,
    decision: Decision,
    model: str,
    tried: Tried,
    facts: Facts,
    table: Assumptions,
    split: Halves | None,
) -> Advice:
    other, change = flip_of(fleet, decision, model, tried, facts, table)
    flip = "" if change is None else change.text
    runner_up = "" if other is None else other.name
    if model in decision.nowhere:
        why = "; ".join(f"{one.name}: {one.misses[0]}" for one in decision.candidates[model])
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
        _with(fleet, decision, one, table) for one in able if one is not decision.chosen[model]
    ]
    more = min(dearer) - decision.usd_per_1k
    return "; ".join([f"{usd}, {more:.2g} more at best elsewhere", *barred])


def _with(fleet: Fleet, decision: Decision, one: Candidate, table: Assumptions) -> float:
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
            {one.name: _with(fleet, seen, one, table) for one in kept},
            {one.name: _with(fleet, unseen, later[one.name], table) for one in kept},
            unit="USD per 1,000",
            on=f"the second half ({trace.source})",
        ),
        "",
    )


def _placed(fleet: Fleet, trace: Trace, decision: Decision) -> Fleet:
    """Return the fleet as advised; what is not asked for stays where it is."""
    models = tuple(
        msgspec.structs.replace(
            model, tiers=place_from(fleet, trace, model.name, decision.chosen[model.name].level)
        )
        if model.name in decision.chosen
        else model
        for model in fleet.models
    )
    return msgspec.structs.replace(fleet, models=models)


def _changes(fleet: Fleet, trace: Trace, decision: Decision) -> dict[str, str]:
    """Return each model's chosen tier and its fallbacks, as the fleet file says it."""
    advised = _placed(fleet, trace, decision)
    return {
        f"models.{model.name}.place": f"[{', '.join(model.tiers)}]"
        for model in advised.models
        if model.name in decision.chosen
    }


def _lead(decision: Decision) -> str:
    words = [f"{model} {one.name}" for model, one in decision.chosen.items()]
    words += [f"{model} {NOWHERE}" for model in decision.nowhere]
    cost = f", {decision.usd_per_1k:.3g} USD per 1,000" if decision.chosen else ""
    return f"{', '.join(words)}{cost}"


def _figures(
    fleet: Fleet,
    trace: Trace,
    decision: Decision,
    advice: tuple[Advice, ...],
    table: Assumptions,
) -> dict[str, object]:
    by_model = dict(zip(decision.candidates, advice, strict=True))
    return {
        "trace": trace.source,
        "requests": len(trace),
        "cost_usd_per_1k": known(decision.usd_per_1k),
        "models": {
            model: {
                "choice": decision.chosen[model].name if model in decision.chosen else NOWHERE,
                "tiers": decision.chosen[model].trial.tiers if model in decision.chosen else (),
                "runner_up": by_model[model].runner_up,
                "flip": by_model[model].flip,
                "options": {
                    one.name: _option(fleet, decision, one, table)
                    for one in decision.candidates[model]
                },
            }
            for model in decision.candidates
        },
        "nowhere": decision.nowhere,
    }


def _option(
    fleet: Fleet, decision: Decision, one: Candidate, table: Assumptions
) -> dict[str, object]:
    used = bill_of(fleet, (one.trial,))
    limit_ms = fleet.goals.get(GoalName.LATENCY_MS_P95)
    answered = one.trial.run.answered
    cost = _with(fleet, decision, one, table)
    return {
        "tiers": one.trial.tiers,
        "latency_ms_p50": known(one.trial.latency_ms(50)),
        "latency_ms_p95": known(one.trial.latency_ms(95)),
        "answered_ratio": one.trial.answered_ratio,
        "in_time_ratio": one.trial.in_time(limit_ms) / one.trial.sent,
        "allowed_ratio": one.journeys.allowed / one.trial.sent,
        "peak_load_ratio": one.trial.peak_load(fleet),
        "memory_ratio": known(one.memory_ratio),
        "update_link_share_ratio": known(one.link_share),
        "accuracy_ratio": known(one.accuracy_ratio),
        "cost_usd_per_1k": None if math.isinf(cost) else cost,
        "energy_wh_per_1k": per_1k(used.energy_wh, answered),
        "carbon_g_per_1k": per_1k(used.carbon_g, answered),
        "misses": one.misses,
    }


def _sections(
    fleet: Fleet, decision: Decision, advice: tuple[Advice, ...], table: Assumptions
) -> tuple[Section, ...]:
    sections = []
    for (model, some), said in zip(decision.candidates.items(), advice, strict=True):
        rows = tuple(_line(fleet, decision, one, table) for one in some)
        heads = (
            "level",
            "p95, ms",
            "answered",
            "may go",
            "busiest",
            "memory",
            "updates",
            "accuracy",
            "USD per 1,000",
            "g CO2e per 1,000",
            "may it?",
        )
        blocks = (
            Table(
                title=f"{model} on each level",
                heads=heads,
                rows=rows,
                note="USD for all models together, this one there; memory and updates as shares",
            ),
            Bars(
                title=f"{model}: p95",
                unit="ms",
                rows=tuple((one.name, known(one.trial.latency_ms(95))) for one in some),
                limit=fleet.goals.get(GoalName.LATENCY_MS_P95),
            ),
        )
        flip = f" {said.runner_up} wins if {said.flip}." if said.flip else ""
        text = f"{said.choice}. {said.reason}.{flip}"
        sections.append(Section(title=model, text=text, blocks=blocks))
    return tuple(sections)


def _line(fleet: Fleet, decision: Decision, one: Candidate, table: Assumptions) -> tuple[Cell, ...]:
    facts = _option(fleet, decision, one, table)
    mark = " *" if decision.chosen.get(one.model) is one else ""

    def cell(name: str) -> Cell:
        value = facts[name]
        return value if isinstance(value, float | int | str) else None

    return (
        f"{one.name}{mark}",
        cell("latency_ms_p95"),
        cell("answered_ratio"),
        cell("allowed_ratio"),
        cell("peak_load_ratio"),
        cell("memory_ratio"),
        cell("update_link_share_ratio"),
        cell("accuracy_ratio"),
        cell("cost_usd_per_1k"),
        cell("carbon_g_per_1k"),
        "; ".join(one.misses) or "yes",
    )


def _notes(fleet: Fleet, decision: Decision, facts: Facts, unknown: tuple[str, ...]) -> list[str]:
    notes = [f"no service time is known for {one}: the router's guess is taken" for one in unknown]
    blind = [
        model
        for model, some in decision.candidates.items()
        if any(math.isnan(one.memory_ratio) for one in some if one.variant == model)
    ]
    if blind:
        names = ", ".join(blind)
        notes.append(f"memory was not judged for {names}: give --models and --memory")
    quiet = [m for m in decision.candidates if math.isnan(facts.model(m).updates_per_month)]
    if quiet:
        notes.append(f"updates were not judged for {', '.join(quiet)}: give --models")
    notes += [
        f"{model}: answer with {one.variant} in its place"
        for model, one in decision.chosen.items()
        if one.variant != model
    ]
    return notes
