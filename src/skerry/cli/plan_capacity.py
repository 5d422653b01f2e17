"""`skerry plan capacity`: how many servers a trace needs."""

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
    help="With --fleet: the tier to size; by default those where requests begin. Repeatable.",
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
    from skerry.plan.capacity import parse_range
    from skerry.plan.capacity_errors import CapacityError
    from skerry.plan.capacity_target import parse_target
    from skerry.plan.from_run import read_run

    targets = tuple(parse_target(text) for text in target_texts)
    servers = parse_range(servers_text) if servers_text else None
    inputs = assumptions("capacity", path=assume_path, settings=settings)
    run = read_run(run_path) if run_path else None
    if fleet_path is not None:
        if service_text or model:
            advice = "measured times come in by --from-run"
            raise CapacityError("--fleet takes service times by model, not --service", advice)
        if profile or autoscale or loss not in (None, "n+1"):
            advice = "with --fleet, --headroom n+1 adds a node to every site"
            raise CapacityError("--profile, --autoscale and losses are about one queue", advice)
        from skerry.plan.capacity_fleet_report import ask_fleet

        with progress("capacity") as tell:
            report = ask_fleet(
                fleet_path,
                trace_path,
                targets,
                tiers=tiers,
                counts=servers,
                seed=seed,
                spare=0 if loss is None else 1,
                inputs=inputs,
                run=run,
                tell=tell,
            )
    else:
        if write or tiers:
            raise CapacityError("--write and --tier are about a fleet", "add --fleet fleet.yaml")
        if not targets and servers is None:
            advice = "give --target p99=15s, --servers 3..40, or both"
            raise CapacityError("nothing is asked", advice)
        if not targets and (loss or profile or autoscale):
            raise CapacityError("headroom, hours and autoscaling keep targets", "add --target")
        from skerry.plan.capacity_headroom import Loss
        from skerry.plan.capacity_more import Wishes
        from skerry.plan.capacity_report import capacity_report
        from skerry.plan.capacity_trace import read_work, service_of

        service = service_of(service_text, run, model)
        work, _ = read_work(trace_path, service, arrival=arrival, zone=zone)
        wishes = Wishes(
            loss=Loss(loss) if loss else None,
            sites=sites,
            hourly=profile is not None,
            autoscaled=autoscale,
            zone=zone,
        )
        with progress("capacity") as tell:
            report = capacity_report(
                work, targets, servers=servers, inputs=inputs, wishes=wishes, tell=tell
            )
    show(report, as_json=as_json, page_path=page_path, write_path=fleet_path if write else None)
