"""The calendar of hardware: when each kind is replaced, why, and what it can still do.

A part is due when its life ends or its support does, whichever is first. A part whose
support outlasts its first life by a year or more can serve once more, at a smaller site
or as a spare, until the support ends; the others are sold.

Units:   years as fractions (2027.5 is the middle of 2027), USD.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from skerry.plan.supply.facts import Part, years_between


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One line of the calendar."""

    year: int
    part: str
    units: float
    why: str
    """`life ends` or `support ends`."""
    usd: float
    """What the replacements cost, at today's price."""
    then: str
    """`second life until YEAR` or `sell`."""
    resale_usd: float
    overdue: bool


def calendar(
    parts: Sequence[Part], given: Mapping[str, float], *, now_unix_s: float
) -> tuple[Due, ...]:
    """Return when each kind of part is due, the earliest first."""
    found = []
    for part in parts:
        life_end = _year(part.bought_unix_s) + part.life_years
        support_end = _year(part.support_end_unix_s)
        due = min(life_end, support_end)
        left = years_between(now_unix_s, part.support_end_unix_s)
        second = support_end - due >= given["second_life_years_min"] and left > 0
        found.append(
            Due(
                year=int(due),
                part=part.part,
                units=part.units,
                why="life ends" if life_end <= support_end else "support ends",
                usd=part.units * part.price_usd,
                then=f"second life until {int(support_end)}" if second else "sell",
                resale_usd=0.0 if second else part.units * part.price_usd * given["resale_share"],
                overdue=due < _year(now_unix_s),
            )
        )
    return tuple(sorted(found, key=lambda due: (due.year, due.part)))


def _year(unix_s: float) -> float:
    at = datetime.fromtimestamp(unix_s, UTC)
    begins = datetime(at.year, 1, 1, tzinfo=UTC)
    ends = datetime(at.year + 1, 1, 1, tzinfo=UTC)
    return at.year + (at - begins) / (ends - begins)
