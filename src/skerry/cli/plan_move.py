"""`skerry plan move`: what moving loads between zones saves."""

from pathlib import Path

import click

from skerry.cli.plan_show import assumption_options, plan_options, show
from skerry.cli.plan_signal import Ratio, forecast_options, forecasts_for, signal_options


@click.command("move")
@signal_options
@click.option("--zones", required=True, help="The group, such as DE,FR,PL; one load in each.")
@click.option(
    "--load-kw",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="The load in each zone.",
)
@click.option(
    "--state-gb", type=click.FloatRange(0), help="Sent per move; the same as --set move_state_gb=."
)
@click.option(
    "--traffic-gb-per-hour",
    "traffic_gb_per_h",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Sent every hour between a load that is away and its users.",
)
@forecast_options
@click.option(
    "--threshold",
    type=Ratio(),
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
    zones: str,
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
    """Compare staying at home, one good fixed zone, and moving every hour."""
    from skerry.plan.assumptions import assumptions
    from skerry.plan.move_report import move_report
    from skerry.plan.signals import read_signal

    group = [zone.strip() for zone in zones.split(",") if zone.strip()]
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
