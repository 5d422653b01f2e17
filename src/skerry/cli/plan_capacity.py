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
    required=True,
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
@assumption_options
@plan_options
def command(
    trace_path: Path,
    service_text: str,
    arrival: str,
    zone: str | None,
    target_texts: tuple[str, ...],
    servers_text: str | None,
    settings: tuple[str, ...],
    assume_path: Path | None,
    page_path: Path | None,
    as_json: bool,
) -> None:
    """Replay a trace through a simulated queue and find the least servers for each target.

    `--service` is arithmetic such as 0.05+0.0002*context_tokens+0.02*generated_tokens. A
    target that service time alone breaks is impossible with any number of servers.
    """
    from skerry.plan.assumptions import assumptions
    from skerry.plan.capacity import parse_range
    from skerry.plan.capacity_errors import CapacityError
    from skerry.plan.capacity_report import capacity_report
    from skerry.plan.capacity_target import parse_target
    from skerry.plan.capacity_trace import read_work
    from skerry.plan.expression import Expression

    targets = [parse_target(text) for text in target_texts]
    servers = parse_range(servers_text) if servers_text else None
    if not targets and servers is None:
        raise CapacityError("nothing is asked", "give --target p99=15s, --servers 3..40, or both")
    inputs = assumptions("capacity", path=assume_path, settings=settings)
    work, _ = read_work(trace_path, Expression(service_text), arrival=arrival, zone=zone)
    report = capacity_report(work, targets, servers=servers, inputs=inputs)
    show(report, as_json=as_json, page_path=page_path)
