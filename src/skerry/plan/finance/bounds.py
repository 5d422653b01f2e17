"""What an input of a cost plan may be at all, before its range is believed.

Errors:  AssumptionError, for the first input whose low or high end no cost can be made from.
"""

from typing import Final

from skerry.plan.assumptions import Assumptions
from skerry.plan.errors import AssumptionError

_ANY: Final = (0.0, 1e12)
_SHARE: Final = (0.0, 1.0)
_RATE: Final = (-0.9, 10.0)
_SCALE: Final = (1e-6, 1e6)
_BOUNDS: Final = {
    "utilisation_max": (0.01, 1.0),
    "pue_fixed_share": _SHARE,
    "resale_kept_ratio_per_year": _SHARE,
    "lease_residual_ratio": _SHARE,
    "second_life_margin_ratio": _SHARE,
    "cost_of_capital_per_year": _RATE,
    "lease_rate_per_year": _RATE,
    "machine_price_change_per_year": _RATE,
    "efficiency_gain_per_year": (-10.0, 0.9),
    "facility_life_years": (0.5, 100.0),
    "requests_ratio": _SCALE,
    "service_time_ratio": _SCALE,
}
"""Least and most of inputs that may not be just anything from 0."""


def check_bounds(inputs: Assumptions) -> None:
    """Refuse an input that cannot be, by name."""
    for row in inputs.all():
        least, most = _BOUNDS.get(row.name, _ANY)
        for end in (row.low, row.high):
            if not least <= end <= most:
                why = f"reaches {end:g}, wanted {least:g} to {most:g} {row.unit}".rstrip()
                raise AssumptionError(row.source, row.name, why, ())
