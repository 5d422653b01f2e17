"""`skerry plan local`: does local really save energy here?"""

import time
from pathlib import Path

import click

from skerry.cli.plan_show import assumption_options, fleet_option, plan_options, show

OWN = ("dedicated", "there", "shared")


@click.command("local")
@fleet_option
@click.option(
    "--trace",
    "trace_path",
    type=click.Path(path_type=Path),
    help="Replay this CSV (arrival_s,site,model,data_class,bytes) in place of the story's day.",
)
@click.option("--requests", type=click.IntRange(1, 2_000_000), default=20_000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="First seed.")
@click.option("--seeds", "seed_count", type=click.IntRange(1, 100), default=2, show_default=True)
@click.option(
    "--machines",
    "own",
    type=click.Choice(OWN),
    default="dedicated",
    show_default=True,
    help="Machines on the spot: bought for this, on anyway, or shared as the cloud's.",
)
@click.option(
    "--from-run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Measured figures (JSON): service times replace the tables, the error is printed.",
)
@assumption_options
@plan_options
def command(
    fleet_path: Path,
    trace_path: Path | None,
    requests: int,
    seed: int,
    seed_count: int,
    own: str,
    run_path: Path | None,
    settings: tuple[str, ...],
    assume_path: Path | None,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Tell whether answering on the spot saves energy: yes, no or unknown."""
    from skerry.energy.machine_use import Use
    from skerry.fleet.load import load_fleet
    from skerry.plan.assumptions import assumptions
    from skerry.plan.energy.local_report import local_report
    from skerry.plan.from_run import measured, read_run, run_notes
    from skerry.plan.services import services_s
    from skerry.plan.trace import read_trace, story_trace
    from skerry.schema.goal import GoalName

    fleet = load_fleet(fleet_path)
    run = read_run(run_path) if run_path is not None else None
    seeds = range(seed, seed + seed_count)
    given = read_trace(trace_path, fleet) if trace_path is not None else None
    report = local_report(
        fleet,
        [given or story_trace(fleet, requests=requests, seed=one) for one in seeds],
        assumptions("energy", "network", path=assume_path, settings=settings),
        services_s=services_s(fleet, run.service_ms if run else None),
        seeds=seeds,
        own=Use(own),
        at_unix_s=time.time(),
        measured_wh_per_1k=measured(run, GoalName.ENERGY_WH_PER_1K) if run else None,
        notes=run_notes(run, fleet),
    )
    show(report, as_json=as_json, page_path=page_path)
