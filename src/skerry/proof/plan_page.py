"""A plan's report as one page: self-contained HTML, made from the report alone.

Charts are SVG, with the tables behind them; each table can be taken out as CSV and the
whole report as JSON, both of which are inside the page. It prints on A4.
"""

import base64
import csv
import io

from markupsafe import Markup

from skerry.proof.charts import number
from skerry.proof.pages import embedded, environment, goal_row, is_stated
from skerry.proof.plan_charts import draw
from skerry.schema.assumption import Assumption
from skerry.schema.plan_report import Bars, Cell, Lines, Map, PlanReport, Stack, Table, Tornado

_TONES = {"yes": "good", "no": "bad", "unknown": "open", "": ""}
_FIGURES_SHOWN_MAX = 8
_UNIT_WORDS = {"usd": "USD", "kwh": "kWh", "wh": "Wh", "pue": "PUE", "kw": "kW", "tco": "TCO"}
_UNIT_WORDS |= {"npv": "NPV", "per": "per", "ratio": "(ratio)", "1k": "1,000", "gb": "GB"}
_ROWS_SHOWN_MAX = 400


def plan_html(report: PlanReport) -> str:
    """Return the page."""
    made = environment()
    made.filters.update(
        cell=_cell,
        numeric=_numeric,
        draw=lambda block: Markup(draw(block)),  # noqa: S704 - charts escape their words
        table=_table_of,
        csv_link=_csv_link,
        span=_span,
        words=lambda name: name.replace("_", " "),
    )
    return made.get_template("plan.html.j2").render(
        report=report,
        tone=_TONES[report.answer.value],
        tiles=_tiles(report),
        goals=[goal_row(goal) for goal in report.goals if is_stated(goal)],
        rows_max=_ROWS_SHOWN_MAX,
        record=embedded(report),
    )


def _tiles(report: PlanReport) -> list[tuple[str, str]]:
    """Return the figures that are single numbers, for the top of the page."""
    return [
        (_cell(value), " ".join(_UNIT_WORDS.get(word, word) for word in name.split("_")))
        for name, value in report.figures.items()
        if isinstance(value, float | int) and not isinstance(value, bool) and name != "took_s"
    ][:_FIGURES_SHOWN_MAX]


def _table_of(block: Table | Bars | Stack | Lines | Tornado | Map) -> Table:
    """Return the figures of a block as a table; a table is its own."""
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    match block:
        case Table():
            return block
        case Bars():
            heads, rows = ("", block.unit), block.rows
        case Stack():
            heads = ("", *(f"{part}, {block.unit}" for part in block.parts))
            rows = tuple((name, *values) for name, values in block.rows)
        case Lines():
            heads = ("", block.x_unit, block.y_unit)
            rows = tuple((name, x, y) for name, points in block.series for x, y in points)
        case Tornado():
            heads = ("", f"at its low end, {block.unit}", f"at its high end, {block.unit}")
            rows = block.rows
        case Map():
            heads = ("place", "latitude, °", "longitude, °", "role")
            rows = tuple((p.name, p.latitude_deg, p.longitude_deg, p.role) for p in block.places)
    return Table(title=block.title, heads=heads, rows=rows)


def _numeric(table: Table) -> list[bool]:
    """Tell of each column whether it holds numbers, and so stands to the right."""
    return [
        any(isinstance(row[column], float | int) for row in table.rows)
        for column in range(len(table.heads))
    ]


def _csv_link(table: Table) -> str:
    """Return a table as a link that holds it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.heads)
    writer.writerows(["" if cell is None else cell for cell in row] for row in table.rows)
    return "data:text/csv;base64," + base64.b64encode(text.getvalue().encode()).decode()


def _span(row: Assumption) -> str:
    return "" if row.low == row.high else f"{number(row.low)} to {number(row.high)}"


def _cell(cell: object) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool) or not isinstance(cell, float | int):
        return str(cell)
    return number(float(cell))
