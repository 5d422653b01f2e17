"""An access log: when requests came, how many bytes went out, and how long each took.

Read are Common and Combined Log Format (Apache, nginx, and what copies them) and one JSON
object a line. Lines that cannot be read are counted and the first is kept; a file of which
more than half is bad is refused. How long a request took is read only where the log says
its unit: `rt=` or `request_time=` (seconds), a last field with three or more decimals
(nginx's `$request_time`, seconds), or any last field once the user gives its unit.

Units:   seconds since 1970-01-01 UTC; seconds; bytes sent.
Shapes:  every array is (requests,), sorted by time; NaN where a line does not say.
Limits:  64 KiB a line, 50 million lines; memory is 24 bytes a request.
Errors:  LogError.
Source:  Apache HTTP Server, "Log Files"; nginx, ngx_http_log_module.
"""

import gzip
import math
import re
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND
from skerry.plan.worth.errors import LogError

LINE_BYTES_MAX: Final = 64 * 1024
LINES_MAX: Final = 50_000_000
BAD_RATIO_MAX: Final = 0.5
_SHOWN: Final = 80
_TELL_LINES: Final = 200_000
_YEARS: Final = range(1990, 2101)
_LEAP_SECOND: Final = 60

Series = NDArray[np.float64]
Told = Callable[[float, str], None]

_QUOTED: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_LINE = re.compile(
    rb"\S+ \S+ [^\[\]]{0,512}\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):(\d\d) ([+-]\d{4})\]"
    rb" (" + _QUOTED + rb") \d{3} (\d{1,18}|-)(?: " + _QUOTED + b" " + _QUOTED + rb")?(?: (.*))?"
)
_LOCAL = re.compile(rb"(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):(\d\d) ([+-]\d{4})")
_NAMED_TIME = re.compile(rb"(?:^| )(?:rt|request_time)=\"?(\d{1,9}(?:\.\d{1,9})?)")
_LAST = re.compile(rb"(?:^| )\"?(\d{1,15}(?:\.\d{1,9})?)\"?\s*$")
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1
    )
}
UNITS_S: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

TIME_KEYS: Final = ("time", "timestamp", "@timestamp", "time_iso8601", "time_local", "ts", "msec")
"""Keys of a JSON line that hold when: ISO 8601 with an offset, seconds or
milliseconds since 1970, or nginx's `$time_local`."""
TOOK_KEYS: Final = {
    "request_time": 1.0,
    "duration_s": 1.0,
    "duration_ms": 1e-3,
    "latency_ms": 1e-3,
    "response_time_ms": 1e-3,
    "duration_us": 1e-6,
    "duration_ns": 1e-9,
}
"""Keys of a JSON line that hold how long, and seconds in one of their units."""
BYTES_KEYS: Final = ("body_bytes_sent", "bytes_sent", "bytes", "size", "response_size")
PATH_KEYS: Final = ("request_uri", "uri", "path", "url")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requests:
    """What a log or a trace says about its requests."""

    at_s: Series
    took_s: Series
    sent_bytes: Series
    recognised: str
    """What the file was taken for, in words."""
    notes: tuple[str, ...] = ()
    bad_lines: int = 0
    first_bad: str = ""
    """The number and the start of the first line that could not be read."""

    def __len__(self) -> int:
        return len(self.at_s)


def read_log(
    path: Path, *, took_unit: str = "", path_prefix: str = "", tell: Told | None = None
) -> Requests:
    """Read an access log; `took_unit` (`s`, `ms`, `us`, `ns`) is that of the last field.

    With `path_prefix` only requests whose path begins with it are taken.
    """
    try:
        size = path.stat().st_size
        reader = _Reader(str(path), UNITS_S.get(took_unit, 0.0), path_prefix.encode())
        with path.open("rb") as file, _unpacked(file) as stream:
            for row, line in enumerate(_lines(stream), start=1):
                reader.take(row, line)
                if tell is not None and row % _TELL_LINES == 0:
                    tell(file.tell() / max(size, 1), f"{row:,} lines")
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise LogError(str(path), 0, why[:200], "a file that can be read") from error
    return reader.requests()


def _unpacked(file: BinaryIO) -> BinaryIO:
    """Return the file, or what is inside where it is gzip, whatever it is called."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Give each line; one that is too long comes cut, which makes it a bad one."""
    while line := stream.readline(LINE_BYTES_MAX + 1):
        rest = line
        while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
            rest = stream.readline(LINE_BYTES_MAX + 1)
        yield line.rstrip(b"\r\n")


