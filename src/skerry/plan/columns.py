"""Files of input: named columns of a CSV, Parquet or JSON file, checked cell by cell.

A caller says which columns it needs and what may stand in them; the first cell that
cannot be used is named with its row and column, and nothing is guessed: a time without
an offset needs the zone it is in, and a missing value is an error unless it may be empty.

JSON is an array of records (`[{"zone": "DE", ...}, ...]`) or an object of arrays.

Units:   as each column's name says; times become seconds since 1970-01-01 UTC.
Shapes:  every array is (rows,).
Errors:  ColumnError, with file, row and column.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars
from numpy.typing import NDArray

from skerry.base.units import BYTES_PER_MIB
from skerry.plan.errors import ColumnError

FILE_BYTES_MAX: Final = 4096 * BYTES_PER_MIB
ROWS_MAX: Final = 200_000_000
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A column of numbers, each from `low` to `high`; `ascending` allows equal neighbours."""

    low: float = -math.inf
    high: float = math.inf
    ascending: bool = False
    may_be_empty: bool = False
    """An empty cell becomes NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A column of names; `one_of` lists all that may stand there."""

    one_of: frozenset[str] | None = None
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """A column of ISO 8601 times; one without an offset is in `zone`, which must be given."""

    zone: str | None = None
    ascending: bool = False


Kind = Number | Text | Time


class Columns:
    """What was read: `numbers` by column (times in seconds), `texts` by column."""

    def __init__(self, path: str, rows: int, first_row: int) -> None:
        self.path, self.rows, self._first_row = path, rows, first_row
        self.numbers: dict[str, NDArray[np.float64]] = {}
        self.texts: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return self.rows

    def error(self, index: int, column: str, found: str, wanted: str) -> ColumnError:
        """Return an error about a row, by its index in the arrays."""
        return ColumnError(self.path, index + self._first_row, column, found, wanted)


def names_of(path: Path) -> tuple[str, ...]:
    """Return the names of a file's columns."""
    return tuple(_frame(path, None)[0].columns)


def read_columns(
    path: Path, wanted: Mapping[str, Kind], *, optional: Mapping[str, Kind] | None = None
) -> Columns:
    """Read columns and check every cell; `optional` ones are read where the file has them."""
    frame, first_row = _frame(path, [*wanted, *(optional or {})])
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        found = ", ".join(names_of(path))[:120] or "no column"
        raise ColumnError(str(path), 1, missing[0], f"the file has {found}", "this column")
    if not frame.height:
        raise ColumnError(str(path), first_row, "", "no row", "at least one")
    read = Columns(str(path), frame.height, first_row)
    for name, kind in {**wanted, **(optional or {})}.items():
        if name not in frame.columns:
            continue
        series = frame[name]
        if isinstance(kind, Text):
            read.texts[name] = _texts(read, name, series, kind)
        elif isinstance(kind, Number):
            read.numbers[name] = _numbers(read, name, series, kind)
        else:
            read.numbers[name] = _times(read, name, series, kind)
    return read


def _frame(path: Path, columns: Sequence[str] | None) -> tuple[polars.DataFrame, int]:
    """Return the file as it stands (CSV: every cell is text), and the row of the first record."""
    kind = path.suffix.lower()
    try:
        if path.is_dir():
            raise ColumnError(str(path), 0, "", "a folder", _FORMATS)
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise ColumnError(str(path), 0, "", f"{size} bytes", f"at most {FILE_BYTES_MAX}")
        if not size:
            raise ColumnError(str(path), 1, "", "an empty file", "a header and rows")
        if kind == ".parquet":
            frame, first_row = polars.read_parquet(path), 1
        elif kind == ".json":
            frame, first_row = _json_frame(path), 1
        elif kind == ".csv":
            _each_once(path, _header(path))
            frame, first_row = polars.read_csv(path, infer_schema=False), 2
        else:
            raise ColumnError(str(path), 0, "", f"a {kind or 'nameless'} file", _FORMATS)
    except OSError as error:
        raise ColumnError(str(path), 0, "", error.strerror or str(error), _FORMATS) from error
    except (polars.exceptions.PolarsError, csv.Error, ValueError) as error:
        first = str(error).strip().split("\n")[0][:200]
        raise ColumnError(str(path), 0, "", first, _FORMATS) from error
    if frame.height > ROWS_MAX:
        raise ColumnError(str(path), 0, "", f"{frame.height} rows", f"at most {ROWS_MAX}")
    _each_once(path, frame.columns)
    frame = frame.rename({name: name.strip() for name in frame.columns})
    kept = frame.columns if columns is None else [c for c in frame.columns if c in columns]
    return frame.select(kept) if kept or columns is None else frame, first_row


_FORMATS: Final = "a .csv, .parquet or .json file that can be read"


