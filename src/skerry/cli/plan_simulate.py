"""`skerry plan simulate`: a fleet through a year of failures, weather and demand."""

from pathlib import Path

import click

from skerry.cli.plan_show import assumption_options, plan_options, show


@click.command("simulate")
@click.option(
    "-f",
    "--file",
    "fleet_path",
    type=click.Path(path_type=Path),
    help="The fleet file; without it, and with --sites, the shipped clinic is grown.",
)
@click.option(
    "--sites",
    type=click.IntRange(1, 200_000),
    help="Grow the fleet to so many asking sites, from the file's and the seed.",
)
@click.option(
    "--hours", type=click.IntRange(1, 8784), default=8760, show_default=True, help="The span."
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    default=("calm",),
    show_default=True,
    metavar="NAME|FILE",
    help="What happens: a shipped scenario, or a YAML or JSON file. Several are compared.",
)
@click.option("--sweep", "sweep_path", type=click.Path(path_type=Path), help="Many at once.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the simulations of a sweep run.",
)
@click.option(
    "--ray-address",
    help="A Ray cluster; without it Ray starts here, and listens while it runs.",
)
@click.option(
    "--trace",
    "trace_path",
    type=click.Path(path_type=Path),
    help="Requests (arrival_s,site,model,data_class,bytes): rates, mix and hours of the week.",
)
@click.option(
    "--profile",
    "profile_path",
    type=click.Path(path_type=Path),
    help="Weights of the hours of a local week (hour_of_week,weight).",
)
@click.option(
    "--signal",
    "signal_path",
    type=click.Path(path_type=Path),
    help="Hourly carbon intensity (hour_utc and one column of g/kWh per grid zone).",
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="First seed.")
@click.option(
    "--seeds",
    "seed_count",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Simulations per scenario; ranges are over these.",
)
@click.option(
    "--sample",
    "sample_requests",
    type=click.IntRange(1000, 500_000_000),
    default=1_000_000,
    show_default=True,
    help="Requests simulated one by one per seed, for latencies.",
)
@click.option(
    "--from-run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Measured figures (JSON): service times replace the tables, errors are printed.",
)
@click.option("--threads", type=click.IntRange(1, 256), help="Default: one per core.")
@assumption_options
@plan_options
def command(
    fleet_path: Path | None,
    sites: int | None,
    hours: int,
    scenarios: tuple[str, ...],
    sweep_path: Path | None,
    engine: str,
    ray_address: str | None,
    trace_path: Path | None,
    profile_path: Path | None,
    signal_path: Path | None,
    seed: int,
    seed_count: int,
    sample_requests: int,
    run_path: Path | None,
    threads: int | None,
    settings: tuple[str, ...],
    assume_path: Path | None,
    page_path: Path | None,
    as_json: bool,
) -> None:
    """Simulate the fleet hour by hour, with failures, cuts, storms, sun and carbon.

    The same seed gives the same figures, whatever the number of threads or the engine.
    """
    from skerry.cli.progress import progress
    from skerry.plan.simulate.verb import Question, simulated

    question = Question(
        fleet_path=fleet_path,
        sites=sites,
        hours=hours,
        scenarios=scenarios,
        sweep_path=sweep_path,
        engine=engine,
        ray_address=ray_address,
        trace_path=trace_path,
        profile_path=profile_path,
        signal_path=signal_path,
        seed=seed,
        seeds=seed_count,
        sample_requests=sample_requests,
        run_path=run_path,
        threads=threads,
        settings=settings,
        assume_path=assume_path,
    )
    with progress("simulating") as tell:
        report = simulated(question, tell)
    show(report, as_json=as_json, page_path=page_path)
