"""One file of the user's, and what it turned out to be: a log, a trace or a bill.

A table (`.csv`, `.parquet`, `.json`) is told by its columns: those of a cloud bill, or
`arrival_s` for a trace of requests. Anything else is read as an access log, line by line.
Nothing is guessed from values; `recognised` says what was found.

Units:   seconds; bytes; tokens.
Shapes:  every array is (requests,), sorted by time.
Errors:  ColumnError, LogError, WorthError.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND
from skerry.plan.columns import Number, names_of, read_columns
from skerry.plan.errors import ColumnError
from skerry.plan.worth.access_log import LINE_BYTES_MAX, Requests, Told, read_log
from skerry.plan.worth.cloud_bill import FORMATS, CloudBill, format_of, read_bill
from skerry.plan.worth.errors import WorthError

Series = NDArray[np.float64]
TABLES: Final = frozenset({".csv", ".parquet", ".json"})
_COUNT: Final = Number(low=0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Usage:
    """What was found: requests, or a bill. Tokens are there for traces of language models."""

    path: str
    recognised: str
    requests: Requests | None = None
    bill: CloudBill | None = None
    context_tokens: Series | None = None
    generated_tokens: Series | None = None
    times_are_service: bool = False
    """Whether durations are work alone, as in a trace, or hold waits too, as in a log."""
    notes: tuple[str, ...] = ()


def read_usage(
    path: Path,
    *,
    took_unit: str = "",
    path_prefix: str = "",
    usd_per_unit: float | None = None,
    tell: Told | None = None,
) -> Usage:
    """Read a file as what its columns or its lines say it is."""
    if path.suffix.lower() in TABLES and not _is_lines(path):
        names = names_of(path)
        form = format_of(names)
        if form is not None:
            bill = read_bill(path, form, usd_per_unit=usd_per_unit)
            return Usage(path=str(path), recognised=bill.recognised, bill=bill, notes=bill.notes)
        if "arrival_s" in names:
            return _trace(path)
        known = "; ".join(f"{one.cost}, {one.start} ({one.name})" for one in FORMATS)
        found = f"the columns {', '.join(names)[:160]!r}"
        raise ColumnError(str(path), 1, "", found, f"arrival_s (a trace); {known}")
    if path.suffix.lower() == ".gz" and path.with_suffix("").suffix.lower() in TABLES:
        raise WorthError(str(path), "a packed table", f"unpack it first: gunzip -k {path.name}")
    log = read_log(path, took_unit=took_unit, path_prefix=path_prefix, tell=tell)
    return Usage(path=str(path), recognised=log.recognised, requests=log, notes=log.notes)


def without_durations(usage: Usage) -> Usage:
    """Return a log's usage without its durations, where measured work takes their place.

    Durations of a log hold waits; a trace's are work, and each request's own: they stay.
    """
    if usage.requests is None or usage.times_are_service:
        return usage
    unknown = np.full(len(usage.requests), np.nan)
    note = "the run's service times take the place of the log's durations"
    return replace(
        usage, requests=replace(usage.requests, took_s=unknown), notes=(*usage.notes, note)
    )


def _is_lines(path: Path) -> bool:
    """Tell whether a `.json` file is one object a line, which makes it a log."""
    if path.suffix.lower() != ".json":
        return False
    try:
        with path.open("rb") as file:
            first: object = msgspec.json.decode(file.readline(LINE_BYTES_MAX))
    except (OSError, msgspec.MsgspecError, RecursionError):
        return False
    return isinstance(first, dict) and not all(isinstance(one, list) for one in first.values())


def _trace(path: Path) -> Usage:
    read = read_columns(
        path,
        {"arrival_s": Number(low=0, ascending=True)},
        optional={
            "bytes": _COUNT,
            "service_s": _COUNT,
            "service_ms": _COUNT,
            "context_tokens": _COUNT,
            "generated_tokens": _COUNT,
        },
    )
    numbers, empty = read.numbers, np.full(len(read), np.nan)
    took_s = numbers.get("service_s", empty)
    if "service_ms" in numbers:
        took_s = numbers["service_ms"] / MS_PER_SECOND
    requests = Requests(
        at_s=numbers["arrival_s"],
        took_s=took_s,
        sent_bytes=numbers.get("bytes", empty),
        recognised=f"a trace of {len(read):,} requests ({', '.join(numbers)})",
    )
    return Usage(
        path=str(path),
        recognised=requests.recognised,
        requests=requests,
        context_tokens=numbers.get("context_tokens"),
        generated_tokens=numbers.get("generated_tokens"),
        times_are_service=True,
    )
