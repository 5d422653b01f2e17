"""`skerry plan`: predict every goal before anything is bought or changed."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.cli.lazy import LazyGroup, Verbs
from skerry.cli.output import print_json, print_table, say, say_next
from skerry.cli.plan_show import fleet_option, plan_options, write_page

if TYPE_CHECKING:
    from skerry.plan.predict import Prediction
    from skerry.schema.goal import Figure, GoalRecord


VERBS: Verbs = {
    "cost": ("skerry.cli.plan_cost", "What an answer costs on each tier, and when owning pays."),
    "place": (
        "skerry.cli.plan_place",
        "Which model belongs on which tier.",
    ),
    "compare": ("skerry.cli.plan_compare", "Hyperscale, regional, edge and on-prem side by side."),
    "shift": ("skerry.cli.plan_shift", "What a job saves that waits for cleaner hours."),
    "capacity": ("skerry.cli.plan_capacity", "How many servers a trace needs."),
    "move": ("skerry.cli.plan_move", "What moving loads between zones saves, its cost taken off."),
    "supply": (
        "skerry.cli.plan_supply",
        "Which vendor or part is a risk; spares, exits, recovery.",
    ),
    "carbon": ("skerry.cli.plan_carbon", "What a load emits, by every method."),
    "energy": ("skerry.cli.plan_energy", "What solar panels and a battery leave for the grid."),
    "batching": ("skerry.cli.plan_batching", "How large batches may be, and what they save."),
    "consolidate": ("skerry.cli.plan_consolidate", "Which machines may rest off-peak."),
    "cooling": ("skerry.cli.plan_cooling", "PUE and cost of air, containment and liquid."),
    "local": ("skerry.cli.plan_local", "Whether answering on the spot really saves energy."),
    "site": ("skerry.cli.plan_site", "Where sites should be, and whom each serves."),
    "simulate": ("skerry.cli.plan_simulate", "A fleet through a year of failures, sun, carbon."),
    "latency": ("skerry.cli.plan_latency", "What a round trip between two places should take."),
}


@click.group("plan", cls=LazyGroup, verbs=VERBS, invoke_without_command=True)
@fleet_option
@click.option(
    "--trace",
    "trace_path",
    type=click.Path(path_type=Path),
    help="Replay this CSV (arrival_s,site,model,data_class,bytes) in place of the story's day.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, 2_000_000),
    default=20_000,
    show_default=True,
    help="Requests in the day that is made up when no trace is given.",
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="First seed.")
@click.option(
    "--seeds",
    "seed_count",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Replays; the range printed is over these.",
)
@click.option(
    "--from-run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Measured figures (JSON): service times replace the tables, errors are printed.",
)
@plan_options
@click.pass_context
def command(
    context: click.Context,
    fleet_path: Path,
    trace_path: Path | None,
    requests: int,
    seed: int,
    seed_count: int,
    run_path: Path | None,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Predict every goal: replay a day of requests through the production decisions.

    A verb answers one question instead, each with options of its own.
    """
    if context.invoked_subcommand is not None:
        return
    from skerry.cli.words import name_text
    from skerry.fleet.load import load_fleet
    from skerry.plan.day import day_report
    from skerry.plan.from_run import read_run, run_notes
    from skerry.plan.predict import predict, prediction_errors
    from skerry.plan.services import guessed
    from skerry.plan.trace import read_trace, story_trace

    started_s = time.monotonic()
    fleet = load_fleet(fleet_path)
    run = read_run(run_path) if run_path else None
    seeds = range(seed, seed + seed_count)
    given = read_trace(trace_path, fleet) if trace_path else None
    plan = predict(
        fleet,
        lambda one: given or story_trace(fleet, requests=requests, seed=one),
        seeds=seeds,
        service_ms=run.service_ms if run else None,
    )
    plan = replace(plan, notes=(*plan.notes, *run_notes(run, fleet)))
    errors = prediction_errors(plan.goals, run.goals) if run else {}
    took_s = time.monotonic() - started_s
    unknown = guessed(fleet, run.service_ms if run else None)
    report = day_report(fleet, plan, errors=errors, took_s=took_s)
    if page_path is not None:
        write_page(report, page_path)
    if as_json:
        print_json(
            "plan",
            {
                **report.figures,
                "goals": plan.goals,
                "service_times_guessed": list(unknown),
                "prediction_error_ratio": report.prediction_error_ratio,
                "notes": list(plan.notes),
            },
        )
        return
    say(f"{plan.trace}   [{took_s:.1f} s]")
    print_table(["goal", "this fleet", "cloud only", "target", "", "range"], _rows(plan))
    for name, bill in (("this fleet", plan.bill), ("cloud only", plan.cloud_bill)):
        if bill is not None and bill.pue_ratio is not None:
            say(f"PUE of {name}: {bill.pue_ratio:.3g} stated")
    say(
        f"Every figure is an estimate; ranges are over {len(plan.seeds)} seeds "
        f"from {plan.seeds[0]}. Prices, round trips and ratings are stated."
    )
    for name in unknown:
        say(f"note: no service time is known for {name}; the router's own guess stands in")
    for note in plan.notes:
        say(f"note: {note}")
    for name, error in errors.items():
        say(f"predicted against measured: {name_text(name)} {error:+.1%}")
    if page_path is not None:
        say(f"the page: {page_path}")
    say_next("skerry up")


def _rows(plan: "Prediction") -> list[list[str]]:
    from skerry.cli.words import name_text
    from skerry.plan.predict import meets

    rows = []
    for goal in plan.goals:
        word = {True: "meets", False: "misses", None: ""}[
            meets(goal.name, goal.goal, goal.predicted)
        ]
        if not word and goal.goal is not None and goal.predicted is not None:
            word = "unsure"
        rows.append(
            [
                name_text(goal.name),
                _figure(goal, goal.predicted),
                _figure(goal, goal.baseline),
                _target(goal),
                word,
                _range(goal),
            ]
        )
    return rows


def _figure(goal: "GoalRecord", figure: "Figure | None") -> str:
    return "–" if figure is None else f"{_value(goal.name.value, figure.value)} {figure.level}"


def _range(goal: "GoalRecord") -> str:
    figure = goal.predicted
    if figure is None:
        return ""
    factor = 100 if goal.name.value.endswith("_ratio") else 1
    low, high = f"{figure.low * factor:.5g}", f"{figure.high * factor:.5g}"
    return "" if low == high else f"{low} to {high}"


def _target(goal: "GoalRecord") -> str:
    from skerry.schema.goal import AT_LEAST

    if goal.goal is None:
        return "–"
    sign = "≥" if goal.name in AT_LEAST else "≤"
    return f"{sign} {_value(goal.name.value, goal.goal)}"


def _value(name: str, value: float) -> str:
    """Write a goal's value with its unit, to three digits that matter."""
    if name.endswith("_ratio"):
        return f"{value * 100:.4g} %"
    if name.startswith("latency_ms"):
        return f"{value:.3g} ms" if value < 100 else f"{value:.0f} ms"
    if name.startswith("cost"):
        return f"{value:.3g} USD"
    if name.startswith("energy"):
        return f"{value:.3g} Wh"
    if name.startswith("carbon"):
        return f"{value:.3g} g"
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
