"""What a plan says: one document that the terminal, `--json` and the HTML page all show.

`plan` makes it, `proof` draws it and `cli` prints it, so no two of them can disagree. A
report answers one question; its figures carry their units in their names, its blocks are
the tables and charts in reading order, and its assumptions are every input that was not
measured.
"""

from enum import StrEnum

import msgspec

from skerry.schema.assumption import Assumption
from skerry.schema.goal import GoalRecord

PLAN_REPORT_SCHEMA = "skerry.plan-report/1"

Cell = str | float | int | None
"""Text, or a number that the page and the terminal write to three digits; None is a dash."""


class Answer(StrEnum):
    """What a question of yes or no came to; a report on figures alone has none."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    NONE = ""


class Block(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Something to look at: a table or a chart, with its title."""

    title: str
    note: str = ""


class Table(Block, frozen=True, kw_only=True, tag="table"):
    """Rows under heads; a head carries its column's unit."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Bars(Block, frozen=True, kw_only=True, tag="bars"):
    """Bars from zero, one per row; None draws no bar. `limit` is a goal."""

    unit: str
    rows: tuple[tuple[str, float | None], ...]
    limit: float | None = None


class Stack(Block, frozen=True, kw_only=True, tag="stack"):
    """One bar per row, made of the same parts in the same order; parts may be negative."""

    unit: str
    parts: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]


class Lines(Block, frozen=True, kw_only=True, tag="lines"):
    """Lines over one x axis, each a name and its (x, y) points; `limit` is a goal."""

    x_unit: str
    y_unit: str
    series: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    limit: float | None = None


class Tornado(Block, frozen=True, kw_only=True, tag="tornado"):
    """What each input moves a figure to, at its low and at its high end, widest first."""

    unit: str
    centre: float
    rows: tuple[tuple[str, float, float], ...]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A point of a map. `role` is `open`, `closed` or `demand`; `weight` sizes it, 0 to 1."""

    name: str
    latitude_deg: float
    longitude_deg: float
    role: str
    weight: float = 0.5


class Map(Block, frozen=True, kw_only=True, tag="map"):
    """Places, and lines between them by index (from, to)."""

    places: tuple[Place, ...]
    links: tuple[tuple[int, int], ...] = ()


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A heading, a sentence or two, and what to look at."""

    title: str
    text: str = ""
    blocks: tuple[Table | Bars | Stack | Lines | Tornado | Map, ...] = ()


class Regret(msgspec.Struct, frozen=True, kw_only=True):
    """What the chosen option cost more than the best one, on data the choice never saw.

    `ratio` is (chosen - best) / best; 0 means that hindsight would choose the same.
    """

    chosen: str
    best: str
    chosen_cost: float
    best_cost: float
    unit: str
    ratio: float
    unseen: str
    """The data it was judged on, in words: `months 7 to 12 of prices.csv`."""


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """A recommendation: what to choose, why, what came second, and what would turn it round."""

    choice: str
    reason: str
    runner_up: str = ""
    flip: str = ""
    """A condition which, once true, makes the runner-up the better choice."""
    regret: Regret | None = None
    no_regret: str = ""
    """Why there is no regret figure, where there is none."""


class PlanReport(msgspec.Struct, frozen=True, kw_only=True):
    """One question, answered.

    `figures` are the objective figures, with unit-named keys: numbers, texts, or lists and
    mappings of them; `--json` prints them at the top level. `lead` is the answer in one
    sentence. `command` makes this report again.
    """

    schema: str = PLAN_REPORT_SCHEMA
    verb: str
    question: str
    lead: str
    answer: Answer = Answer.NONE
    figures: dict[str, object] = {}
    advice: tuple[Advice, ...] = ()
    changes: dict[str, str] = {}
    """What the advice comes to in the fleet file, by dotted path: what `--write` puts there."""
    goals: tuple[GoalRecord, ...] = ()
    prediction_error_ratio: dict[str, float] = {}
    """Goal to predicted over measured, minus 1, where a run's measurements were given."""
    sections: tuple[Section, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""
    at_unix_s: float = 0.0
    version: str = ""