def _each_once(path: Path, names: Sequence[str]) -> None:
    """Refuse a name that is there twice: which of the two counts is nobody's to guess."""
    seen: set[str] = set()
    for name in map(str.strip, names):
        if name in seen:
            raise ColumnError(str(path), 1, name, "a second time", "each name once")
        seen.add(name)


def _header(path: Path) -> list[str]:
    """Return the first row of a CSV file; polars renames a name that it has seen."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return next(csv.reader(file), [])


def _json_frame(path: Path) -> polars.DataFrame:
    import msgspec

    text = path.read_bytes()
    document: Any = msgspec.json.decode(text)

    def once(pairs: list[tuple[str, object]]) -> None:
        _each_once(path, [name for name, _ in pairs])

    json.loads(text, object_pairs_hook=once)  # msgspec takes the last of two in silence
    if isinstance(document, list) and all(isinstance(row, dict) for row in document):
        return polars.DataFrame(document, infer_schema_length=None, strict=False)
    if isinstance(document, dict) and all(isinstance(col, list) for col in document.values()):
        return polars.DataFrame(document, strict=False)
    raise ValueError("neither an array of records nor an object of arrays")


def _numbers(read: Columns, name: str, series: polars.Series, kind: Number) -> NDArray[np.float64]:
    empty = series.is_null()
    if series.dtype == polars.String:
        series = series.str.strip_chars()
        empty = empty | (series == "").fill_null(True)
    elif not series.dtype.is_numeric():
        raise read.error(0, name, f"a column of {series.dtype}", "numbers")
    values = series.cast(polars.Float64, strict=False).to_numpy().astype(np.float64)
    fits = (values >= kind.low) & (values <= kind.high) & np.isfinite(values)
    if kind.may_be_empty:
        values = np.where(empty.to_numpy(), np.nan, values)
        fits |= empty.to_numpy()
    if not fits.all():
        row = int(fits.argmin())
        raise read.error(row, name, _shown(series[row]), _between(kind))
    if kind.ascending:
        _ascends(read, name, values)
    return values


def _texts(read: Columns, name: str, series: polars.Series, kind: Text) -> list[str]:
    texts = ["" if value is None else str(value).strip() for value in series.to_list()]
    for row, text in enumerate(texts):
        if not text and not kind.may_be_empty:
            raise read.error(row, name, "an empty cell", "a name")
        if text and kind.one_of is not None and text not in kind.one_of:
            names = ", ".join(sorted(kind.one_of)[:8])
            raise read.error(row, name, _shown(text), f"one of {names}")
    return texts


def _times(read: Columns, name: str, series: polars.Series, kind: Time) -> NDArray[np.float64]:
    zone = None
    if kind.zone is not None:
        try:
            zone = ZoneInfo(kind.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ColumnError(read.path, 0, name, _shown(kind.zone), "a time zone") from error
    values = np.empty(len(series))
    for row, cell in enumerate(series.to_list()):
        try:
            at = cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell).strip())
        except ValueError:
            wanted = "an ISO 8601 time such as 2026-03-29T01:00:00Z"
            raise read.error(row, name, _shown(cell), wanted) from None
        if at.tzinfo is None:
            if zone is None:
                wanted = "an offset such as Z or +01:00, or its zone (--time-zone or --zone)"
                raise read.error(row, name, f"{_shown(cell)} without an offset", wanted)
            at = _in_zone(read, row, name, at, zone)
        values[row] = at.timestamp()
    if kind.ascending:
        _ascends(read, name, values)
    return values


def _in_zone(read: Columns, row: int, name: str, at: datetime, zone: ZoneInfo) -> datetime:
    """Place a wall-clock time in a zone; refuse the hours that clocks skip or repeat."""
    early, late = at.replace(tzinfo=zone, fold=0), at.replace(tzinfo=zone, fold=1)
    if early.utcoffset() != late.utcoffset():
        back = early.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
        what = "comes twice" if back == at else "does not exist"
        wanted = "an offset, as the clocks change here"
        raise read.error(row, name, f"{at.isoformat()} {what} in {zone.key}", wanted)
    return early


def _ascends(read: Columns, name: str, values: NDArray[np.float64]) -> None:
    falls = np.diff(values) < 0
    if falls.any():
        row = int(falls.argmax()) + 1
        found = f"{values[row]:.10g} after {values[row - 1]:.10g}"
        raise read.error(row, name, found, "rows sorted by this column")


def _shown(value: object) -> str:
    return "an empty cell" if value is None or value == "" else repr(value)[:_SHOWN]


def _between(kind: Number) -> str:
    if kind.low == -math.inf and kind.high == math.inf:
        return "a number"
    if kind.high == math.inf:
        return f"a number of {kind.low:g} or more"
    if kind.low == -math.inf:
        return f"a number of at most {kind.high:g}"
    return f"a number from {kind.low:g} to {kind.high:g}"
