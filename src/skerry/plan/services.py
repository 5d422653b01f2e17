"""How long one run of a model takes, where nobody has measured it here.

Units:   milliseconds per run.
Source:  the table beside this file names one per row; a model that it does not know is
         taken to need what the router itself assumes before its first measurement.
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from skerry.base.units import MS_PER_SECOND
from skerry.route.decide import COLD_SERVICE_S
from skerry.schema.fleet import Fleet


@cache
def stated_ms() -> dict[str, float]:
    """Return the built-in service times, by model."""
    text = files("skerry.plan").joinpath("tables", "services.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["model"]: float(row["service_ms"]) for row in rows}


def services_s(fleet: Fleet, measured_ms: Mapping[str, float] | None = None) -> dict[str, float]:
    """Return every model's time of one run in seconds: measured first, then stated."""
    known = {**stated_ms(), **(measured_ms or {})}
    cold_ms = COLD_SERVICE_S * MS_PER_SECOND
    return {m.name: known.get(m.name, cold_ms) / MS_PER_SECOND for m in fleet.models}


def guessed(fleet: Fleet, measured_ms: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """Return the models whose time is in no table and was not measured."""
    known = {**stated_ms(), **(measured_ms or {})}
    return tuple(model.name for model in fleet.models if model.name not in known)
