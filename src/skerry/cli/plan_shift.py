"""`skerry plan shift`: what waiting for cleaner hours saves."""

import time
from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import Finite, Share
from skerry.cli.plan_show import plan_options, show, write_option
from skerry.cli.plan_signal import forecast_options, forecasts_for, signal_options
from skerry.cli.progress import progress

CARBON_SIGNAL = "grid.carbon_g_per_kwh"


@click.command("shift")
@signal_options
@click.option("--zone", help="The zone to answer for; all of them with --all and no zone.")
@click.option("--job-hours", "job_h", type=click.IntRange(1), help="How long one job runs.")
@click.option("--slack-hours", "slack_h", type=click.IntRange(0), help="How long it may wait.")
@click.option("--all", "all_cells", is_flag=True, help="Every job length and slack of the study.")
@forecast_options
@click.option(
    "--threshold",
    type=Share(high=10.0),
    default="1%",
    show_default=True,
    help="A saving below this share is no gain.",
)
@click.option("--load-kw", type=Finite(above=True), default=1.0, show_default=True)
@click.option(
    "--ready-hour",
    type=click.IntRange(0, 23),
    default=0,
    show_default=True,
    help="For the advice: the hour (UTC) at which a daily job is ready.",
)
@write_option
@plan_options
def command(
    signal_path: Path,
    time_zone: str | None,
    unit: str | None,
    zone: str | None,
    job_h: int | None,
    slack_h: int | None,
    all_cells: bool,
    forecast_path: Path | None,
    error_ratio: float | None,
    seed: int,
    threshold: float,
    load_kw: float,
    ready_hour: int,
    fleet_path: Path,
    write: bool,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Tell what a job saves that waits for cleaner hours, or that nothing is gained."""
    from skerry.plan.energy import shift_report
    from skerry.plan.energy.signals import read_signal

    if all_cells == (job_h is not None or slack_h is not None):
        raise UsageError("give --job-hours and --slack-hours, or --all")
    if all_cells and write:
        raise UsageError("--write takes one job, not --all")
    zones = [zone] if zone else []
    signal = read_signal(signal_path, zones=zones, time_zone=time_zone, unit=unit)
    forecasts, words = forecasts_for(
        signal, path=forecast_path, error_ratio=error_ratio, seed=seed, zone=time_zone, unit=unit
    )
    if all_cells:
        started_s = time.monotonic()
        with progress("shifting") as tell:
            report = shift_report.all_cells(
                signal,
                signal.zones,
                load_kw=load_kw,
                threshold=threshold,
                forecasts=forecasts,
                forecast_text=words,
                tell=tell,
            )
        report.figures["took_s"] = round(time.monotonic() - started_s, 3)
    elif job_h is None or slack_h is None:
        raise UsageError("--job-hours and --slack-hours go together")
    else:
        report = shift_report.one_job(
            signal,
            signal.one_zone(zone),
            job_h=job_h,
            slack_h=slack_h,
            load_kw=load_kw,
            threshold=threshold,
            forecasts=forecasts,
            forecast_text=words,
            ready_hour=ready_hour,
            carbon_rule=_carbon_rule(fleet_path) if write else None,
        )
    show(report, as_json=as_json, page_path=page_path, write_path=fleet_path if write else None)


def _carbon_rule(fleet_path: Path) -> int:
    """Return the place of the fleet's rule on the grid's carbon."""
    from skerry.fleet.load import load_fleet

    for place, rule in enumerate(load_fleet(fleet_path).rules):
        if rule.signal == CARBON_SIGNAL:
            return place
    advice = "add one to `rules`: {when: grid.carbon > 400 g/kWh, do: defer, what: [retraining]}"
    raise UsageError(f"{fleet_path} has no rule on grid.carbon to write to", advice)