class _Reader:
    """One pass over a file's lines."""

    def __init__(self, path: str, last_unit_s: float, prefix: bytes) -> None:
        self._path, self._last_unit_s, self._prefix = path, last_unit_s, prefix
        self._at, self._took, self._sent = array("d"), array("d"), array("d")
        self._rows = self._bad = self._left_out = self._unnamed = 0
        self._json = False
        self._first: tuple[int, str] = (0, "")
        self._decoder = msgspec.json.Decoder()

    def take(self, row: int, line: bytes) -> None:
        """Read one line, or count it as bad; empty ones and nginx's `#` heads are neither."""
        if not line.strip() or line.startswith(b"#"):
            return
        self._rows += 1
        if self._rows > LINES_MAX:
            raise LogError(self._path, row, "more lines", f"at most {LINES_MAX:,}")
        try:
            if len(line) > LINE_BYTES_MAX:
                raise ValueError("too long")
            found = self._object(line) if line.lstrip()[:1] == b"{" else self._common(line)
        except (ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError):
            self._bad += 1
            if not self._first[0]:
                self._first = (row, repr(line[:_SHOWN].decode("utf-8", "replace")))
            return
        if found is None:
            self._left_out += 1
            return
        at_s, took_s, sent = found
        self._at.append(at_s)
        self._took.append(took_s)
        self._sent.append(sent)

    def requests(self) -> Requests:
        """Return what was read, in the order of time."""
        row, shown = self._first
        if not self._rows:
            raise LogError(self._path, 1, "no line", "an access log")
        if self._bad > self._rows * BAD_RATIO_MAX:
            wanted = "Common or Combined Log Format, or a JSON object with a time"
            raise LogError(self._path, row, f"{shown} ({self._bad} of {self._rows} lines)", wanted)
        if not self._at:
            prefix = self._prefix.decode("utf-8", "replace")
            raise LogError(self._path, 0, f"no request to {prefix!r}", "at least one")
        at_s = np.frombuffer(self._at, dtype=np.float64)
        order = np.argsort(at_s, kind="stable")
        took_s = np.frombuffer(self._took, dtype=np.float64)[order]
        kind = "JSON lines" if self._json else "Common or Combined Log Format"
        timed = f"{np.isfinite(took_s).mean():.0%} with their duration"
        return Requests(
            at_s=at_s[order],
            took_s=took_s,
            sent_bytes=np.frombuffer(self._sent, dtype=np.float64)[order],
            recognised=f"an access log in {kind}, {len(order):,} requests, {timed}",
            notes=tuple(self._notes()),
            bad_lines=self._bad,
            first_bad=f"line {row}: {shown}" if row else "",
        )

    def _notes(self) -> Iterator[str]:
        if self._bad:
            yield f"{self._bad} lines could not be read; the first: {self._first[0]}"
        if self._left_out:
            yield f"{self._left_out} requests to other paths were left out"
        if self._unnamed:
            yield (
                f"{self._unnamed} lines end with a number without a unit; if it is the request's "
                "duration, say so: --request-time us"
            )

    def _common(self, line: bytes) -> tuple[float, float, float] | None:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError("not Common Log Format")
        minute, second, offset, request, sent, tail = match.groups()
        at_s = _second_s(minute, second, offset)
        if self._prefix and not _path_of(request).startswith(self._prefix):
            return None
        took_s = self._took_of(tail) if tail else math.nan
        return at_s, took_s, math.nan if sent == b"-" else float(sent)

    def _took_of(self, tail: bytes) -> float:
        """Return how long a request took, from what stands behind the browser's name."""
        named = _NAMED_TIME.search(tail)
        if named is not None:
            return float(named[1])
        last = _LAST.search(tail)
        if last is None:
            return math.nan
        if self._last_unit_s:
            return float(last[1]) * self._last_unit_s
        if len(last[1].partition(b".")[2]) >= 3:
            return float(last[1])
        self._unnamed += 1
        return math.nan

    def _object(self, line: bytes) -> tuple[float, float, float] | None:
        fields: Any = self._decoder.decode(line)
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        self._json = True
        at_s = _when_s(next((fields[key] for key in TIME_KEYS if key in fields), None))
        if self._prefix:
            asked = next((fields[key] for key in PATH_KEYS if key in fields), "")
            if not str(asked).encode("utf-8", "replace").startswith(self._prefix):
                return None
        took_s = math.nan
        for key, unit_s in TOOK_KEYS.items():
            if key in fields:
                took_s = _count(fields[key]) * unit_s
                break
        sent = next((_count(fields[key]) for key in BYTES_KEYS if key in fields), math.nan)
        return at_s, took_s, sent


def _path_of(request: bytes) -> bytes:
    """Return the path of a request line such as `GET /path HTTP/1.1`."""
    words = request.strip(b'"').split(b" ", 2)
    return words[1] if len(words) > 1 else b""


def _second_s(minute: bytes, second: bytes, offset: bytes) -> float:
    if int(second) > _LEAP_SECOND:
        raise ValueError("a second that cannot be")
    return _minute_s(minute, offset) + int(second)


@lru_cache(maxsize=4096)
def _minute_s(minute: bytes, offset: bytes) -> float:
    """Return a minute of the log, `02/Mar/2026:13:55` and `+0100`, as seconds since 1970."""
    day, month, rest = minute.split(b"/")
    year, hour, minutes = (int(part) for part in rest.split(b":"))
    if year not in _YEARS:
        raise ValueError("a year that cannot be")
    away = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    zone = timezone(-away if offset[:1] == b"-" else away)
    if month not in _MONTHS:
        raise ValueError("not a month")
    return datetime(year, _MONTHS[month], int(day), hour, minutes, tzinfo=zone).timestamp()


def _when_s(value: object) -> float:
    """Return a JSON line's time as seconds since 1970; a time of no place is refused."""
    if isinstance(value, str):
        local = _LOCAL.fullmatch(value.encode("ascii", "replace"))
        if local is not None:
            return _second_s(*local.groups())
        try:
            value = float(value)
        except ValueError:
            at = datetime.fromisoformat(str(value))
            if at.tzinfo is None:
                raise ValueError("a time without an offset") from None
            value = at.timestamp()
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("no time")
    if value > _MS_FROM:  # a count of milliseconds reads as a year far beyond 2100
        value /= MS_PER_SECOND
    if not _FIRST_S <= value < _LAST_S:
        raise ValueError("a time that cannot be")
    return float(value)


_FIRST_S: Final = datetime(_YEARS.start, 1, 1, tzinfo=UTC).timestamp()
_LAST_S: Final = datetime(_YEARS.stop, 1, 1, tzinfo=UTC).timestamp()
_MS_FROM: Final = _LAST_S


def _count(value: object) -> float:
    """Return a number of 0 or more; NaN for an empty one."""
    if value in (None, "", "-"):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("no number")
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError("a number that cannot be")
    return number
