"""A trace: who asked for what, when; read from a file or made for the story.

Units:   seconds from the trace's start; bytes of one request's content.
Shapes:  every array is (requests,), sorted by arrival; sites, models and classes are
         indices into the trace's own name tables.
Errors:  TraceError, or for Parquet and JSON ColumnError, with row and column, for the
         first thing that cannot be replayed.
Source:  the day's shape is a clinic's office hours and is *stated*, not measured.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import BYTES_PER_MIB, SECONDS_PER_DAY, SECONDS_PER_HOUR
from skerry.plan.columns import Number, Text, read_columns
from skerry.plan.errors import NothingToPlanError, TraceError
from skerry.schema.fleet import Fleet, Kind, Site

COLUMNS: Final = ("arrival_s", "site", "model", "data_class", "bytes")
FILE_BYTES_MAX: Final = 256 * BYTES_PER_MIB
REQUESTS_MAX: Final = 2_000_000
SPAN_S_MAX: Final = 366 * SECONDS_PER_DAY
CONTENT_BYTES_MAX: Final = 1024 * BYTES_PER_MIB
STORY_BYTES: Final = 8_400
"""One document of the story: 2,048 int32 values and the request's head. Stated."""
DEFAULT_CLASS_SHARE: Final = 0.9
"""Requests of a model's first data class; the others share the rest. Stated."""
_HOUR_WEIGHTS: Final = np.array(
    [1, 1, 1, 1, 1, 2, 6, 20, 60, 90, 100, 95, 70, 85, 95, 90, 70, 40, 20, 10, 6, 4, 2, 1],
    dtype=np.float64,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Requests in the order they arrive."""

    source: str
    span_s: float
    sites: tuple[str, ...]
    models: tuple[str, ...]
    data_classes: tuple[str, ...]
    arrival_s: NDArray[np.float64]
    site: NDArray[np.int64]
    model: NDArray[np.int64]
    data_class: NDArray[np.int64]
    content_bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.arrival_s)


def asking_sites(fleet: Fleet) -> tuple[Site, ...]:
    """Return the sites where people are: edge and onprem ones with at least one node."""
    return tuple(
        site for site in fleet.sites if site.kind in (Kind.EDGE, Kind.ONPREM) and site.nodes
    )


def story_trace(fleet: Fleet, *, requests: int, seed: int) -> Trace:
    """Make one day of requests in office hours, spread over sites by their nodes."""
    sites = asking_sites(fleet)
    standins = {model.standin for model in fleet.models}
    models = [m for m in fleet.models if m.name not in standins and m.data_classes]
    if not sites or not models:
        missing = "no model with a data class" if sites else "no edge or onprem site with a node"
        raise NothingToPlanError(fleet.name, missing)
    rng = np.random.default_rng(seed)
    classes = sorted({name for model in models for name in model.data_classes})
    hours = rng.choice(24, size=requests, p=_HOUR_WEIGHTS / _HOUR_WEIGHTS.sum())
    arrival_s = np.sort((hours + rng.random(requests)) * SECONDS_PER_HOUR)
    weights = np.array([site.nodes for site in sites], dtype=np.float64)
    model = rng.integers(0, len(models), size=requests)
    data_class = np.empty(requests, dtype=np.int64)
    for index, one in enumerate(models):
        own = np.array([classes.index(name) for name in one.data_classes])
        first = rng.random(requests) < DEFAULT_CLASS_SHARE
        later = own[rng.integers(1 if len(own) > 1 else 0, len(own), size=requests)]
        data_class = np.where(model == index, np.where(first, own[0], later), data_class)
    return Trace(
        source=f"stated: one day of {requests} requests in office hours, seed {seed}",
        span_s=float(SECONDS_PER_DAY),
        sites=tuple(site.name for site in sites),
        models=tuple(one.name for one in models),
        data_classes=tuple(classes),
        arrival_s=arrival_s,
        site=rng.choice(len(sites), size=requests, p=weights / weights.sum()).astype(np.int64),
        model=model.astype(np.int64),
        data_class=data_class,
        content_bytes=np.full(requests, STORY_BYTES, dtype=np.int64),
    )


def read_trace(path: Path, fleet: Fleet) -> Trace:
    """Read a trace (CSV, Parquet or JSON) and check every value of it against the fleet."""
    if path.suffix.lower() in (".parquet", ".json"):
        return _read_table(path, fleet)
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise TraceError(str(path), 0, "", f"{size} bytes", f"at most {FILE_BYTES_MAX}")
        with path.open(encoding="utf-8", newline="") as file:
            return _Reader(str(path), fleet).read(_numbered(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise TraceError(str(path), 0, "", found, "a CSV file in UTF-8") from error


def _read_table(path: Path, fleet: Fleet) -> Trace:
    """Read a trace whose file names its columns; raises `ColumnError` with row and column."""
    names = {
        "site": tuple(site.name for site in fleet.sites),
        "model": tuple(model.name for model in fleet.models),
        "data_class": tuple(sorted(fleet.data_classes)),
    }
    read = read_columns(
        path,
        {
            "arrival_s": Number(low=0, high=SPAN_S_MAX, ascending=True),
            **{column: Text(one_of=frozenset(known)) for column, known in names.items()},
            "bytes": Number(low=0, high=CONTENT_BYTES_MAX),
        },
    )
    if len(read) > REQUESTS_MAX:
        raise TraceError(str(path), 0, "", f"{len(read)} rows", f"at most {REQUESTS_MAX}")
    places = {}
    for column, known in names.items():
        index = {name: place for place, name in enumerate(known)}
        places[column] = np.array([index[text] for text in read.texts[column]], dtype=np.int64)
    arrival_s = read.numbers["arrival_s"]
    return Trace(
        source=f"trace {path}",
        span_s=max(float(arrival_s[-1]), 1.0),
        sites=names["site"],
        models=names["model"],
        data_classes=names["data_class"],
        arrival_s=arrival_s,
        site=places["site"],
        model=places["model"],
        data_class=places["data_class"],
        content_bytes=read.numbers["bytes"].astype(np.int64),
    )


def _numbered(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Give each row with the line of the file it ends on, as an editor counts."""
    reader = csv.reader(file)
    for cells in reader:
        yield reader.line_num, cells


class _Reader:
    """One pass over a file's rows."""

    def __init__(self, path: str, fleet: Fleet) -> None:
        self._path = path
        sites = tuple(site.name for site in fleet.sites)
        models = tuple(model.name for model in fleet.models)
        classes = tuple(sorted(fleet.data_classes))
        self._names = {"site": sites, "model": models, "data_class": classes}
        self._places = {
            column: {name: index for index, name in enumerate(names)}
            for column, names in self._names.items()
        }

    def read(self, rows: Iterator[tuple[int, list[str]]]) -> Trace:
        _, first = next(rows, (1, []))
        head = tuple(cell.strip() for cell in first)
        if head != COLUMNS:
            found = ",".join(head)[:80] or "an empty file"
            raise TraceError(self._path, 1, "", found, ",".join(COLUMNS))
        table: list[tuple[float, int, int, int, int]] = []
        before_s = 0.0
        for row, cells in rows:
            if not cells:
                continue
            if len(table) >= REQUESTS_MAX:
                raise TraceError(self._path, row, "", "more rows", f"at most {REQUESTS_MAX}")
            if len(cells) != len(COLUMNS):
                wanted = f"{len(COLUMNS)} columns"
                raise TraceError(self._path, row, "", f"{len(cells)} columns", wanted)
            arrival_s = self._number(row, "arrival_s", cells[0], SPAN_S_MAX)
            if arrival_s < before_s:
                wanted = f"{before_s:g} or later, as rows are sorted by arrival"
                raise TraceError(self._path, row, "arrival_s", cells[0], wanted)
            before_s = arrival_s
            table.append(
                (
                    arrival_s,
                    self._named(row, "site", cells[1]),
                    self._named(row, "model", cells[2]),
                    self._named(row, "data_class", cells[3]),
                    int(self._number(row, "bytes", cells[4], CONTENT_BYTES_MAX)),
                )
            )
        if not table:
            raise TraceError(self._path, 2, "", "no row", "at least one request")
        arrival, site, model, data_class, content = zip(*table, strict=True)
        return Trace(
            source=f"trace {self._path}",
            span_s=max(before_s, 1.0),
            sites=self._names["site"],
            models=self._names["model"],
            data_classes=self._names["data_class"],
            arrival_s=np.array(arrival),
            site=np.array(site),
            model=np.array(model),
            data_class=np.array(data_class),
            content_bytes=np.array(content),
        )

    def _number(self, row: int, column: str, cell: str, most: float) -> float:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:
            raise TraceError(self._path, row, column, repr(cell[:40]), f"a number from 0 to {most}")
        return value

    def _named(self, row: int, column: str, cell: str) -> int:
        place = self._places[column].get(cell.strip())
        if place is None:
            names = ", ".join(self._names[column][:8])
            raise TraceError(self._path, row, column, repr(cell[:40]), f"one of {names}")
        return place
