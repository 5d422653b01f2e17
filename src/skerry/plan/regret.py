"""Decision regret: what a choice cost more than the best one, on data it never saw.

A plan is made on the first part of the data and judged on the rest. The best option of
the rest is known only in hindsight; the chosen one can at best equal it.

    ratio = (cost of the chosen - cost of the best) / cost of the best

Units:   the costs' own; `ratio` is a fraction.
"""

from collections.abc import Mapping

from skerry.schema.plan_report import Regret


def regret(seen: Mapping[str, float], unseen: Mapping[str, float], *, unit: str, on: str) -> Regret:
    """Choose by the costs seen, judge by the costs unseen; both name the same options.

    `on` says in words what the unseen data are. Ties go to the first option named.
    Raises `ValueError` where the options differ or there are none.
    """
    if not seen or list(seen) != list(unseen):
        raise ValueError("regret needs the same options, at least one, in both parts")
    chosen, best = min(seen, key=seen.__getitem__), min(unseen, key=unseen.__getitem__)
    spent, least = unseen[chosen], unseen[best]
    if spent == least:
        best = chosen
    return Regret(
        chosen=chosen,
        best=best,
        chosen_cost=spent,
        best_cost=least,
        unit=unit,
        ratio=(spent - least) / abs(least) if least else 0.0,
        unseen=on,
    )
