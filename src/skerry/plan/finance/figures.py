"""The figures of a cost plan by name, as `--json` prints them.

Each key carries its unit; each value is by tier, `this fleet` among them. What does not
exist (a cost where nothing is in time, a break-even that never comes) is null.
"""

import math
from collections.abc import Mapping
from typing import Any

from skerry.base.units import MS_PER_SECOND
from skerry.plan.finance.found import Found, Range, one
from skerry.plan.finance.in_time import Check
from skerry.plan.finance.tiers import FLEET
from skerry.plan.finance.views import CAPITAL_RATES

Figures = dict[str, object]


def figures(facts: Found, checks: Mapping[str, Check]) -> Figures:
    """Return all figures of a plan."""
    case, rate = facts.case, facts.rate_per_year
    base = facts.base
    target_ms = case.target_s * MS_PER_SECOND
    by: dict[str, dict[str, Any]] = {
        "usd_per_1k": {name: values[1] for name, values in facts.usd_per_1k.items()},
        "usd_per_1k_at_inputs": {n: one(cost.usd_per_1k(rate)) for n, cost in base.items()},
        **_ranges("usd_per_1k", facts.usd_per_1k),
        "usd_per_month": {name: one(cost.monthly_usd(rate)) for name, cost in base.items()},
        "tco_usd": {name: one(cost.flow.tco_usd()) for name, cost in base.items()},
        **_ranges("tco_usd", facts.tco_usd),
        "npv_usd": {name: values[1] for name, values in facts.against.npv_usd.items()},
        **_ranges("npv_usd", facts.against.npv_usd),
        "capex_usd": {name: one(cost.flow.split_usd()[0]) for name, cost in base.items()},
        "opex_usd": {name: one(cost.flow.split_usd()[1]) for name, cost in base.items()},
        "break_even_requests_per_month": {
            name: even.requests_per_month for name, even in facts.against.break_even.items()
        },
        "break_even_hours_ratio": dict(facts.against.break_even_hours),
        "payback_months": dict(facts.against.payback_months),
        "in_time_ratio": {name: one(cost.in_time_ratio()) for name, cost in base.items()},
        "machines": {name: round(one(cost.work.machines)) for name, cost in base.items()},
        "pue_ratio": {name: one(cost.work.pue_ratio) for name, cost in base.items()},
        "energy_wh_per_1k": {name: one(cost.energy_wh_per_1k()) for name, cost in base.items()},
    }
    for place, capital in enumerate(CAPITAL_RATES):
        at = f"at_capital_{capital:.0%}".replace("%", "_percent")
        by[f"usd_per_1k_{at}"] = {name: v[place] for name, v in facts.at_capital.items()}
        by[f"present_value_usd_{at}"] = {
            name: v[place] for name, v in facts.worth_at_capital.items()
        }
    return {
        "fleet": case.fleet.name,
        "requests_per_month": case.demand.requests_per_month,
        "target_ms": _known(target_ms),
        "horizon_months": case.terms.months,
        "cost_of_capital_per_year": rate,
        "financing": case.terms.financing.value,
        "draws": facts.draws,
        "seed": facts.seed,
        "distribution": "PERT",
        "cloud_tier": facts.against.cloud,
        **{name: {tier: _known(v) for tier, v in values.items()} for name, values in by.items()},
        "break_even_reason": {
            name: even.reason for name, even in facts.against.break_even.items() if even.reason
        },
        "rows": [
            {
                "tier": name,
                "row": row.name,
                "kind": row.kind.value,
                "capital": row.is_capital,
                "usd_per_month": one(cost.flow.monthly_usd(rate, (row,))),
                "level": row.level.value,
                "source": row.source,
            }
            for name, cost in base.items()
            if name != FLEET
            for row in cost.flow.rows
        ],
        "rows_usd_per_month": {
            name: {row: one(usd) for row, usd in cost.flow.monthly_by_row(rate).items()}
            for name, cost in base.items()
        },
        "ranked": list(facts.choice.ranked),
        "first_is_cheapest_ratio": facts.choice.first_is_cheapest_ratio,
        "flip_requests_per_month": facts.choice.flip_requests,
        "flip_input": None
        if facts.choice.flip_input is None
        else {"name": facts.choice.flip_input[0], "value": facts.choice.flip_input[1]},
        "offers": {
            name: {
                offer.name: {
                    "present_value_usd_p10": offer.present_value_usd[0],
                    "present_value_usd_p50": offer.present_value_usd[1],
                    "present_value_usd_p90": offer.present_value_usd[2],
                    "capex_usd": offer.capex_usd,
                    "opex_usd": offer.opex_usd,
                    "cheaper_than_buying_ratio": offer.cheaper_than_buying_ratio,
                }
                for offer in offers
            }
            for name, offers in facts.offers.items()
        },
        "refresh_usd_per_month": {
            name: {str(months): usd for months, usd in by_months.items()}
            for name, by_months in facts.refresh_usd_per_month.items()
        },
        "usd_per_1k_by_load": {
            name: [{"requests_per_month": load, "usd_per_1k": usd} for load, usd in points]
            for name, points in facts.by_load.items()
        },
        "tornado": {
            tier: [
                {"input": name, "usd_per_1k_low": _known(low), "usd_per_1k_high": _known(high)}
                for name, low, high in rows
            ]
            for tier, rows in facts.strongest.items()
        },
        "in_time_ratio_by_replay": {name: check.replay_ratio for name, check in checks.items()},
        "in_time_ratio_by_formula": {name: check.formula_ratio for name, check in checks.items()},
    }


def _ranges(name: str, ranges: Mapping[str, Range]) -> dict[str, dict[str, Any]]:
    return {
        f"{name}_p{part}": {tier: values[place] for tier, values in ranges.items()}
        for place, part in enumerate((10, 50, 90))
    }


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
