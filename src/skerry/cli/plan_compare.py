"""`skerry plan compare`: what hyperscale, regional, edge and on-prem do with one trace."""

from pathlib import Path

import click

from skerry.cli.plan_show import assumption_options, plan_options, show, write_option
from skerry.cli.plan_trace import fleet_and_trace, trace_options


@click.command("compare")
@click.option(
    "--explain",
    multiple=True,
    metavar="TIER.CELL",
    help="Show the inputs of a cell, such as edge.cost; a tier, a cell, or all.",
)
@trace_options
@assumption_options
@write_option
@plan_options
def command(
    explain: tuple[str, ...],
    trace_path: Path | None,
    requests: int,
    seed: int,
    run_path: Path | None,
    settings: tuple[str, ...],
    assume_path: Path | None,
    fleet_path: Path,
    write: bool,
    page_path: Path | None,
    as_json: bool,
) -> None:
    """Compare the four tiers: latency, cost, PUE, scaling time, control, privacy.

    Every figure is computed from the fleet file and the trace, and put beside its usual
    range. `--write` places the models on the advised tier.
    """
    from skerry.cli.progress import progress
    from skerry.plan.tiers.compare_report import compare_report

    fleet, trace, run = fleet_and_trace(fleet_path, trace_path, run_path, requests, seed)
    with progress("comparing") as tell:
        report = compare_report(
            fleet,
            trace,
            explain=explain,
            assume_path=assume_path,
            settings=settings,
            run=run,
            seed=seed,
            tell=tell,
        )
    show(
        report,
        as_json=as_json,
        page_path=page_path,
        write_path=fleet_path if write else None,
    )
