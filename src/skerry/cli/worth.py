"""`skerry worth`: is it worth it for me, from one log, trace or bill?"""

from pathlib import Path

import click

from skerry.cli.plan_show import assumption_options, plan_options, show, write_option


@click.command("worth")
@click.argument("usage_path", metavar="F", type=click.Path(path_type=Path))
@click.option(
    "--request-time",
    "took_unit",
    type=click.Choice(["s", "ms", "us", "ns"]),
    default=None,
    help="The unit of an access log's last field, where that is the request's duration.",
)
@click.option("--path", "path_prefix", default="", help="Only requests whose path begins with it.")
@click.option(
    "--from-run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Measured figures (JSON): service times replace the table's, errors are printed.",
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the draws.")
@assumption_options
@write_option
@plan_options
def command(
    usage_path: Path,
    took_unit: str | None,
    path_prefix: str,
    run_path: Path | None,
    seed: int,
    settings: tuple[str, ...],
    assume_path: Path | None,
    fleet_path: Path,
    write: bool,
    page_path: Path | None,
    as_json: bool,
) -> None:
    """Say whether own sites beat the cloud: yes, no or unknown, with the range.

    F is an access log (Common or Combined Log Format, or JSON lines; gzip too), a request
    trace (CSV with arrival_s), or a cloud bill (AWS, Azure, Google Cloud, FOCUS). What it
    was taken for is printed. `--write` puts the cloud's cost per 1,000 into the fleet file
    as the goal to beat.
    """
    from skerry.cli.progress import progress
    from skerry.plan.from_run import read_run
    from skerry.plan.worth.answer import worth

    run = read_run(run_path) if run_path else None
    with progress("weighing") as tell:
        report = worth(
            usage_path,
            assume_path=assume_path,
            settings=settings,
            run=run,
            took_unit=took_unit or "",
            path_prefix=path_prefix,
            seed=seed,
            tell=tell,
        )
    show(
        report,
        as_json=as_json,
        page_path=page_path,
        write_path=fleet_path if write else None,
    )
