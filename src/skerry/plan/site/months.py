"""Decision regret of a siting: sites for the first months of demand, judged on the rest.

The same method is given the first half of the months alone. Its sites then serve the other
half as well as they can, beside the sites that knowing that half would have chosen.

Units:   USD a year, as if the half were the whole year.
"""

import math

import numpy as np

from skerry.plan.regret import regret
from skerry.plan.site.case import Case
from skerry.plan.site.problem import Flags
from skerry.plan.site.sets import Sets
from skerry.plan.site.solve import Tell, solve
from skerry.schema.plan_report import Regret

MONTHS_MIN = 2
NAMES_MAX = 6


def months_regret(case: Case, *, seconds: float, tell: Tell) -> Regret | str:
    """Return the regret of choosing on the first half of the months, or why there is none."""
    months = case.months
    if months < MONTHS_MIN:
        return "the instance has no months of demand to judge on"
    half = months // 2
    seen, unseen = case.in_months(range(half)), case.in_months(range(half, months))
    sets = []
    for part, done in ((seen, 0.0), (unseen, 0.5)):
        solved = solve(
            part.problem,
            seconds=seconds / 2,
            tell=lambda share, what, done=done: tell(done + share / 2, what),  # type: ignore[misc]
        )
        if solved.siting is None:
            return f"no plan was found for one half of the {months} months"
        sets.append(solved.siting.open)
    costs = [
        {_name(case, opened): prices.price(opened) for opened in sets}
        for prices in (Sets(seen.problem), Sets(unseen.problem))
    ]
    on = f"months {half + 1} to {months} of {case.path}"
    if math.isinf(costs[1][_name(case, sets[0])]):
        return f"the sites chosen on months 1 to {half} cannot serve {on}"
    return regret(costs[0], costs[1], unit=case.unit, on=on)


def _name(case: Case, opened: Flags) -> str:
    sites = [case.site_text(int(site)) for site in np.flatnonzero(opened)]
    more = f" and {len(sites) - NAMES_MAX} more" if len(sites) > NAMES_MAX else ""
    return f"{len(sites)} sites: {', '.join(sites[:NAMES_MAX])}{more}"
