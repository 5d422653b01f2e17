"""From what a user asks to a report: files are read, cases made, simulations run.

Errors:  FleetFileError, TraceError, ColumnError, AssumptionError, ScenarioError, SpanError,
         EngineError, NothingToPlanError.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from skerry.fleet.load import load_fleet
from skerry.plan.assumptions import assumptions
from skerry.plan.energy.signals import read_signal
from skerry.plan.from_run import read_run, run_notes
from skerry.plan.predict import prediction_errors
from skerry.plan.services import guessed, services_s
from skerry.plan.simulate.errors import ScenarioError
from skerry.plan.simulate.fleet_arrays import arrays_of
from skerry.plan.simulate.fleet_grow import grown
from skerry.plan.simulate.report import growth_note, report_of, sweep_report
from skerry.plan.simulate.run import case_of
from skerry.plan.simulate.scenario import read_document, scenario_named
from skerry.plan.simulate.sweep import Engine, run_all
from skerry.plan.simulate.trace import asked_by
from skerry.plan.simulate.world import quiet, read_profile, shipped_weights
from skerry.plan.trace import read_trace
from skerry.schema.plan_report import PlanReport
from skerry.schema.simulation import Sweep

Tell = Callable[[float, str], None]
FLEET_FILE: Final = Path("fleet.yaml")
SEEDS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What `skerry plan simulate` was asked, as its options say it."""

    fleet_path: Path | None = None
    sites: int | None = None
    hours: int = 8760
    scenarios: tuple[str, ...] = ("calm",)
    sweep_path: Path | None = None
    engine: str = "local"
    ray_address: str | None = None
    trace_path: Path | None = None
    profile_path: Path | None = None
    signal_path: Path | None = None
    seed: int = 7
    seeds: int = 3
    sample_requests: int = 1_000_000
    threads: int | None = None
    settings: tuple[str, ...] = ()
    assume_path: Path | None = None
    run_path: Path | None = None


def simulated(question: Question, tell: Tell = quiet) -> PlanReport:
    """Answer a question."""
    started_s = time.monotonic()
    assumed = assumptions("simulate", path=question.assume_path, settings=question.settings)
    names, beside, seeds = (
        question.scenarios,
        None,
        range(question.seed, question.seed + question.seeds),
    )
    if question.sweep_path is not None:
        sweep = read_document(question.sweep_path, Sweep)
        names, beside = sweep.scenarios, question.sweep_path.parent
        seeds = range(sweep.first_seed, sweep.first_seed + sweep.seeds)
    scenarios = [scenario_named(name, beside=beside) for name in names]
    called = [one.name for one in scenarios]
    twice = [name for place, name in enumerate(called) if name in called[:place]]
    if twice or not called:
        what = f"`{twice[0]}` is there twice" if twice else "no scenario"
        raise ScenarioError(str(question.sweep_path or "--scenario"), "", what)
    notes = []
    path = question.fleet_path
    if path is None and question.sites is not None and not FLEET_FILE.exists():
        path = Path(str(files("skerry.fleet").joinpath("templates", "clinic", "fleet.yaml")))
    file = load_fleet(path or FLEET_FILE)
    run = read_run(question.run_path) if question.run_path else None
    measured_ms = run.service_ms if run else None
    fleet = arrays_of(
        file,
        services_s=services_s(file, measured_ms),
        requests_per_node_day=assumed["requests_per_node_day"],
    )
    weights = shipped_weights()
    if question.trace_path is not None:
        fleet, weights, said = asked_by(fleet, read_trace(question.trace_path, file))
        notes.append(said)
    if question.profile_path is not None:
        weights = read_profile(question.profile_path)
    if question.sites is not None:
        fleet = grown(fleet, question.sites, assumed, seed=question.seed)
        notes.append(growth_note(fleet))
    notes += [
        f"no service time is known for {name}; the router's own guess stands in"
        for name in guessed(file, measured_ms)
    ]
    notes += run_notes(run, file)
    signal = read_signal(question.signal_path) if question.signal_path else None
    cases = [
        case_of(
            fleet,
            scenario,
            assumed,
            weights=weights,
            hours=question.hours,
            sample_requests=question.sample_requests,
            signal=signal,
            threads=question.threads,
        )
        for scenario in scenarios
    ]
    found = run_all(
        cases, seeds, engine=Engine(question.engine), address=question.ray_address, tell=tell
    )
    took_s = time.monotonic() - started_s
    if len(cases) == 1 and question.sweep_path is None:
        report = report_of(cases[0], found[0], assumed.used(), took_s=took_s, notes=notes)
        errors = prediction_errors(report.goals, run.goals) if run else {}
        error_ratio = {name.value: error for name, error in errors.items()}
        return msgspec.structs.replace(report, prediction_error_ratio=error_ratio)
    return sweep_report(
        cases, found, assumed.used(), engine=question.engine, took_s=took_s, notes=notes
    )
