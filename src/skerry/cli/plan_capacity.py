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
    from skerry.plan.capacity import parse_range
    from skerry.plan.capacity_errors import CapacityError
    from skerry.plan.capacity_target import parse_target
    from skerry.plan.capacity_trace import Source, service_of
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
        if not targets and servers is None:
            advice = "give --target p99=15s, --servers 3..40, or both"
            raise CapacityError("nothing is asked", advice)
        if write:
            raise CapacityError("--write is about a fleet", "add --fleet fleet.yaml")
        if not targets and (loss or profile or autoscale):
            raise CapacityError("headroom, hours and autoscaling keep targets", "add --target")
        if (steps_text or tiers_path) and (loss or profile or autoscale):
            raise CapacityError("headroom, hours and autoscaling are about one plain queue")
        from skerry.plan.capacity_ask import ask_batch, ask_queue, ask_tiers
        from skerry.plan.capacity_headroom import Loss
        from skerry.plan.capacity_more import Wishes

        source = Source(trace=trace_path, arrival=arrival, zone=zone)
        with progress("capacity") as tell:
            if steps_text is not None:
                if service_text or run:
                    raise CapacityError("a request has --steps or a service time", "drop one")
                report = ask_batch(
                    source, steps_text, curve_path, gpu, batch_limit, targets, servers
                )
            elif tiers_path is not None:
                service = service_of(service_text, run, model)
                report = ask_tiers(source, service, tiers_path, site, tiers, targets, servers)
            else:
                if tiers or site:
                    advice = "add --tiers FILE or --fleet FILE"
                    raise CapacityError("--tier and --site are about tiers", advice)
                wishes = Wishes(
                    loss=Loss(loss) if loss else None,
                    sites=sites,
                    hourly=profile is not None,
                    autoscaled=autoscale,
                    zone=zone,
                )
                service = service_of(service_text, run, model)
                report = ask_queue(source, service, targets, servers, inputs, wishes, tell)
    show(report, as_json=as_json, page_path=page_path, write_path=fleet_path if write else None)
