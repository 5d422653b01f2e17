"""A plan's report as one page: self-contained HTML, made from the report alone.

No script runs and nothing is fetched; the report itself is embedded as JSON, and each
table as CSV, so that a reader can check every figure of it.
"""

import time

import jinja2
import msgspec
from markupsafe import Markup

from skerry.proof.charts import number
from skerry.schema.plan_report import Cell, PlanReport


def plan_html(report: PlanReport) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skerry.proof"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        cell=_cell, when=lambda at: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
    )
    text = msgspec.json.encode(report).decode().replace("&", "\\u0026").replace("<", "\\u003c")
    record = Markup(text)  # noqa: S704 - `<` and `&` are escaped
    return environment.get_template("plan.html.j2").render(report=report, record=record)


def _cell(cell: Cell) -> str:
    if cell is None:
        return "–"
    return number(float(cell)) if isinstance(cell, float | int) else cell
