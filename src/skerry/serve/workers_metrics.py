"""The numbers of several workers as those of one server.

Each worker is asked for its own page; counters and histograms are added up, gauges keep a
row per worker, told apart by the label `worker`. A worker that is started again counts
from 0: what it had counted before, as last seen, stays in the sums, so that they never
fall and a rate over them stays true.

Units:   as the page of a worker has them.
Errors:  PageError, for a page that no worker writes.
Source:  the Prometheus text format 0.0.4, in the part of it that `serve.metrics` writes.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from skerry.base.drive import in_task
from skerry.base.errors import SkerryError
from skerry.schema.oip_errors import shown
from skerry.serve.errors import HttpError, ServeError
from skerry.serve.http_message import HttpReply, HttpRequest, need_method
from skerry.serve.workers_plan import Asked

PAGE_BYTES_MAX = 8 * 1024 * 1024
ROWS_MAX = 100_000
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_HELP = re.compile(rf"# HELP ({_NAME}) (.*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram)")
_LABEL = rf"{_NAME}=\"(?:[^\"\\]|\\.)*\""
_ROW = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)")
_PARTS = {"histogram": ("_bucket", "_sum", "_count")}

Rows = dict[tuple[str, str], float]
"""Name and labels, as text, to value; in the order of the page."""


class PageError(ServeError):
    """A worker's page of metrics cannot be read; its numbers are left out."""

    code = "E0451"

    def __init__(self, what: str, found: str, wanted: str) -> None:
        super().__init__(what, found, wanted)
        self.what, self.found, self.wanted = what, found, wanted

    def __str__(self) -> str:
        return f"{self.what} is {self.found}, wanted {self.wanted}"


@dataclass(slots=True)
class Family:
    """One metric: what it is, and its rows."""

    name: str
    kind: str
    help_text: str
    rows: Rows = field(default_factory=dict)


Page = dict[str, Family]


def parse_page(page: bytes) -> Page:
    """Read a page; whatever a worker does not write is refused."""
    if len(page) > PAGE_BYTES_MAX:
        raise PageError("a page of metrics", f"{len(page)} bytes", f"at most {PAGE_BYTES_MAX}")
    lines = page.decode(errors="replace").splitlines()
    if len(lines) > ROWS_MAX:
        raise PageError("a page of metrics", f"{len(lines)} lines", f"at most {ROWS_MAX}")
    families: Page = {}
    helps: dict[str, str] = {}
    family: Family | None = None
    for line in lines:
        if (found := _HELP.fullmatch(line)) is not None:
            helps[found[1]] = found[2]
        elif (found := _TYPE.fullmatch(line)) is not None:
            name, kind = found[1], found[2]
            if name in families:
                raise PageError("a metric", f"{shown(name)} twice", "each once")
            family = families[name] = Family(name, kind, helps.get(name, ""))
        else:
            _take_row(family, line)
    return families


def _take_row(family: Family | None, line: str) -> None:
    found = _ROW.fullmatch(line)
    if found is None or family is None:
        raise PageError("a line of metrics", shown(line[:200]), "a row below its TYPE")
    if found[1] not in (family.name + part for part in _PARTS.get(family.kind, ("",))):
        raise PageError("a row", shown(found[1]), f"one of {family.name}")
    try:
        value = float(found[3])
    except ValueError:
        raise PageError("a value", shown(found[3][:80]), "a number") from None
    key = (found[1], found[2] or "")
    if key in family.rows:
        raise PageError("a row", f"{shown(line[:200])} again", "each once")
    family.rows[key] = value


class Totals:
    """The pages of workers that come and go, added up."""

    def __init__(self) -> None:
        self._ended: Page = {}
        """What lives that have ended had counted."""
        self._latest: dict[int, tuple[int, Page]] = {}

    def take(self, index: int, life: int, page: Page) -> None:
        """Take the page of a worker; a new `life` counts from 0."""
        known = self._latest.get(index)
        if known is not None and known[0] != life:
            _add(self._ended, known[1].values())
        self._latest[index] = (life, page)

    def text(self, up: Mapping[int, int]) -> bytes:
        """Return the sums, and gauges of those that are `up`: index to life."""
        whole: Page = {}
        _add(whole, self._ended.values())
        for index, (life, page) in sorted(self._latest.items()):
            _add(whole, page.values())
            if up.get(index) != life:
                continue
            for family in page.values():
                if family.kind == "gauge":
                    _merge_gauge(whole, family, index)
        lines: list[str] = []
        for family in whole.values():
            lines.append(f"# HELP {family.name} {family.help_text}")
            lines.append(f"# TYPE {family.name} {family.kind}")
            for (name, labels), value in family.rows.items():
                inside = f"{{{labels}}}" if labels else ""
                lines.append(f"{name}{inside} {value:.10g}")
        return ("\n".join(lines) + "\n").encode() if lines else b""


def _add(sums: Page, families: Iterable[Family]) -> None:
    """Add what counts."""
    for family in families:
        if family.kind == "gauge":
            continue
        rows = _same(sums, family).rows
        for key, value in family.rows.items():
            rows[key] = rows.get(key, 0.0) + value


def _merge_gauge(whole: Page, family: Family, index: int) -> None:
    rows = _same(whole, family).rows
    for (name, labels), value in family.rows.items():
        rows[name, f'worker="{index}"' + (f",{labels}" if labels else "")] = value


def _same(page: Page, family: Family) -> Family:
    """Return the family of that name, made where there is none."""
    return page.setdefault(family.name, Family(family.name, family.kind, family.help_text))


class WorkersPage:
    """The handler of the metrics door of several workers: `GET /metrics`."""

    def __init__(self, workers: Callable[[], Sequence[Asked]]) -> None:
        self._workers = workers
        self._totals = Totals()
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, request: HttpRequest) -> HttpReply:
        """Answer one scrape."""
        if request.path != "/metrics":
            raise HttpError(404, "metrics are at /metrics")
        need_method(request, "GET")
        await in_task()
        async with self._one_at_a_time:
            workers = self._workers()
            up = dict(zip(workers, await asyncio.gather(*map(self._ask, workers)), strict=True))
        lives = {worker.index: worker.life for worker, answers in up.items() if answers}
        text = self._totals.text(lives) + _own_rows(up)
        return HttpReply(content_type=_PROMETHEUS, body=[text])

    async def _ask(self, worker: Asked) -> bool:
        try:
            page = parse_page(await worker.page())
        except (SkerryError, TimeoutError, OSError):
            return False
        self._totals.take(worker.index, worker.life, page)
        return True


def _own_rows(up: Mapping[Asked, bool]) -> bytes:
    lines = ["# HELP skerry_worker_up 1 where a worker answers.", "# TYPE skerry_worker_up gauge"]
    lines += [
        f'skerry_worker_up{{worker="{one.index}"}} {int(answers)}' for one, answers in up.items()
    ]
    name = "skerry_worker_starts_total"
    lines += [f"# HELP {name} How often a worker was started.", f"# TYPE {name} counter"]
    lines += [f'{name}{{worker="{one.index}"}} {one.life}' for one in up]
    return ("\n".join(lines) + "\n").encode()
