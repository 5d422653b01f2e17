"""Work to size for: when each request of a trace arrives, and how long its service takes.

Units:   seconds; arrivals count from the first request, `start_unix_s` says when that was
         where the trace has timestamps.
Shapes:  every array is (requests,), in order of arrival.
Errors:  ColumnError, with row and column; ExpressionError, for the service time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.expression import Expression
from skerry.plan.columns import Columns, Kind, Number, Text, Time, read_columns
from skerry.schema.run_figures import RunFigures

Series = NDArray[np.float64]

SERVICE_S_MIN: Final = 1e-6
"""What takes no time needs no server; and an end must differ from its beginning in a float."""
SERVICE_S_MAX: Final = 30 * 86_400.0
SPAN_S_MAX: Final = 10 * 366 * 86_400.0
ARRIVAL_COLUMN: Final = "arrival_s"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """Requests: when they come, and how long one server is busy with each."""

    source: str
    arrival_s: Series
    service_s: Series
    start_unix_s: float | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def span_s(self) -> float:
        """Return the time from the first arrival to the last."""
        return float(self.arrival_s[-1])

    @property
    def load_erlang(self) -> float:
        """Return the offered load: how many servers would be busy on average."""
        return float(self.service_s.sum()) / self.span_s if self.span_s else float("inf")

    def faster(self, factor: float) -> "Work":
        """Return the same requests coming `factor` times as fast."""
        return Work(
            source=self.source,
            arrival_s=self.arrival_s / factor,
            service_s=self.service_s,
            start_unix_s=self.start_unix_s,
        )

    def part(self, first: int, last: int, source: str) -> "Work":
        """Return the requests from `first` up to, not including, `last`, as a trace."""
        begins_s = float(self.arrival_s[first])
        return Work(
            source=source,
            arrival_s=self.arrival_s[first:last] - begins_s,
            service_s=self.service_s[first:last],
            start_unix_s=None if self.start_unix_s is None else self.start_unix_s + begins_s,
        )


def service_of(text: str | None, run: RunFigures | None, model: str | None) -> Expression:
    """Return the time one server needs: an expression, or what a run measured of a model."""
    if run is None:
        if text is None:
            raise CapacityError("no service time is given", "add --service EXPR")
        return Expression(text)
    if text is not None:
        raise CapacityError("a service time comes from --service or from --from-run", "drop one")
    if model not in run.service_ms:
        known = ", ".join(run.service_ms) or "none"
        raise CapacityError(f"the run has no service time of {model!r}", f"--model: {known}")
    return Expression(repr(run.service_ms[model] / MS_PER_SECOND))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of requests, and how its arrivals are written.

    `arrival` is a column of seconds (numbers) or of timestamps (ISO 8601); timestamps
    without an offset are in `zone`, which must be given for them.
    """

    trace: Path
    arrival: str = ARRIVAL_COLUMN
    zone: str | None = None


def read_work(
    source: Source, service: Expression, others: Mapping[str, Kind] | None = None
) -> tuple[Work, Columns]:
    """Read a trace, and other columns of it, with the time that each request needs."""
    columns, at_s, start_unix_s = read_arrivals(source, service, others or {})
    service_s = service(named(columns, service))
    check_times(columns, service_s, f"the service time {service.text}")
    work = Work(
        source=str(source.trace), arrival_s=at_s, service_s=service_s, start_unix_s=start_unix_s
    )
    return work, columns


def read_arrivals(
    source: Source, expression: Expression, others: Mapping[str, Kind]
) -> tuple[Columns, Series, float | None]:
    """Read arrivals, the columns of an expression, and others.

    Return the columns, seconds since the first arrival, and when that was if it is known.
    """
    path, arrival = source.trace, source.arrival
    kinds: dict[str, Kind] = {name: Number() for name in expression.columns if name != arrival}
    kinds |= others
    stamped = source.zone is not None or not _is_number(path, arrival)
    seconds = Number(low=0, high=SPAN_S_MAX, ascending=True)
    kind: Kind = Time(zone=source.zone, ascending=True) if stamped else seconds
    columns = read_columns(path, {arrival: kind, **kinds})
    at_s = columns.numbers[arrival]
    return columns, at_s - at_s[0], float(at_s[0]) if stamped else None


def named(columns: Columns, expression: Expression) -> dict[str, Series]:
    """Return the columns an expression may use, at least one, so that constants have a length."""
    names = expression.columns or tuple(columns.numbers)[:1]
    return {name: columns.numbers[name] for name in names}


def check_times(columns: Columns, values: Series, what: str) -> None:
    """Refuse the first row whose computed time is not a number of seconds that can be."""
    fits = (values >= SERVICE_S_MIN) & (values <= SERVICE_S_MAX)  # NaN fits neither
    if not fits.all():
        row = int(fits.argmin())
        wanted = f"{SERVICE_S_MIN:g} to {SERVICE_S_MAX:g} s"
        raise columns.error(row, "", f"{what} is {values[row]:g} s", wanted)


def _is_number(path: Path, column: str) -> bool:
    """Tell whether the first cell of a column is a number (of seconds).

    Only the head of the file is read; what is wrong with the file, `read_columns` says.
    """
    try:
        if path.suffix.lower() == ".csv":
            head = polars.read_csv(path, n_rows=1, infer_schema=False)
        elif path.suffix.lower() == ".parquet":
            head = polars.read_parquet(path, n_rows=1)
        else:
            return _reads(read_columns(path, {column: Text(may_be_empty=True)}).texts[column][0])
    except (OSError, polars.exceptions.PolarsError):
        return True
    head = head.rename({name: name.strip() for name in head.columns})
    return column not in head.columns or not head.height or _reads(head[column][0])


def _reads(cell: object) -> bool:
    """Tell whether a cell is empty or a number."""
    try:
        return cell is None or not math.isnan(float(str(cell) or "0"))
    except ValueError:
        return False
