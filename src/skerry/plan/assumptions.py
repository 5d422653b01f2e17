"""Assumptions of a plan: shipped tables, and what the user puts in their place.

A table is CSV with the columns name, value, low, high, unit, level, source and as_of; the
shipped ones lie in `plan/tables`. The user replaces a value with `--set NAME=VALUE` or
`--set NAME=LOW..VALUE..HIGH`, or whole rows with a file of the same columns (`--assume`).

Errors:  AssumptionError, for a name that no table has or a value that cannot be.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from skerry.base.units import BYTES_PER_MIB
from skerry.plan.errors import AssumptionError
from skerry.schema.assumption import Assumption
from skerry.schema.goal import Level

COLUMNS: Final = ("name", "value", "low", "high", "unit", "level", "source", "as_of")
FILE_BYTES_MAX: Final = BYTES_PER_MIB
_SET = "NAME=VALUE or NAME=LOW..VALUE..HIGH"


class Assumptions(Mapping[str, float]):
    """Named values, which remember where each came from and which of them were used."""

    def __init__(self, rows: Iterable[Assumption]) -> None:
        self._rows = {row.name: row for row in rows}
        self._used: dict[str, None] = {}

    def __getitem__(self, name: str) -> float:
        """Return a value and note that it was used."""
        row = self._rows[name]
        self._used[name] = None
        return row.value

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, name: str) -> Assumption:
        """Return a value with its range and source, and note that it was used."""
        self._used[name] = None
        return self._rows[name]

    def all(self) -> tuple[Assumption, ...]:
        """Return every row, and note none of them as used."""
        return tuple(self._rows.values())

    def used(self) -> tuple[Assumption, ...]:
        """Return what was used so far, in the order it was first asked for."""
        return tuple(self._rows[name] for name in self._used)

    def with_row(self, row: Assumption) -> "Assumptions":
        """Return the same with one row in place of that of the same name."""
        return Assumptions({**self._rows, row.name: row}.values())

    def with_value(self, name: str, value: float) -> "Assumptions":
        """Return the same with one value changed, its range and source kept."""
        rows = {**self._rows, name: msgspec.structs.replace(self._rows[name], value=value)}
        return Assumptions(rows.values())


def shipped(*tables: str) -> list[Assumption]:
    """Return the rows of shipped tables (names without `.csv`)."""
    found: list[Assumption] = []
    for table in tables:
        path = files("skerry.plan").joinpath("tables", f"{table}.csv")
        found.extend(_rows(path.read_text("utf-8"), f"skerry.plan/tables/{table}.csv"))
    return found


def assumptions(
    *tables: str, path: Path | None = None, settings: Iterable[str] = ()
) -> Assumptions:
    """Return shipped tables with the user's own rows and settings in place of theirs."""
    rows = {row.name: row for row in shipped(*tables)}
    if path is not None:
        for row in _rows(_text(path), str(path)):
            if row.name not in rows:
                raise AssumptionError(str(path), row.name, "is not an input of this plan", rows)
            rows[row.name] = row
    for setting in settings:
        name, _, text = setting.partition("=")
        name = name.strip()
        if name not in rows:
            raise AssumptionError("--set", name, "is not an input of this plan", rows)
        rows[name] = _set(rows[name], text)
    return Assumptions(rows.values())


def _set(row: Assumption, text: str) -> Assumption:
    words = text.split("..")
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    if len(values) != 3 or not values[0] <= values[1] <= values[2] or not _finite(values):
        raise AssumptionError("--set", row.name, f"cannot be {text[:60]!r}, wanted {_SET}", ())
    low, value, high = values
    return msgspec.structs.replace(
        row, value=value, low=low, high=high, level=Level.STATED, source="--set"
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise AssumptionError(str(path), "", f"is larger than {FILE_BYTES_MAX} bytes", ())
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise AssumptionError(str(path), "", f"cannot be read: {why}", ()) from error


def _rows(text: str, where: str) -> Iterator[Assumption]:
    reader = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        found = ",".join(reader.fieldnames or ())[:80]
        raise AssumptionError(where, "", f"has the columns {found!r}, wanted {COLUMNS}", ())
    for cells in reader:
        name = cells["name"]
        try:
            row = Assumption(
                name=name,
                value=float(cells["value"]),
                low=float(cells["low"] or cells["value"]),
                high=float(cells["high"] or cells["value"]),
                unit=cells["unit"],
                level=Level(cells["level"]),
                source=cells["source"],
                as_of=cells["as_of"],
            )
        except (TypeError, ValueError) as error:
            raise AssumptionError(where, name or "a row", str(error), ()) from error
        if not _finite((row.low, row.value, row.high)) or not row.low <= row.value <= row.high:
            why = f"is {row.value:g} in {row.low:g} to {row.high:g}, wanted low <= value <= high"
            raise AssumptionError(where, name, why, ())
        yield row


def _finite(values: Iterable[float]) -> bool:
    return all(map(math.isfinite, values))
