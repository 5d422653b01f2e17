"""Was the choice right? Size on the first part of the trace, judge on the rest.

A number of servers costs itself; each server missing on the unseen part costs
`shortfall_cost_ratio` spare ones, as a missed target costs more than an idle machine.

Units:   server costs: what one server costs over the trace.
"""

from collections.abc import Sequence

from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity import Simulator, size, worst
from skerry.plan.capacity_target import Target
from skerry.plan.capacity_trace import Work
from skerry.plan.regret import regret
from skerry.schema.plan_report import Regret

REQUESTS_MIN = 200
"""Fewer in either part say nothing about a 99th percentile."""


def capacity_regret(
    work: Work, targets: Sequence[Target], inputs: Assumptions
) -> tuple[Regret | None, str]:
    """Return the regret of sizing on the first part, or why there is none."""
    cut = round(len(work) * (1 - inputs["judged_ratio"]))
    if min(cut, len(work) - cut) < REQUESTS_MIN:
        return None, f"fewer than {REQUESTS_MIN} requests in a part of the trace"
    seen, unseen = (
        worst(size(Simulator.of(part), target) for target in targets)
        for part in (work.part(0, cut, "first"), work.part(cut, len(work), "rest"))
    )
    if seen is None or unseen is None:
        return None, "one part of the trace cannot keep a target with any number of servers"
    on = f"the last {len(work) - cut} of {len(work)} requests"
    return regret_of(seen, unseen, what="servers", on=on, inputs=inputs), ""


def regret_of(seen: int, unseen: int, *, what: str, on: str, inputs: Assumptions) -> Regret:
    """Return the regret of having taken what one part needs where the other needs `unseen`."""
    short = inputs["shortfall_cost_ratio"]
    options = range(min(seen, unseen), max(seen, unseen) + 1)

    def costs(needed: int) -> dict[str, float]:
        return {f"{c} {what}": c + short * max(0, needed - c) for c in options}

    return regret(costs(seen), costs(unseen), unit="server costs", on=on)
