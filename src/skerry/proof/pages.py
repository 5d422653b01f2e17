"""What all pages share: the template environment, goals as rows, the record inside.

A page is self-contained: no script runs and nothing is fetched. Its record is embedded
as JSON, so it can be read back and the page made again from it.
"""

import time
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from skerry.proof import charts
from skerry.proof.charts import number
from skerry.schema.goal import AT_LEAST, Figure, GoalName, GoalRecord, Verdict

_BYTES_PER_KB = 1000
GOAL_WORDS: dict[GoalName, tuple[str, str]] = {
    GoalName.LATENCY_MS_P95: ("Latency p95", "ms"),
    GoalName.LOCAL_RATIO: ("Local answers", "%"),
    GoalName.COST_USD_PER_1K: ("Cost", "USD per 1,000"),
    GoalName.ENERGY_WH_PER_1K: ("Energy", "Wh per 1,000"),
    GoalName.CARBON_G_PER_1K: ("Carbon", "g CO₂e per 1,000"),
    GoalName.AVAILABILITY_RATIO: ("Availability", "%"),
    GoalName.UPSTREAM_BYTES_PER_1K: ("Upstream", "kB per 1,000"),
}
_MARKS: dict[Verdict, str] = {
    Verdict.MET: "●",
    Verdict.MET_EMULATED: "◐",
    Verdict.MISSED: "▲",
    Verdict.MISSED_EMULATED: "△",
    Verdict.UNKNOWN: "?",
}


def environment() -> jinja2.Environment:
    """Return the environment of all pages: escaping, strict, with the filters they share."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("skerry.proof"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=number_text,
        percent=lambda ratio: "–" if ratio is None else f"{share_text(ratio)} %",
        when=lambda at: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)),
    )
    return made


def goal_row(goal: GoalRecord) -> dict[str, Any]:
    """Return what `goals.html.j2` shows of one goal: figures in words, a strip, a verdict."""
    words, unit = GOAL_WORDS[goal.name]
    figures = [
        ("predicted", goal.predicted, "ring"),
        ("measured", goal.measured, "dot"),
        ("baseline", goal.baseline, "square"),
    ]
    dots = [
        charts.Dot(
            name=f"{name}: {_value(goal.name, figure.value)} {unit}",
            value=figure.value,
            low=figure.low,
            high=figure.high,
            shape=shape,
        )
        for name, figure, shape in figures
        if figure is not None
    ]
    strip = charts.dot_strip(
        dots,
        title=f"{words}: " + "; ".join(dot.name for dot in dots),
        goal=goal.goal,
        at_least=goal.name in AT_LEAST,
    )
    sign = "≥" if goal.name in AT_LEAST else "≤"
    return {
        "words": words,
        "unit": unit,
        "target": None if goal.goal is None else f"{sign} {_value(goal.name, goal.goal)}",
        "figures": [_figure_cell(goal.name, name, figure) for name, figure, _ in figures],
        "strip": Markup(strip),  # noqa: S704 - charts escape their words
        "verdict": goal.verdict.value,
        "mark": _MARKS[goal.verdict],
        "tone": tone(goal.verdict),
        "reason": goal.reason,
    }


def _figure_cell(name: GoalName, column: str, figure: Figure | None) -> dict[str, str]:
    if figure is None:
        return {"column": column, "value": "–", "range": "", "level": "", "source": ""}
    wide = figure.high > figure.low
    span = f"{_value(name, figure.low)} to {_value(name, figure.high)}" if wide else ""
    return {
        "column": column,
        "value": _value(name, figure.value),
        "range": span,
        "level": figure.level.value,
        "source": figure.source,
    }


def _value(name: GoalName, value: float) -> str:
    if name is GoalName.UPSTREAM_BYTES_PER_1K:
        return number(value / _BYTES_PER_KB)
    return share_text(value) if name.value.endswith("_ratio") else number(value)


def share_text(ratio: float) -> str:
    """Write a ratio in per cent; all but all is never written as all."""
    text = f"{ratio * 100:.2f}".rstrip("0").rstrip(".")
    return "> 99.99" if text == "100" and ratio < 1 else text


def number_text(value: float | None, unit: str = "") -> str:
    """Write a number with its unit; None is a dash."""
    if value is None:
        return "–"
    return f"{number(value)} {unit}".rstrip()


def tone(verdict: Verdict) -> str:
    """Return the class of a verdict's colour: good, bad or open."""
    if verdict in (Verdict.MET, Verdict.MET_EMULATED):
        return "good"
    return "bad" if verdict in (Verdict.MISSED, Verdict.MISSED_EMULATED) else "open"


def is_stated(goal: GoalRecord) -> bool:
    """Tell whether there is anything to say about a goal."""
    return any(one is not None for one in (goal.goal, goal.predicted, goal.measured, goal.baseline))


def embedded(record: msgspec.Struct) -> Markup:
    """Return the record as JSON that no HTML parser can leave: `<` is written as an escape."""
    text = msgspec.json.encode(record).decode()
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(safe)  # noqa: S704 - escaped above
