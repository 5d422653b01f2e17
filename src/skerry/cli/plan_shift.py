"""`skerry plan shift`: what waiting for cleaner hours saves."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import UsageError
from skerry.cli.plan_show import plan_options, show
from skerry.cli.plan_signal import Ratio, signal_options
from skerry.cli.progress import progress

if TYPE_CHECKING:
    from skerry.plan.signals import Series, Signal


@click.command("shift")
@signal_options
@click.option("--zone", help="The zone to answer for; all of them with --all and no zone.")
@click.option("--job-hours", "job_h", type=click.IntRange(1), help="How long one job runs.")
@click.option("--slack-hours", "slack_h", type=click.IntRange(0), help="How long it may wait.")
@click.option("--all", "all_cells", is_flag=True, help="Every job length and slack of the study.")
@click.option(
    "--forecast",
    "forecast_path",
    type=click.Path(path_type=Path),
    help="Choose on this signal, pay at --signal; same columns and hours.",
)
@click.option(
    "--forecast-error",
    "error_ratio",
    type=Ratio(),
    help="Choose on a signal with this normal error, such as 5%; it repeats by --seed.",
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True)
@click.option(
    "--threshold",
    type=Ratio(),
    default="1%",
    show_default=True,
    help="A saving below this share is no gain.",
)
@click.option("--load-kw", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option(
    "--ready-hour",
    type=click.IntRange(0, 23),
    default=0,
    show_default=True,
    help="For the advice: the hour (UTC) at which a daily job is ready.",
)
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
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Tell what a job saves that waits for cleaner hours, or that nothing is gained."""
    from skerry.plan import shift_report
    from skerry.plan.signals import read_signal

    if all_cells == (job_h is not None or slack_h is not None):
        raise UsageError("give --job-hours and --slack-hours, or --all")
    if forecast_path is not None and error_ratio is not None:
        raise UsageError("give --forecast or --forecast-error, not both")
    zones = [zone] if zone else []
    signal = read_signal(signal_path, zones=zones, time_zone=time_zone, unit=unit)
    forecasts: Mapping[str, Series] | None = None
    words = "perfect"
    if forecast_path is not None:
        forecasts, words = _forecasts(forecast_path, signal, time_zone, unit), str(forecast_path)
    elif error_ratio is not None:
        from skerry.plan.shift import noisy

        forecasts = noisy(signal.factor, error_ratio=error_ratio, seed=seed)
        words = f"made-up ({error_ratio:.4g} of the mean, seed {seed})"
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
        )
    show(report, as_json=as_json, page_path=page_path)


def _forecasts(
    path: Path, signal: "Signal", time_zone: str | None, unit: str | None
) -> "Mapping[str, Series]":
    from skerry.plan.signals import read_signal

    forecast = read_signal(path, zones=signal.zones, time_zone=time_zone, unit=unit)
    if (forecast.start_unix_s, forecast.hours) != (signal.start_unix_s, signal.hours):
        raise UsageError(
            f"{path} covers {forecast.span()} and {signal.path} covers {signal.span()}",
            "a forecast covers the hours of the signal, no more and no fewer",
        )
    return forecast.factor
