"""`skerry plan place`: which model belongs on which tier."""

from pathlib import Path

import click

from skerry.base.errors import Exit
from skerry.cli.plan_show import assumption_options, plan_options, show, write_option
from skerry.cli.plan_trace import fleet_and_trace, trace_options


@click.command("place")
@click.option(
    "--models",
    "models_path",
    type=click.Path(path_type=Path),
    help="Facts (CSV): model,size_mib,accuracy_ratio,accuracy_least_ratio,updates_per_month.",
)
@click.option("--memory", multiple=True, metavar="MACHINE=GIB", help="What a machine type holds.")
@trace_options
@assumption_options
@write_option
@plan_options
@click.pass_context
def command(
    context: click.Context,
    models_path: Path | None,
    memory: tuple[str, ...],
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
    """Say where each model belongs: on site, in its region, in the cloud, or nowhere.

    Rules bar first (residency, memory, latency, request rate, updates, accuracy), then the
    cheapest wins. Each answer comes with its runner-up and with what would turn it round.
    `--write` sets every model's `place`. Exits 1 where a model belongs nowhere.
    """
    from skerry.cli.progress import progress
    from skerry.plan.tiers.place_report import place_report

    fleet, trace, run = fleet_and_trace(fleet_path, trace_path, run_path, requests, seed)
    with progress("placing") as tell:
        report = place_report(
            fleet,
            trace,
            models_path=models_path,
            memory=memory,
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
    if report.figures["nowhere"]:
        context.exit(int(Exit.BAD_OUTCOME))
