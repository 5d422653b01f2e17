"""Scores of risk from stated facts: 0 nothing to fear, 1 the worst on every count.

    score = sum of weight * part / sum of weights

    lead       lead days / the worst lead time, at most 1
    source     1 / (1 + alternatives)
    region     the share of all yearly spend that comes from the vendor's country
    support    1 - support years left / years wanted, 0 to 1
    openness   1 - share of formats and interfaces that others read too

Each part stands beside its fact, so a score can be taken apart; weights and scales are
assumptions (`tables/supply.csv`). A score orders worries; it is no probability.

Units:   scores are 0 to 1; days, years; USD a year for the spend.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skerry.plan.supply.facts import Part, Vendor, years_between

PARTS_OF_SCORE = ("lead", "source", "region", "support", "openness")
_WEIGHTS = {
    "lead": "lead_weight",
    "source": "single_source_weight",
    "region": "region_weight",
    "support": "support_weight",
    "openness": "openness_weight",
}
MONTHS_PER_YEAR = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One part's or vendor's score and what it is made of, each 0 to 1."""

    name: str
    vendor: str
    total: float
    parts: Mapping[str, float]
    source: str

    @property
    def worst(self) -> str:
        """Name what weighs most in it."""
        return max(self.parts, key=lambda name: self.parts[name])


def score_parts(
    parts: Sequence[Part],
    vendors: Mapping[str, Vendor],
    given: Mapping[str, float],
    *,
    now_unix_s: float,
) -> tuple[Score, ...]:
    """Score every part, the worst first."""
    shares = country_shares(parts, vendors)
    found = []
    for part in parts:
        vendor = vendors[part.vendor]
        left = years_between(now_unix_s, part.support_end_unix_s)
        made_of = {
            "lead": _clamped(part.lead_days / given["lead_days_worst"]),
            "source": 1 / (1 + part.alternatives),
            "region": shares[vendor.country],
            "support": _clamped(1 - left / given["support_years_wanted"]),
            "openness": 1 - vendor.open_share,
        }
        found.append(
            Score(
                name=part.part,
                vendor=part.vendor,
                total=_weighted(made_of, given),
                parts=made_of,
                source=part.source,
            )
        )
    return tuple(sorted(found, key=lambda score: (-score.total, score.name)))


def score_vendors(
    scores: Sequence[Score],
    parts: Sequence[Part],
    vendors: Mapping[str, Vendor],
    given: Mapping[str, float],
) -> tuple[Score, ...]:
    """Score every vendor by the worst of its parts on each count, the worst vendor first.

    A vendor of services alone has a region and an openness, and no lead time to fear.
    """
    shares = country_shares(parts, vendors)
    found = []
    for vendor in vendors.values():
        own = [score for score in scores if score.vendor == vendor.vendor]
        made_of = {
            name: max((score.parts[name] for score in own), default=0.0) for name in PARTS_OF_SCORE
        }
        made_of["region"] = shares[vendor.country]
        made_of["openness"] = 1 - vendor.open_share
        found.append(
            Score(
                name=vendor.vendor,
                vendor=vendor.vendor,
                total=_weighted(made_of, given),
                parts=made_of,
                source=vendor.source,
            )
        )
    return tuple(sorted(found, key=lambda score: (-score.total, score.name)))


def country_shares(parts: Sequence[Part], vendors: Mapping[str, Vendor]) -> dict[str, float]:
    """Return the share of yearly spend that each country's vendors get.

    Spend is what is paid each month, and each part's price spread over its life.
    """
    spend: defaultdict[str, float] = defaultdict(float)
    for vendor in vendors.values():
        spend[vendor.country] += vendor.usd_per_month * MONTHS_PER_YEAR
    for part in parts:
        spend[vendors[part.vendor].country] += part.units * part.price_usd / part.life_years
    whole = sum(spend.values())
    return {country: usd / whole if whole else 0.0 for country, usd in spend.items()}


def changes(before: Sequence[Score], after: Sequence[Score]) -> list[tuple[str, float, float]]:
    """Return (name, before, after) of every score that moved, the largest move first.

    What is new was 0 before, and what is gone is 0 after.
    """
    old = {score.name: score.total for score in before}
    new = {score.name: score.total for score in after}
    moved = [(name, old.get(name, 0.0), new.get(name, 0.0)) for name in {**old, **new}]
    kept = [row for row in moved if abs(row[1] - row[2]) > 1e-12]
    return sorted(kept, key=lambda row: (-abs(row[2] - row[1]), row[0]))


def _weighted(made_of: Mapping[str, float], given: Mapping[str, float]) -> float:
    weights = {name: given[_WEIGHTS[name]] for name in PARTS_OF_SCORE}
    whole = sum(weights.values())
    return sum(weights[name] * made_of[name] for name in PARTS_OF_SCORE) / whole if whole else 0.0


def _clamped(value: float) -> float:
    return min(max(value, 0.0), 1.0)
