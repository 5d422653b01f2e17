"""`skerry plan consolidate`: machines that may rest off-peak."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import PUE_MAX, Finite, Share
from skerry.cli.plan_show import assumption_options, plan_options, show


@click.command("consolidate")
@click.option(
    "--trace",
    "trace_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Requests over some days: CSV, Parquet or JSON, sorted by arrival.",
)
@click.option(
    "--service",
    "service_text",
    metavar="EXPR",
    required=True,
    help="Seconds one machine needs for a request: arithmetic over the trace's columns.",
)
@click.option("--arrival", default="arrival_s", show_default=True, metavar="COLUMN")
@click.option("--time-zone", metavar="ZONE", help="Of timestamps that have no offset.")
@click.option(
    "-f", "--file", "fleet_path", type=click.Path(path_type=Path), default=Path("fleet.yaml")
)
@click.option("--tier", help="Take machines, their draw and the PUE from this tier of the fleet.")
@click.option("--machines", type=click.IntRange(1), help="How many there are.")
@click.option("--idle-w", type=Finite(), help="Draw of a machine that waits.")
@click.option("--busy-w", type=Finite(), help="Draw of a machine that is busy.")
@click.option("--pue", type=Finite(1, PUE_MAX), help="[default: 1]")
@click.option("--keep", type=click.IntRange(1), default=1, show_default=True, help="Never fewer.")
@click.option("--step-min", type=click.IntRange(1, 1440), default=60, show_default=True)
@click.option("--threshold", type=Share(high=10.0), default="1%", show_default=True)
@assumption_options
@plan_options
def command(
    trace_path: Path,
    service_text: str,
    arrival: str,
    time_zone: str | None,
    fleet_path: Path,
    tier: str | None,
    machines: int | None,
    idle_w: float | None,
    busy_w: float | None,
    pue: float | None,
    keep: int,
    step_min: int,
    threshold: float,
    settings: tuple[str, ...],
    assume_path: Path | None,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Find which machines may rest off-peak; judge the rule on days it has not seen."""
    from skerry.energy.power_curve import PowerCurve
    from skerry.energy.replicas import Replicas
    from skerry.energy.site_energy import BEND_STATED
    from skerry.fleet.load import load_fleet
    from skerry.plan.assumptions import assumptions
    from skerry.plan.capacity.expression import Expression
    from skerry.plan.capacity.trace import Source, read_work
    from skerry.plan.energy.consolidate import days_of
    from skerry.plan.energy.consolidate_report import consolidate_report

    if tier is not None:
        tiers = load_fleet(fleet_path).tiers
        if tier not in tiers:
            raise UsageError(f"no tier {tier!r}", f"tiers: {', '.join(tiers)}")
        found = tiers[tier]
        machines = machines or found.nodes
        idle_w = found.machine.idle_w if idle_w is None else idle_w
        busy_w = found.machine.busy_w if busy_w is None else busy_w
        pue = found.pue_ratio if pue is None else pue
    if machines is None or idle_w is None or busy_w is None:
        raise UsageError("give --tier, or --machines, --idle-w and --busy-w")
    inputs = assumptions("energy", path=assume_path, settings=settings)
    source = Source(trace=trace_path, arrival=arrival, zone=time_zone)
    work, columns = read_work(source, Expression(service_text))
    replicas = Replicas(
        machines=machines,
        curve=PowerCurve(idle_w=idle_w, busy_w=busy_w, bend=BEND_STATED),
        standby_w=min(inputs["standby_w"], idle_w),
        wake_s=inputs["wake_s"],
        utilisation_max=inputs["utilisation_max_ratio"],
        keep=keep,
    )
    report = consolidate_report(
        str(trace_path),
        days_of(work, first_s=float(columns.numbers[arrival][0]), step_s=step_min * 60.0),
        replicas,
        pue_ratio=pue or 1.0,
        threshold=threshold,
        assumptions=inputs.used(),
    )
    show(report, as_json=as_json, page_path=page_path)
