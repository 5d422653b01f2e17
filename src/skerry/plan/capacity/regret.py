"""Was the choice right? Size on the first part of the trace, judge on the rest.

A number of servers costs itself; each server missing on the unseen part costs
`shortfall_cost_ratio` spare ones, as a missed target costs more than an idle machine.

Units:   server costs: what one server costs over the trace.
"""

from collections.abc import Callable, Sequence

from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity.inputs import bounded
from skerry.plan.regret import regret
from skerry.schema.plan_report import Regret

REQUESTS_MIN = 200
"""Fewer in either part say nothing about a 99th percentile."""


def judged(
    requests: int,
    needs: Callable[[int, int], Sequence[int | None]],
    *,
    what: str,
    inputs: Assumptions,
    things: int = 1,
) -> list[tuple[Regret | None, str]]:
    """Return each number's regret, or in words why there is none.

    `needs` sizes the requests from one index up to, not including, another: one number for
    each of the `things` that are sized, None where no number does. `what` is what is counted.
    """
    cut = round(requests * (1 - bounded(inputs, "judged_ratio")))
    if min(cut, requests - cut) < REQUESTS_MIN:
        return [(None, f"fewer than {REQUESTS_MIN} requests in a part of the trace")] * things
    on = f"the last {requests - cut} of {requests} requests"
    found: list[tuple[Regret | None, str]] = []
    for seen, unseen in zip(needs(0, cut), needs(cut, requests), strict=True):
        if seen is None or unseen is None:
            found.append((None, "no number keeps the targets in one part of the trace"))
        else:
            found.append((_regret(seen, unseen, what=what, on=on, inputs=inputs), ""))
    return found


def _regret(seen: int, unseen: int, *, what: str, on: str, inputs: Assumptions) -> Regret:
    """Return the regret of having taken what one part needs where the other needs `unseen`."""
    short = bounded(inputs, "shortfall_cost_ratio")
    options = range(min(seen, unseen), max(seen, unseen) + 1)

    def costs(needed: int) -> dict[str, float]:
        return {f"{c} {what}": c + short * max(0, needed - c) for c in options}

    return regret(costs(seen), costs(unseen), unit="server costs", on=on)
