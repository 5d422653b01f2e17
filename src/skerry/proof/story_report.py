"""The story as one page: self-contained HTML, made from its JSON record alone.

No script runs and nothing is fetched: styles and charts are inside, fonts are the
system's, and a content security policy says so to the browser. The record itself is
embedded, so the page can be made again from the page. Print comes first.

Errors:  ReportInputError, for a file that is no story record.
"""

import html
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from skerry.base.units import BYTES_PER_MIB
from skerry.proof import charts
from skerry.proof.charts import number
from skerry.proof.errors import ReportInputError
from skerry.schema.drill import Promise
from skerry.schema.goal import AT_LEAST, Figure, GoalName, GoalRecord, Level, Verdict
from skerry.schema.story import STORY_SCHEMA, StoryRecord

_BYTES_PER_KB = 1000
RECORD_BYTES_MAX = 64 * BYTES_PER_MIB
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
_EMBEDDED = re.compile(r'<script type="application/json" id="record">(.*?)</script>', re.DOTALL)


def read_story(path: Path) -> StoryRecord:
    """Read a story's record, from its JSON or from a page that was made from it."""
    try:
        if path.stat().st_size > RECORD_BYTES_MAX:
            raise ReportInputError(str(path), f"larger than {RECORD_BYTES_MAX} bytes")
        text = path.read_text("utf-8")
    except OSError as error:
        raise ReportInputError(str(path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ReportInputError(str(path), str(error)) from error
    inside = _EMBEDDED.search(text) if text.lstrip()[:1] == "<" else None
    try:
        story = msgspec.json.decode(inside[1] if inside else text, type=StoryRecord)
    except msgspec.MsgspecError as error:
        raise ReportInputError(str(path), str(error)) from error
    if story.schema != STORY_SCHEMA:
        why = f"schema is {story.schema[:40]!r}, wanted {STORY_SCHEMA!r}"
        raise ReportInputError(str(path), why)
    return story


def story_html(story: StoryRecord) -> str:
    """Return the page."""
    return (
        _environment()
        .get_template("story.html.j2")
        .render(
            story=story,
            held=story.exit_code == 0,
            emulated=any(_is_emulated(goal) for goal in story.goals),
            goals=[_goal_row(goal) for goal in story.goals if _shown(goal)],
            sums=_sums(story),
            latency_chart=Markup(_latency_chart(story)),  # noqa: S704 - charts escape their words
            tier_chart=Markup(_tier_chart(story)),  # noqa: S704
            longest_s=max((step.duration_s for step in story.steps), default=1.0) or 1.0,
            record=Markup(_embedded(story)),  # noqa: S704 - `<` and `&` are escaped
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skerry.proof"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=_number,
        percent=lambda ratio: "–" if ratio is None else f"{_share(ratio)} %",
        when=lambda at: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)),
        limit=_limit,
        seen=_seen,
        kind=lambda word: str(word).replace("-", " "),
    )
    return environment


def _goal_row(goal: GoalRecord) -> dict[str, Any]:
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
        "tone": _tone(goal.verdict),
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
    return _share(value) if name.value.endswith("_ratio") else number(value)


def _share(ratio: float) -> str:
    """Write a ratio in per cent; all but all is never written as all."""
    text = f"{ratio * 100:.2f}".rstrip("0").rstrip(".")
    return "> 99.99" if text == "100" and ratio < 1 else text


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "–"
    return f"{number(value)} {unit}".rstrip()


def _limit(promise: Promise) -> str:
    if promise.unit == "yes":
        return "wanted"
    sign = "≥" if promise.at_least else "≤"
    wanted = f"{_share(promise.limit)} %" if promise.unit == "ratio" else number(promise.limit)
    return f"{sign} {wanted}"


def _seen(promise: Promise) -> str:
    if promise.seen is None:
        return "not looked at"
    if promise.unit == "yes":
        return "yes" if promise.seen else "no"
    if promise.unit == "ratio":
        return f"{_share(promise.seen)} %"
    return _number(promise.seen, promise.unit)


def _tone(verdict: Verdict) -> str:
    if verdict in (Verdict.MET, Verdict.MET_EMULATED):
        return "good"
    return "bad" if verdict in (Verdict.MISSED, Verdict.MISSED_EMULATED) else "open"


def _shown(goal: GoalRecord) -> bool:
    return any(one is not None for one in (goal.goal, goal.predicted, goal.measured, goal.baseline))


def _is_emulated(goal: GoalRecord) -> bool:
    levels = [one.level for one in (goal.measured, goal.baseline) if one is not None]
    return Level.EMULATED in levels or goal.verdict in (
        Verdict.MET_EMULATED,
        Verdict.MISSED_EMULATED,
    )


def _sums(story: StoryRecord) -> dict[str, int]:
    drills: Sequence[Any] = story.drills
    sums = {name: sum(getattr(d, name) for d in drills) for name in ("lost", "twice", "leaked")}
    return {
        **sums,
        "requests": sum(tier.requests for tier in story.tiers) + sum(d.requests for d in drills),
        "failed": sum(tier.failed for tier in story.tiers) + sum(d.failed for d in drills),
        "passed": sum(drill.passed for drill in drills),
        "met": sum(_tone(goal.verdict) == "good" for goal in story.goals),
        "stated": sum(goal.goal is not None for goal in story.goals),
    }


def _latency_goal(story: StoryRecord) -> float | None:
    return next((g.goal for g in story.goals if g.name is GoalName.LATENCY_MS_P95), None)


def _latency_chart(story: StoryRecord) -> str:
    return charts.line_chart(
        [(point.at_s, point.latency_ms_p95) for point in story.latency],
        title="95th percentile of latency over the story, in ms",
        x_unit="seconds of traffic",
        y_unit="ms",
        limit=_latency_goal(story),
        marks=[(mark.at_s, mark.text) for mark in story.marks],
    )


def _tier_chart(story: StoryRecord) -> str:
    return charts.bar_chart(
        [(tier.tier, tier.latency_ms_p95) for tier in story.tiers],
        title="95th percentile of latency per tier, in ms",
        unit="ms",
        limit=_latency_goal(story),
    )


def _embedded(story: StoryRecord) -> str:
    """Return the record as JSON that no HTML parser can leave: `<` is written as an escape."""
    text = msgspec.json.encode(story).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plain_text(page: str) -> str:
    """Return a page's words without its marks, for tests and for the terminal."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
