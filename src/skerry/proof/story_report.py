"""The story as one page: self-contained HTML, made from its JSON record alone.

No script runs and nothing is fetched: styles and charts are inside, fonts are the
system's, and a content security policy says so to the browser. The record itself is
embedded, so the page can be made again from the page. Print comes first.

Errors:  ReportInputError, for a file that is no story record.
"""

import html
import re
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
from skerry.proof.pages import (
    embedded,
    environment,
    goal_row,
    is_stated,
    number_text,
    share_text,
    tone,
)
from skerry.schema.drill import Promise
from skerry.schema.goal import GoalName, GoalRecord, Level, Verdict
from skerry.schema.story import STORY_SCHEMA, StoryRecord

RECORD_BYTES_MAX = 64 * BYTES_PER_MIB
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
            goals=[goal_row(goal) for goal in story.goals if is_stated(goal)],
            sums=_sums(story),
            latency_chart=Markup(_latency_chart(story)),  # noqa: S704 - charts escape their words
            tier_chart=Markup(_tier_chart(story)),  # noqa: S704
            longest_s=max((step.duration_s for step in story.steps), default=1.0) or 1.0,
            record=embedded(story),
        )
    )


def _environment() -> jinja2.Environment:
    made = environment()
    made.filters.update(limit=_limit, seen=_seen, kind=lambda word: str(word).replace("-", " "))
    return made


def _limit(promise: Promise) -> str:
    if promise.unit == "yes":
        return "wanted"
    sign = "≥" if promise.at_least else "≤"
    wanted = f"{share_text(promise.limit)} %" if promise.unit == "ratio" else number(promise.limit)
    return f"{sign} {wanted}"


def _seen(promise: Promise) -> str:
    if promise.seen is None:
        return "not looked at"
    if promise.unit == "yes":
        return "yes" if promise.seen else "no"
    if promise.unit == "ratio":
        return f"{share_text(promise.seen)} %"
    return number_text(promise.seen, promise.unit)


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
        "met": sum(tone(goal.verdict) == "good" for goal in story.goals),
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


def plain_text(page: str) -> str:
    """Return a page's words without its marks, for tests and for the terminal."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
