"""The options of every verb that reads a carbon signal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
UNITS = ("g/kWh", "kg/kWh", "kg/MWh", "lb/MWh")


class Ratio(click.ParamType[float]):
    """A share: `5%` or `0.05`."""

    name = "share"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the fraction."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 10:
            self.fail(f"{text!r} is no share such as 5% or 0.05", param, ctx)
        return number


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
