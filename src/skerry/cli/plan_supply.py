"""`skerry plan supply`: what may not arrive, who may let you down, and how one comes back."""

import re
from datetime import UTC, datetime
from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import Finite, Share
from skerry.cli.plan_show import assumption_options, plan_options, show
from skerry.cli.progress import progress

_PATH = click.Path(dir_okay=False, path_type=Path)
_REDUNDANCY = re.compile(r"(\d{1,5})of(\d{1,5})@([\d.]{1,20})")


@click.command("supply")
@click.option("--parts", "parts_path", type=_PATH, help="What is in use.")
@click.option("--vendors", "vendors_path", type=_PATH, help="Who is paid for it.")
@click.option("--before-parts", "before_parts", type=_PATH, help="The parts as they were.")
@click.option("--before-vendors", "before_vendors", type=_PATH, help="The vendors as they were.")
@click.option(
    "-f",
    "--file",
    "fleet_path",
    type=click.Path(path_type=Path),
    help="A fleet file: adds its redundancy and a recovery plan.",
)
@click.option("--trace", "trace_path", type=_PATH, help="Replay this when a place is lost.")
@click.option(
    "--requests",
    type=click.IntRange(1, 2_000_000),
    default=5_000,
    show_default=True,
    help="Requests in the day that is made up when no trace is given.",
)
@click.option(
    "--service-level",
    type=Share(above=True, below=True),
    default=0.95,
    show_default=True,
    help="How often a spare must be at hand.",
)
@click.option(
    "--loss-per-hour",
    "loss_usd_per_hour",
    type=Finite(),
    default=500.0,
    show_default=True,
    help="What an hour without a vendor costs you, in USD.",
)
@click.option(
    "--answered",
    "answered_ratio",
    type=Share(),
    default=0.9,
    show_default=True,
    help="Objective: the share of a lost place's own requests that is still answered.",
)
@click.option(
    "--back-within",
    "back_hours",
    type=Finite(),
    default=24.0,
    show_default=True,
    help="Objective: hours until a lost place is back.",
)
@click.option(
    "--redundancy",
    multiple=True,
    metavar="KofN@A",
    help="Arithmetic, such as 2of3@0.995; alone it needs no files.",
)
@click.option(
    "--on",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Judge the facts as on this day, UTC; today if left out.",
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="The seed.")
@assumption_options
@plan_options
def command(
    parts_path: Path | None,
    vendors_path: Path | None,
    before_parts: Path | None,
    before_vendors: Path | None,
    fleet_path: Path | None,
    trace_path: Path | None,
    requests: int,
    service_level: float,
    loss_usd_per_hour: float,
    answered_ratio: float,
    back_hours: float,
    redundancy: tuple[str, ...],
    day: datetime | None,
    seed: int,
    settings: tuple[str, ...],
    assume_path: Path | None,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Score vendors and parts, size spares, price an exit, lose each place on paper."""
    from skerry.base.clock import SystemClock
    from skerry.fleet.load import load_fleet
    from skerry.plan.assumptions import assumptions
    from skerry.plan.supply.report import Objectives, read_facts, redundancy_report, supply_report
    from skerry.plan.trace import read_trace, story_trace

    asked = [_redundancy(text) for text in redundancy]
    if (parts_path is None) != (vendors_path is None):
        raise UsageError("--parts and --vendors go together")
    if parts_path is None or vendors_path is None:
        rest = {
            "--file": fleet_path,
            "--trace": trace_path,
            "--before-parts": before_parts,
            "--before-vendors": before_vendors,
        }
        for option, given in rest.items():
            if given is not None:
                raise UsageError(f"{option} needs --parts and --vendors")
        if not asked:
            raise UsageError("give --parts and --vendors, or --redundancy")
        show(redundancy_report(asked), as_json=as_json, page_path=page_path)
        return
    facts = read_facts(parts_path, vendors_path, before_parts, before_vendors)
    fleet = load_fleet(fleet_path) if fleet_path else None
    trace = None
    if fleet is not None:
        trace = (
            read_trace(trace_path, fleet)
            if trace_path
            else story_trace(fleet, requests=requests, seed=seed)
        )
    with progress("losing each place") as tell:
        report = supply_report(
            facts,
            assumptions("supply", path=assume_path, settings=settings),
            Objectives(
                service_level=service_level,
                loss_usd_per_hour=loss_usd_per_hour,
                answered_ratio=answered_ratio,
                hours=back_hours,
            ),
            now_unix_s=day.replace(tzinfo=UTC).timestamp() if day else SystemClock().unix_s(),
            seed=seed,
            fleet=fleet,
            trace=trace,
            redundancy=asked,
            tell=tell,
        )
    show(report, as_json=as_json, page_path=page_path)


def _redundancy(text: str) -> tuple[int, int, float]:
    found = _REDUNDANCY.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        return int(found[1]), int(found[2]), float(found[3])
    except ValueError:
        advice = "write needed, units and availability of each: 2of3@0.995"
        raise UsageError(f"--redundancy {text[:40]!r} cannot be read", advice) from None
