"""What a placement has to know of models and machines that no fleet file says.

`--models FILE` has a row per model: model, size_mib, accuracy_ratio, accuracy_least_ratio,
updates_per_month; an empty cell is not known. `--memory MACHINE=GIB` says what a machine
holds. What is not known is not judged, and the report says so.

Units:   MiB, GiB, ratios 0 to 1, updates a month.
Errors:  ColumnError, for a cell or a model that the fleet has not; UsageError.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from skerry.base.errors import UsageError
from skerry.plan.columns import Number, Text, read_columns
from skerry.schema.fleet import Fleet

_SIZE = Number(low=0, may_be_empty=True)
_RATIO = Number(low=0, high=1, may_be_empty=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One model's figures; NaN where nobody said."""

    size_mib: float = math.nan
    accuracy_ratio: float = math.nan
    accuracy_least_ratio: float = math.nan
    updates_per_month: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All models and machines."""

    models: dict[str, ModelFacts]
    memory_gib: dict[str, float]

    def model(self, name: str) -> ModelFacts:
        """Return what is known of a model."""
        return self.models.get(name, ModelFacts())

    def memory_of(self, machine: str) -> float:
        """Return a machine's memory in GiB; NaN where it is not known."""
        return self.memory_gib.get(machine, math.nan)


def read_facts(fleet: Fleet, path: Path | None, memory: Iterable[str]) -> Facts:
    """Read the models' file and the machines' settings."""
    return Facts(
        models={} if path is None else _models(fleet, path),
        memory_gib={**_builtin(), **dict(_memory(fleet, one) for one in memory)},
    )


def _models(fleet: Fleet, path: Path) -> dict[str, ModelFacts]:
    known = frozenset(model.name for model in fleet.models)
    read = read_columns(
        path,
        {"model": Text(one_of=known)},
        optional={
            "size_mib": _SIZE,
            "accuracy_ratio": _RATIO,
            "accuracy_least_ratio": _RATIO,
            "updates_per_month": _SIZE,
        },
    )
    found: dict[str, ModelFacts] = {}
    for row, name in enumerate(read.texts["model"]):
        if name in found:
            raise read.error(row, "model", f"{name!r} a second time", "each model once")
        found[name] = ModelFacts(
            **{column: float(values[row]) for column, values in read.numbers.items()}
        )
    return found


def _memory(fleet: Fleet, text: str) -> tuple[str, float]:
    name, _, size = text.partition("=")
    machines = {tier.machine.name for tier in fleet.tiers.values()}
    try:
        gib = float(size)
    except ValueError:
        gib = math.nan
    if name not in machines or not 0 < gib < math.inf:
        known = ", ".join(sorted(machines))
        raise UsageError(f"--memory {text[:60]!r}", f"a machine ({known}), =, and GiB above 0")
    return name, gib


@cache
def _builtin() -> dict[str, float]:
    text = files("skerry.plan").joinpath("tables", "machine_memory.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["name"]: float(row["memory_gib"]) for row in rows}
