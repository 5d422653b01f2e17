"""Assumptions of capacity within the bounds that the simulations can take.

Errors:  AssumptionError, for a value beyond them, such as `--set decide_every_s=0`.
"""

from typing import Final

from skerry.plan.assumptions import Assumptions
from skerry.plan.errors import AssumptionError

BOUNDS: Final = {
    "decide_every_s": (0.1, 86_400.0),
    "decide_window_s": (0.1, 604_800.0),
    "judged_ratio": (0.01, 0.99),
    "node_repair_s": (1.0, 3.2e7),
    "scale_down_after_s": (0.0, 604_800.0),
    "shortfall_cost_ratio": (1.0, 1e6),
    "site_repair_s": (1.0, 3.2e7),
    "startup_s": (0.0, 86_400.0),
}
"""Name to the least and the most."""


def bounded(inputs: Assumptions, name: str) -> float:
    """Return an assumption, noted as used; refuse what no simulation can take."""
    low, high = BOUNDS[name]
    value = inputs[name]
    if not low <= value <= high:
        why = f"is {value:g}, wanted {low:g} to {high:g}"
        raise AssumptionError("assumption", name, why, BOUNDS)
    return value
