"""`skerry plan move`: what moving loads between zones saves."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import Finite, Share
from skerry.cli.plan_show import assumption_options, plan_options, show
from skerry.cli.plan_signal import forecast_options, forecasts_for, signal_options


@click.command("move")
@signal_options
@click.option("--zones", help="The group, such as DE,FR,PL; one load in each.")
@click.option(
    "--latency",
    "pairs_path",
    type=click.Path(path_type=Path),
    help="In place of --zones: round trips, sending_region, receiving_region, milliseconds.",
)
@click.option(
    "--region-zones",
    "zones_path",
    type=click.Path(path_type=Path),
    help="With --latency: the grid zone of each region.",
)
@click.option(
    "--limits-ms", default="50,100,150,200", show_default=True, help="With --latency: limits."
)
@click.option(
    "--idle",
    type=Share(below=True),
    default="50%",
    show_default=True,
    help="With --latency: free room.",
)
@click.option(
    "--load-kw",
    type=Finite(above=True),
    default=1.0,
    show_default=True,
    help="The load in each zone.",
)
@click.option("--state-gb", type=Finite(), help="Sent per move; the same as --set move_state_gb=.")
@click.option(
    "--traffic-gb-per-hour",
    "traffic_gb_per_h",
    type=Finite(),
    default=0.0,
    show_default=True,
    help="Sent every hour between a load that is away and its users.",
)
@forecast_options
@click.option(
    "--threshold",
    type=Share(high=10.0),
    default="1%",
    show_default=True,
    help="A saving below this share is no gain.",
)
@assumption_options
@plan_options
def command(
    signal_path: Path,
    time_zone: str | None,
    unit: str | None,
    zones: str | None,
    pairs_path: Path | None,
    zones_path: Path | None,
    limits_ms: str,
    idle: float,
    load_kw: float,
    state_gb: float | None,
    traffic_gb_per_h: float,
    forecast_path: Path | None,
    error_ratio: float | None,
    seed: int,
    threshold: float,
    settings: tuple[str, ...],
    assume_path: Path | None,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Compare staying at home, one good fixed zone, and moving every hour.

    With --latency and --region-zones, loads stay within a round trip of home instead.
    """
    from skerry.plan.assumptions import assumptions
    from skerry.plan.energy.move_report import move_report
    from skerry.plan.energy.signals import read_signal

    if (zones is None) == (pairs_path is None) or (pairs_path is None) != (zones_path is None):
        raise UsageError("give --zones, or --latency and --region-zones")
    if pairs_path is not None and zones_path is not None:
        from skerry.plan.energy.move_near import read_near
        from skerry.plan.energy.move_near_report import near_report

        whole = read_signal(signal_path, time_zone=time_zone, unit=unit)
        report = near_report(
            whole,
            read_near(pairs_path, zones_path, known=whole.zones),
            limits_ms=_limits(limits_ms),
            load_ratio=1 - idle,
            threshold=threshold,
        )
        show(report, as_json=as_json, page_path=page_path)
        return
    group = [zone.strip() for zone in (zones or "").split(",") if zone.strip()]
    if state_gb is not None:
        settings = (*settings, f"move_state_gb={state_gb!r}")
    signal = read_signal(signal_path, zones=group, time_zone=time_zone, unit=unit)
    forecasts, words = forecasts_for(
        signal, path=forecast_path, error_ratio=error_ratio, seed=seed, zone=time_zone, unit=unit
    )
    report = move_report(
        signal,
        group,
        assumptions("network", path=assume_path, settings=settings),
        load_kw=load_kw,
        traffic_gb_per_h=traffic_gb_per_h,
        threshold=threshold,
        forecasts=forecasts,
        forecast_text=words,
    )
    show(report, as_json=as_json, page_path=page_path)


def _limits(text: str) -> list[float]:
    try:
        limits = sorted({float(word) for word in text.split(",")})
    except ValueError:
        limits = []
    if not limits or not 0 <= limits[0] <= limits[-1] < 1e6:
        raise UsageError(f"--limits-ms {text!r} are no limits", "write them as 50,100,150")
    return limits
