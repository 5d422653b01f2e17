"""Where each model belongs, as a report: choice, reason, runner-up, flip, regret."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from skerry.energy.carbon import per_1k
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.bill import SHORT_BILL
from skerry.plan.errors import NothingToPlanError
from skerry.plan.from_run import run_notes
from skerry.plan.predict import prediction_errors
from skerry.plan.services import guessed, services_s
from skerry.plan.tiers.compare_cells import known
from skerry.plan.tiers.place import Candidate, Decision, decide, try_all
from skerry.plan.tiers.place_advice import NOWHERE, advice_on, cost_with, try_halves
from skerry.plan.tiers.place_facts import Facts, read_facts
from skerry.plan.tiers.placed_goals import placed_goals
from skerry.plan.tiers.trial import bill_of, place_from
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName
from skerry.schema.plan_report import Advice, Bars, Cell, PlanReport, Section, Table
from skerry.schema.run_figures import RunFigures

TABLE: Final = "place"


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
    split = try_halves(fleet, trace, services, seed, _part(tell, 0.4, 0.8))
    advice = tuple(
        advice_on(fleet, trace, decision, model, tried, facts, table, split) for model in tried
    )
    tell(0.85, "the whole fleet")
    changes = _changes(fleet, trace, decision)
    advised = _placed(fleet, trace, decision)
    goals = placed_goals(advised, trace, seed=seed, service_ms=measured, clock=clock)
    errors = {}
    if run and run.goals:  # what was measured is the fleet as it is, not as it is advised
        today = placed_goals(fleet, trace, seed=seed, service_ms=measured, clock=clock)
        errors = prediction_errors(today, run.goals)
    return PlanReport(
        verb="place",
        question="Which model belongs on which tier?",
        lead=_lead(decision),
        figures=_figures(fleet, trace, decision, advice, table),
        advice=advice,
        changes=changes,
        goals=goals,
        prediction_error_ratio={name.value: error for name, error in errors.items()},
        sections=_sections(fleet, decision, advice, table),
        assumptions=table.used(),
        notes=(
            *_notes(fleet, decision, facts, guessed(fleet, measured)),
            *run_notes(run, fleet),
        ),
    )


def _nobody(share: float, what: str) -> None:
    """Tell nobody."""


def _part(
    tell: Callable[[float, str], None], begins: float, ends: float
) -> Callable[[float, str], None]:
    def told(share: float, what: str) -> None:
        tell(begins + share * (ends - begins), what)

    return told


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
    cost = cost_with(fleet, decision, one, table)
    return {
        "tiers": one.trial.tiers,
        "latency_ms_p50": known(one.trial.latency_ms(50)),
        "latency_ms_p95": known(one.trial.latency_ms(95)),
        "answered_ratio": one.trial.answered_ratio,
        "in_time_ratio": one.trial.in_time(limit_ms) / one.trial.sent,
        "allowed_ratio": one.journeys.allowed / one.trial.sent,
        "peak_load_ratio": one.peak_load,
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
    return [*notes, SHORT_BILL]
