"""Charts as SVG text: a line with marks, bars, and a dot plot with intervals.

Colours come from the page's own CSS variables, so a chart follows light, dark and print;
shapes tell series apart, so it reads in grey. Each chart says in `<title>` what it
shows; the page puts the table with the same figures beside it.

Units:   those of the values; pixels of the view box, which scales with its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_LINE_W, _LINE_H = 720, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 26, 44
_BAR_W, _BAR_ROW_H, _BAR_LEFT, _BAR_RIGHT = 720, 34, 170, 92
_NAME_LEN_MAX = 24
_STRIP_W, _STRIP_H = 240, 30
_MARKS_MAX = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One figure on a strip: `shape` is `dot`, `ring` or `square`."""

    name: str
    value: float
    low: float
    high: float
    shape: str


def line_chart(
    points: Sequence[tuple[float, float]],
    *,
    title: str,
    x_unit: str,
    y_unit: str,
    limit: float | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Return a line over time, with its limit and numbered marks; empty without points."""
    if not points:
        return ""
    marks = list(marks)[:_MARKS_MAX]
    x_most = max(max(x for x, _ in points), max((x for x, _ in marks), default=0.0), 1e-9)
    ticks = nice_ticks(max(max(y for _, y in points), limit or 0.0) * 1.08)
    width, height = _LINE_W - _LEFT - _RIGHT, _LINE_H - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + width * x / x_most, _TOP + height * (1 - min(y / ticks[-1], 1.0))

    parts = []
    for tick in ticks:
        _, y = place(0, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_LINE_W - _RIGHT}" {_ys(y, y)}/>')
        parts.append(mark_text(_LEFT - 8, y + 4, number(tick), "end"))
    for tick in nice_ticks(x_most):
        if tick <= x_most:
            x, _ = place(tick, 0)
            parts.append(mark_text(x, _LINE_H - 24, number(tick), "middle"))
    parts.append(mark_text(_LINE_W - _RIGHT, _LINE_H - 6, x_unit, "end", "unit"))
    parts.append(mark_text(_LEFT - 8, 12, y_unit, "end", "unit"))
    for index, (x_value, _) in enumerate(marks, start=1):
        x, _ = place(x_value, 0)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" {_ys(_TOP, _TOP + height)}/>')
        parts.append(mark_text(x, _TOP - 6, str(index), "middle", "markno"))
    if limit is not None:
        _, y = place(0, limit)
        parts.append(f'<line class="limit" x1="{_LEFT}" x2="{_LINE_W - _RIGHT}" {_ys(y, y)}/>')
        words = f"goal {number(limit)} {y_unit}"
        parts.append(mark_text(_LINE_W - _RIGHT, y - 5, words, "end", "limitword"))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    parts.append(f'<polyline class="series" points="{path}"/>')
    if len(points) == 1:
        x, y = place(*points[0])
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    return mark_svg(_LINE_W, _LINE_H, title, parts)


def bar_chart(
    rows: Sequence[tuple[str, float | None]],
    *,
    title: str,
    unit: str,
    limit: float | None = None,
) -> str:
    """Return horizontal bars from 0, each with its value in words; None draws no bar."""
    values = [value for _, value in rows if value is not None]
    if not values:
        return ""
    most = max(max(values), limit or 0.0) or 1.0
    height = _BAR_ROW_H * len(rows) + 22
    width = _BAR_W - _BAR_LEFT - _BAR_RIGHT
    parts = []
    for index, (name, value) in enumerate(rows):
        y = index * _BAR_ROW_H + 8
        parts.append(mark_text(_BAR_LEFT - 12, y + 16, short(name), "end", "name"))
        if value is None:
            parts.append(mark_text(_BAR_LEFT + 6, y + 16, "–", "start", "value"))
            continue
        long = width * value / most
        parts.append(
            f'<rect class="bar" x="{_BAR_LEFT}" y="{y + 3}" width="{max(long, 1):.1f}" height="18"'
            ' rx="2"/>'
        )
        words = f"{number(value)} {unit}"
        parts.append(mark_text(_BAR_LEFT + long + 8, y + 16, words, "start", "value"))
    if limit is not None:
        x = _BAR_LEFT + width * limit / most
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" {_ys(2, height - 20)}/>')
        words = f"goal {number(limit)} {unit}"
        parts.append(mark_text(x, height - 6, words, "middle", "limitword"))
    return mark_svg(_BAR_W, height, title, parts)


def dot_strip(dots: Sequence[Dot], *, title: str, goal: float | None, at_least: bool) -> str:
    """Return figures on one line, each with its interval; the goal's bad side is hatched."""
    if not dots:
        return ""
    values = [v for dot in dots for v in (dot.low, dot.high)] + ([goal] if goal is not None else [])
    low, high = min(values), max(values)
    room = (high - low) * 0.12 or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room
    edge, middle = 8, _STRIP_H / 2

    def place(value: float) -> float:
        return edge + (_STRIP_W - 2 * edge) * (value - low) / (high - low)

    parts = [f'<line class="grid" x1="{edge}" x2="{_STRIP_W - edge}" {_ys(middle, middle)}/>']
    if goal is not None:
        x = place(goal)
        start, end = (edge, x) if at_least else (x, _STRIP_W - edge)
        parts.append(
            f'<rect class="bad" x="{start:.1f}" y="3" width="{max(end - start, 0):.1f}"'
            f' height="{_STRIP_H - 6}"/>'
        )
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" {_ys(2, _STRIP_H - 2)}/>')
    for dot in dots:
        x = place(dot.value)
        if dot.high > dot.low:
            parts.append(
                f'<line class="whisker" x1="{place(dot.low):.1f}" x2="{place(dot.high):.1f}"'
                f" {_ys(middle, middle)}/>"
            )
        parts.append(_shape(dot.shape, x, middle, dot.name))
    return mark_svg(_STRIP_W, _STRIP_H, title, parts)


def nice_ticks(most: float, wanted: int = 5) -> list[float]:
    """Return round values from 0 to at least `most`, about `wanted` of them."""
    if not 0 < most < math.inf:
        return [0.0, 1.0]
    raw = most / wanted
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    count = math.ceil(most / step - 1e-9)
    return [step * index for index in range(count + 1)]


def number(value: float) -> str:
    """Write a number to three digits that matter, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(name: str, most: int = _NAME_LEN_MAX) -> str:
    """Cut a name that is too long for its place."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _shape(shape: str, x: float, y: float, name: str) -> str:
    inside = f"<title>{escape(name)}</title>"
    if shape == "square":
        side = 8
        return (
            f'<rect class="square" x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side}"'
            f' height="{side}">{inside}</rect>'
        )
    kind = "ring" if shape == "ring" else "dot"
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">{inside}</circle>'


def _ys(one: float, other: float) -> str:
    return f'y1="{one:.1f}" y2="{other:.1f}"'


def mark_text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    """Return words at a point; `anchor` is start, middle or end, `kind` a class."""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def mark_svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Return a whole picture with its title, which is read out where it is not seen."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
