"""Charts of a plan's report: stacks, several lines, tornado and map, as SVG text.

Series are told apart by dash and by shade, so a print in grey reads as well as a screen;
a legend names them. Colours are the page's own CSS variables.

Units:   those of the values; pixels of the view box, which scales with its place.
"""

import math
from collections.abc import Sequence
from html import escape

from skerry.proof.charts import bar_chart, mark_svg, mark_text, nice_ticks, number, short
from skerry.schema.plan_report import Bars, Lines, Map, Stack, Table, Tornado

_W = 720
_LEFT, _RIGHT = 170, 92
_ROW_H = 30
_LINE_H, _LINE_LEFT, _LINE_RIGHT, _LINE_TOP, _LINE_BOTTOM = 280, 58, 16, 26, 44
_DASHES = ("", "6 3", "2 3", "9 3 2 3", "1 4", "12 4")
_SERIES_MAX = len(_DASHES)
_MAP_H_MAX = 460
_POINTS_MAX = 800


def draw(block: Table | Bars | Stack | Lines | Tornado | Map) -> str:
    """Return a block's picture; a table has none, nor has a chart without values."""
    if isinstance(block, Bars):
        return bar_chart(block.rows, title=block.title, unit=block.unit, limit=block.limit)
    if isinstance(block, Stack):
        return _stack(block)
    if isinstance(block, Lines):
        return _lines(block)
    if isinstance(block, Tornado):
        return _tornado(block)
    if isinstance(block, Map):
        return _map(block)
    return ""


def _stack(block: Stack) -> str:
    if not block.rows:
        return ""
    most = max(sum(v for v in values if v > 0) for _, values in block.rows)
    least = min(sum(v for v in values if v < 0) for _, values in block.rows)
    span = (most - least) or 1.0
    width = _W - _LEFT - _RIGHT
    zero = _LEFT - width * least / span
    parts = []
    for index, (name, values) in enumerate(block.rows):
        y = index * _ROW_H + 6
        parts.append(mark_text(_LEFT - 12, y + 16, short(name), "end", "name"))
        right = left = zero
        for place, value in enumerate(values):
            wide = width * abs(value) / span
            x = right if value >= 0 else left - wide
            right, left = (right + wide, left) if value >= 0 else (right, left - wide)
            if wide:
                words = f"{block.parts[place]}: {number(value)} {block.unit}"
                parts.append(
                    f'<rect class="part p{place % 8}" x="{x:.1f}" y="{y + 2}" width="{wide:.1f}"'
                    f' height="18">{_title(words)}</rect>'
                )
        parts.append(mark_text(right + 8, y + 16, number(sum(values)), "start", "value"))
    height = _ROW_H * len(block.rows) + 12
    parts.append(mark_text(_W - 4, height, block.unit, "end", "unit"))
    height += _legend(parts, block.parts, height, "part")
    return mark_svg(_W, height, block.title, parts)


def _lines(block: Lines) -> str:
    series = [(name, _thinned(points)) for name, points in block.series[:_SERIES_MAX] if points]
    if not series:
        return ""
    xs = [x for _, points in series for x, _ in points]
    ys = [y for _, points in series for _, y in points]
    x_low, x_high = min(xs), max(xs)
    x_span = (x_high - x_low) or 1.0
    y_ticks = _ticks_over(min(*ys, 0.0), max([*ys, block.limit or 0.0]))
    y_low, y_span = y_ticks[0], (y_ticks[-1] - y_ticks[0]) or 1.0
    width = _W - _LINE_LEFT - _LINE_RIGHT
    height = _LINE_H - _LINE_TOP - _LINE_BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LINE_LEFT + width * (x - x_low) / x_span,
            _LINE_TOP + height * (1 - (y - y_low) / y_span),
        )

    parts = []
    for tick in y_ticks:
        _, y = place(x_low, tick)
        parts.append(f'<line class="grid" x1="{_LINE_LEFT}" x2="{_W - _LINE_RIGHT}" {_at_y(y)}/>')
        parts.append(mark_text(_LINE_LEFT - 8, y + 4, number(tick), "end"))
    for tick in _ticks_over(x_low, x_high):
        if x_low <= tick <= x_high:
            x, _ = place(tick, y_low)
            parts.append(mark_text(x, _LINE_H - 24, number(tick), "middle"))
    parts.append(mark_text(_W - _LINE_RIGHT, _LINE_H - 6, block.x_unit, "end", "unit"))
    parts.append(mark_text(4, 12, block.y_unit, "start", "unit"))
    if block.limit is not None:
        _, y = place(x_low, block.limit)
        parts.append(f'<line class="limit" x1="{_LINE_LEFT}" x2="{_W - _LINE_RIGHT}" {_at_y(y)}/>')
        words = f"goal {number(block.limit)} {block.y_unit}"
        parts.append(mark_text(_W - _LINE_RIGHT, y - 5, words, "end", "limitword"))
    for index, (name, points) in enumerate(series):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        dash = f' stroke-dasharray="{_DASHES[index]}"' if _DASHES[index] else ""
        parts.append(
            f'<polyline class="series s{index}" points="{path}"{dash}>{_title(name)}</polyline>'
        )
        if len(points) == 1:
            x, y = place(*points[0])
            parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    tall = _LINE_H
    if len(series) > 1:
        tall += _legend(parts, [name for name, _ in series], _LINE_H, "series")
    return mark_svg(_W, tall, block.title, parts)


