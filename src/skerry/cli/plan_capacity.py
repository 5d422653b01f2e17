"""`skerry plan capacity`: how many servers a trace needs."""

import time
from pathlib import Path

import click

from skerry.cli.plan_show import assumption_options, plan_options, show


@click.command("capacity")
@click.option(
    "--trace",
    "trace_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Requests: CSV, Parquet or JSON, sorted by arrival.",
)
@click.option(
    "--service",
    "service_text",
    metavar="EXPR",
    help="Seconds one server needs for a request: arithmetic over the trace's columns.",
)
@click.option(
    "--arrival",
    default="arrival_s",
    show_default=True,
    metavar="COLUMN",
    help="Arrival times: seconds, or ISO 8601 timestamps.",
)
@click.option("--zone", metavar="ZONE", help="Time zone of timestamps that have no offset.")
@click.option(
    "--target",
    "target_texts",
    multiple=True,
    metavar="METRIC=DURATION",
    help="A limit on the time from arrival to answer: mean, p50, p95 or p99. Repeatable.",
)
@click.option(
    "--servers",
    "servers_text",
    metavar="LOW..HIGH",
    help="Print waits for each of these numbers of servers.",
)
@click.option(
    "--headroom",
    "loss",
    type=click.Choice(["n+1", "lose-node", "lose-site"]),
    help="Keep the targets also while these servers are away.",
)
@click.option(
    "--sites",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Places the servers stand at, for --headroom lose-site.",
)
@click.option(
    "--profile",
    type=click.Choice(["hourly"]),
    help="Find a number for each hour of the day (in --zone), or of a trace in seconds.",
)
@click.option("--autoscale", is_flag=True, help="Simulate an autoscaler with its start-up delay.")
@click.option(
    "--steps",
    "steps_text",
    metavar="EXPR",
    help="In place of --service: steps of a request on a server that batches (tokens written).",
)
@click.option(
    "--batch", "gpu", default="H100", show_default=True, help="With --steps: whose steps."
)
@click.option(
    "--curve",
    "curve_path",
    type=click.Path(path_type=Path),
    help="With --steps: your own curve (gpu,batch_limit,j_per_token,inter_token_ms).",
)
@click.option(
    "--batch-limit", type=click.IntRange(1, 4096), default=64, show_default=True, help="At most."
)
@click.option(
    "--tiers",
    "tiers_path",
    type=click.Path(path_type=Path),
    help="Sites that overflow upwards (tier,sites,servers,round_trip_ms,wait_max_ms).",
)
@click.option("--site", metavar="COLUMN", help="With --tiers: the site of each request, from 0.")
@click.option(
    "--fleet",
    "fleet_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Size this fleet's tiers instead, by production's own admission and routing.",
)
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    metavar="NAME",
    help="The tier to size; by default where requests begin. With --fleet repeatable.",
)
@click.option(
    "--from-run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Measured figures (JSON): their service times replace the tables, or --service.",
)
@click.option("--model", metavar="NAME", help="With --from-run and no --fleet: whose service time.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="With --fleet.")
@click.option("--write", is_flag=True, help="Put the numbers of nodes into the file of --fleet.")
@assumption_options
@plan_options
def command(
    trace_path: Path,
    service_text: str | None,
    arrival: str,
    zone: str | None,
    target_texts: tuple[str, ...],
    servers_text: str | None,
    loss: str | None,
    sites: int,
    profile: str | None,
    autoscale: bool,
    steps_text: str | None,
    gpu: str,
    curve_path: Path | None,
    batch_limit: int,
    tiers_path: Path | None,
    site: str | None,
    fleet_path: Path | None,
    tiers: tuple[str, ...],
    run_path: Path | None,
    model: str | None,
    seed: int,
    write: bool,
    settings: tuple[str, ...],
    assume_path: Path | None,
    page_path: Path | None,
    as_json: bool,
) -> None:
    """Replay a trace through a simulated queue and find the least servers for each target.

    `--service` is arithmetic such as 0.05+0.0002*context_tokens+0.02*generated_tokens. A
    target that service time alone breaks is impossible with any number of servers.
    """
    from skerry.cli.progress import progress
    from skerry.plan.assumptions import assumptions
    from skerry.plan.capacity.ask import Asked, ask
    from skerry.plan.capacity.headroom import Loss
    from skerry.plan.capacity.least import parse_range
    from skerry.plan.capacity.more import Wishes
    from skerry.plan.capacity.target import parse_target
    from skerry.plan.capacity.trace import Source
    from skerry.plan.from_run import read_run

    asked = Asked(
        source=Source(trace=trace_path, arrival=arrival, zone=zone),
        targets=tuple(parse_target(text) for text in target_texts),
        servers=parse_range(servers_text) if servers_text else None,
        service=service_text,
        run=read_run(run_path) if run_path else None,
        model=model,
        wishes=Wishes(
            loss=Loss(loss) if loss else None,
            sites=sites,
            hourly=profile is not None,
            autoscaled=autoscale,
            zone=zone,
        ),
        steps=steps_text,
        gpu=gpu,
        curve_path=curve_path,
        batch_limit=batch_limit,
        tiers_path=tiers_path,
        site=site,
        fleet_path=fleet_path,
        tiers=tiers,
        seed=seed,
        write=write,
        inputs=assumptions("capacity", path=assume_path, settings=settings),
        at_unix_s=time.time(),
    )
    with progress("capacity") as tell:
        report = ask(asked, tell)
    show(report, as_json=as_json, page_path=page_path, write_path=fleet_path if write else None)
