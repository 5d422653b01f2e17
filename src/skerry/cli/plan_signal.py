"""The options of every verb that reads a carbon signal."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import Share

if TYPE_CHECKING:
    from skerry.plan.energy.signals import Forecasts, Signal

Command = TypeVar("Command", bound=Callable[..., Any])
UNITS = ("g/kWh", "kg/kWh", "kg/MWh", "lb/MWh")


class Amounts(click.ParamType[dict[str, float]]):
    """Numbers by name: `wind=0.6,solar=0.4`; only known names, each once, 0 or more."""

    name = "name=number,..."

    def __init__(self, known: tuple[str, ...]) -> None:
        self.known = known

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, float]:
        """Return the numbers."""
        if isinstance(value, dict):
            return value
        found: dict[str, float] = {}
        for word in str(value).split(","):
            name, _, text = (piece.strip() for piece in word.partition("="))
            if name not in self.known or name in found:
                self.fail(f"{name!r} is not one of {', '.join(self.known)}, each once", param, ctx)
            try:
                found[name] = float(text)
            except ValueError:
                found[name] = -1.0
            if not 0 <= found[name] < 1e12:
                self.fail(f"{name} is {text!r}, wanted a number of 0 or more", param, ctx)
        return found


def signal_options(command: Command) -> Command:
    """Add `--signal F` (`signal_path`), `--time-zone Z` and `--unit U`."""
    path = click.option(
        "--signal",
        "signal_path",
        type=click.Path(path_type=Path),
        required=True,
        help="Hourly carbon intensity by zone (CSV, Parquet or JSON).",
    )
    zone = click.option(
        "--time-zone", help="The zone of a column `hour` whose times carry no offset."
    )
    unit = click.option(
        "--unit", type=click.Choice(UNITS), help="What the factors are in.  [default: g/kWh]"
    )
    return path(zone(unit(command)))


def forecast_options(command: Command) -> Command:
    """Add `--forecast F` (`forecast_path`), `--forecast-error E` (`error_ratio`), `--seed`."""
    path = click.option(
        "--forecast",
        "forecast_path",
        type=click.Path(path_type=Path),
        help="Choose on this signal, pay at --signal; same columns and hours.",
    )
    error = click.option(
        "--forecast-error",
        "error_ratio",
        type=Share(high=10.0),
        help="Choose on a signal with this normal error, such as 5%; it repeats by --seed.",
    )
    seed = click.option("--seed", type=click.IntRange(0), default=7, show_default=True)
    return path(error(seed(command)))


def forecasts_for(
    signal: "Signal",
    *,
    path: Path | None,
    error_ratio: float | None,
    seed: int,
    zone: str | None,
    unit: str | None,
) -> "tuple[Forecasts | None, str]":
    """Return what choices are made on, None for the truth itself, and how to name it."""
    if path is not None and error_ratio is not None:
        raise UsageError("give --forecast or --forecast-error, not both")
    if path is not None:
        from skerry.plan.energy.signals import read_signal

        forecast = read_signal(path, zones=signal.zones, time_zone=zone, unit=unit)
        if (forecast.start_unix_s, forecast.hours) != (signal.start_unix_s, signal.hours):
            raise UsageError(
                f"{path} covers {forecast.span()} and {signal.path} covers {signal.span()}",
                "a forecast covers the hours of the signal, no more and no fewer",
            )
        return forecast.factor, str(path)
    if error_ratio is not None:
        from skerry.plan.energy.signals import noisy

        text = f"made-up ({error_ratio:.4g} of the mean, seed {seed})"
        return noisy(signal.factor, error_ratio=error_ratio, seed=seed), text
    return None, "perfect"