def _tornado(block: Tornado) -> str:
    if not block.rows:
        return ""
    values = [v for _, low, high in block.rows for v in (low, high)] + [block.centre]
    least, most = min(values), max(values)
    span = (most - least) or 1.0
    left, right = 300, 70  # a name of 30 letters, and the figure at a low end
    width = _W - left - right

    def place(value: float) -> float:
        return left + width * (value - least) / span

    middle = place(block.centre)
    height = _ROW_H * len(block.rows) + 26
    parts = []
    for index, (name, low, high) in enumerate(block.rows):
        y = index * _ROW_H + 6
        parts.append(mark_text(left - 60, y + 16, short(name, 30), "end", "name"))
        for value, kind in ((low, "low"), (high, "high")):
            x = min(place(value), middle)
            wide = max(abs(place(value) - middle), 1.0)
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{y + 2}" width="{wide:.1f}" height="18">'
                f"{_title(f'{name}, at its {kind} end: {number(value)} {block.unit}')}</rect>"
            )
        ends = sorted((low, high))
        for value, step, anchor in ((ends[0], -6, "end"), (ends[1], 6, "start")):
            x = min(place(value), middle) if step < 0 else max(place(value), middle)
            parts.append(mark_text(x + step, y + 16, number(value), anchor))
    parts.append(
        f'<line class="mark" x1="{middle:.1f}" x2="{middle:.1f}" y1="0" y2="{height - 20}"/>'
    )
    words = f"{number(block.centre)} {block.unit}"
    parts.append(mark_text(middle, height - 6, words, "middle", "unit"))
    return mark_svg(_W, height, block.title, parts)


def _map(block: Map) -> str:
    """Return places on an equirectangular map, true to scale at the middle latitude."""
    if not block.places:
        return ""
    south = min(p.latitude_deg for p in block.places)
    north = max(p.latitude_deg for p in block.places)
    west = min(p.longitude_deg for p in block.places)
    east = max(p.longitude_deg for p in block.places)
    squeeze = math.cos(math.radians((south + north) / 2))
    wide, tall = max((east - west) * squeeze, 0.5), max(north - south, 0.5)
    edge = 26
    scale = min((_W - 2 * edge) / wide, (_MAP_H_MAX - 2 * edge) / tall)
    height = round(tall * scale + 2 * edge)
    shift = (_W - wide * scale) / 2
    at = [
        (
            shift + (p.longitude_deg - west) * squeeze * scale,
            edge + (north - p.latitude_deg) * scale,
        )
        for p in block.places
    ]
    parts = [f'<rect class="sea" x="0" y="0" width="{_W}" height="{height}" rx="4"/>']
    for one, other in block.links:
        (x1, y1), (x2, y2) = at[one], at[other]
        parts.append(
            f'<line class="link" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )
    names = []
    for place, (x, y) in zip(block.places, at, strict=True):
        radius = 2 + 5 * min(max(place.weight, 0.0), 1.0)
        kind = {"open": "open", "closed": "closed"}.get(place.role, "demand")
        parts.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"{_title(f'{place.name} ({place.role})')}</circle>"
        )
        if kind == "open":
            names.append(mark_text(x, y - radius - 4, place.name, "middle", "name"))
    roles = [
        role for role in ("open", "closed", "demand") if role in {p.role for p in block.places}
    ]
    tall_all = height + _legend(parts, roles, height, "role")
    return mark_svg(_W, tall_all, block.title, [*parts, *names])


def _legend(parts: list[str], names: Sequence[str], top: float, kind: str) -> int:
    """Add a key below a chart; return the pixels it takes."""
    x, row = 8.0, 0
    for index, name in enumerate(names):
        wide = 40 + 7 * len(name)
        if x + wide > _W - 8 and x > 8:
            x, row = 8.0, row + 1
        y = top + 14 + row * 20
        if kind == "part":
            parts.append(
                f'<rect class="part p{index % 8}" x="{x}" y="{y - 9:.1f}" width="12" height="10"/>'
            )
        elif kind == "role":
            parts.append(f'<circle class="{name}" cx="{x + 6}" cy="{y - 4:.1f}" r="5"/>')
        else:
            dash = f' stroke-dasharray="{_DASHES[index]}"' if _DASHES[index] else ""
            parts.append(
                f'<line class="series s{index}" x1="{x}" x2="{x + 22}" {_at_y(y - 4)}{dash}/>'
            )
        parts.append(mark_text(x + (28 if kind == "series" else 18), y, name, "start"))
        x += wide
    return 20 * (row + 1) + 4 if names else 0


def _ticks_over(low: float, high: float) -> list[float]:
    """Return round values that cover a range, which may begin below zero or far above it."""
    if low >= 0 and low < high / 4:
        return nice_ticks(high)
    ticks = nice_ticks((high - low) or abs(high) or 1.0)
    step = ticks[1] - ticks[0]
    first = math.floor(low / step)
    return [step * place for place in range(first, math.ceil(high / step - 1e-9) + 1)]


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Keep a line's shape with fewer points: least and largest of each stretch."""
    if len(points) <= _POINTS_MAX:
        return points
    size = math.ceil(2 * len(points) / _POINTS_MAX)
    kept = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        ends = (min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1]))
        kept.extend(sorted(set(ends)))
    return kept


def _title(words: str) -> str:
    return f"<title>{escape(words)}</title>"


def _at_y(y: float) -> str:
    return f'y1="{y:.1f}" y2="{y:.1f}"'
