"""`skerry plan cost`: what an answer costs on each tier, and how sure that is."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import Finite
from skerry.cli.plan_show import assumption_options, plan_options, show, write_option
from skerry.cli.progress import progress


@click.command("cost")
@write_option
@click.option(
    "--requests-per-month",
    type=Finite(above=True),
    help="How much is asked; the day's shape is the story's unless a trace is given.",
)
@click.option(
    "--trace",
    "trace_path",
    type=click.Path(path_type=Path),
    help="Requests (arrival_s,site,model,data_class,bytes): shape, and size if none is given.",
)
@click.option(
    "--months",
    "months_path",
    type=click.Path(path_type=Path),
    help="Months of requests and cloud bill (month,requests,cloud_usd): choose on the first, "
    "judge on the rest.",
)
@click.option(
    "--seen-months",
    type=click.IntRange(1),
    help="How many of the months the choice may see; half of them unless given.",
)
@click.option(
    "--horizon-months",
    type=click.IntRange(1, 600),
    default=60,
    show_default=True,
    help="Over how many months payments are counted.",
)
@click.option(
    "--financing",
    type=click.Choice(["buy", "lease", "managed"]),
    default="buy",
    show_default=True,
    help="How machines are paid for; the report compares all three.",
)
@click.option(
    "--refresh-months",
    type=click.IntRange(12, 240),
    help="How long a machine is kept; its life in the fleet file unless given.",
)
@click.option(
    "--egress",
    default="aws",
    show_default=True,
    help="Whose prices of data leaving the cloud: aws, azure or gcp_premium.",
)
@click.option(
    "--itemise",
    is_flag=True,
    help="Price room, link and hands by the tables, not by the fleet file's monthly sum.",
)
@click.option(
    "--draws",
    type=click.IntRange(100, 100_000),
    default=2_000,
    show_default=True,
    help="Monte Carlo draws behind p10, p50 and p90.",
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Seed of them.")
@click.option(
    "--from-run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Measured figures (JSON) in place of estimates; prediction errors are printed.",
)
@assumption_options
@plan_options
def command(
    fleet_path: Path,
    write: bool,
    requests_per_month: float | None,
    trace_path: Path | None,
    months_path: Path | None,
    seen_months: int | None,
    horizon_months: int,
    financing: str,
    refresh_months: int | None,
    egress: str,
    itemise: bool,
    draws: int,
    seed: int,
    run_path: Path | None,
    settings: tuple[str, ...],
    assume_path: Path | None,
    page_path: Path | None,
    as_json: bool,
) -> None:
    """Cost of an answer on each tier, with its range, and from which load owning pays.

    Every tier stands alone for the same requests, beside the fleet as it is. Cost is
    divided by requests that met the fleet file's latency goal, never by capacity.
    """
    from skerry.fleet.load import load_fleet
    from skerry.plan.assumptions import assumptions
    from skerry.plan.finance.months import read_months
    from skerry.plan.finance.report import Load, cost_report
    from skerry.plan.finance.terms import Financing, Terms
    from skerry.plan.from_run import read_run
    from skerry.plan.trace import read_trace

    if months_path is not None and requests_per_month is not None:
        what = "one of --months and --requests-per-month says how much is asked"
        raise UsageError(what, "the months are the load: leave the number out")
    fleet = load_fleet(fleet_path)
    with progress("cost") as tell:
        report = cost_report(
            fleet,
            Load(
                requests_per_month=requests_per_month,
                trace=read_trace(trace_path, fleet) if trace_path else None,
                months=read_months(months_path, seen=seen_months) if months_path else None,
            ),
            assumptions("finance", path=assume_path, settings=settings),
            terms=Terms(
                months=horizon_months,
                financing=Financing(financing),
                refresh_months=refresh_months,
                egress=egress,
                itemise=itemise,
            ),
            draws=draws,
            seed=seed,
            run=read_run(run_path) if run_path else None,
            tell=tell,
        )
    show(report, as_json=as_json, page_path=page_path, write_path=fleet_path if write else None)
