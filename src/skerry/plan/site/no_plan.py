"""The report of an instance without a plan: which rule is in the way, and for whom.

A rule that keeps demands from every candidate, or from room enough, is found before any
search. What is left is a number of sites that is too small, or whole demands that do not
fit; where nothing was found and nothing ruled out, the answer is unknown.

Units:   seconds for the limit.
"""

from collections.abc import Sequence
from dataclasses import replace

from skerry.plan.site.case import Case
from skerry.plan.site.obstacles import EVERY_SITE, WHOLE, Obstacle
from skerry.plan.site.problem import Problem
from skerry.plan.site.solve import solve
from skerry.schema.plan_report import Answer, PlanReport, Section, Table

QUESTION = "Where should sites be, and whom should each serve?"


def infeasible(case: Case, found: Sequence[Obstacle]) -> PlanReport:
    """Return the report of an instance without a plan: the rules in the way and their demands."""
    worst = max(found, key=lambda one: len(one.demands))
    rows = [
        (one.rule, len(one.demands), _names(case, one.demands), one.text + _forbidden(case, one))
        for one in found
    ]
    return PlanReport(
        verb="site",
        question=QUESTION,
        lead=f"no plan exists: {worst.rule}: {worst.text} ({_names(case, worst.demands)})",
        answer=Answer.NO,
        figures={
            "status": "infeasible",
            "objective": None,
            "lower_bound": None,
            "open": [],
            "infeasible": [
                {
                    "rule": one.rule,
                    "demands": [case.demands[i] for i in one.demands],
                    "text": one.text,
                    "candidates_forbidden": {
                        rule: [case.sites[site] for site in sites]
                        for rule, sites in one.forbidden.items()
                    },
                }
                for one in found
            ],
        },
        sections=(
            Section(
                title="What stands in the way",
                blocks=(
                    Table(
                        title="Rules that cannot be kept",
                        heads=("rule", "demands", "which", "why"),
                        rows=tuple(rows),
                    ),
                ),
            ),
        ),
        assumptions=case.inputs.used(),
    )


def _forbidden(case: Case, one: Obstacle) -> str:
    """Name the candidates that each rule keeps away, where one alone does not tell it all."""
    if len(one.forbidden) < 2:
        return ""
    parts = (
        f"{rule} keeps away {', '.join(case.site_text(site) for site in sites[:6])}"
        + (f" and {len(sites) - 6} more" if len(sites) > 6 else "")
        for rule, sites in one.forbidden.items()
    )
    return "; " + ", ".join(parts)


def _names(case: Case, demands: Sequence[int]) -> str:
    cities = case.instance.demands if case.instance is not None else None
    shown = [
        f"{case.demands[i]} {cities[i].city}".strip() if cities else str(case.demands[i])
        for i in demands[:6]
    ]
    return ", ".join(shown) + (f" and {len(demands) - 6} more" if len(demands) > 6 else "")


def _no_split_plan(problem: Problem, seconds: float) -> bool:
    """Return whether splitting demands would not help either: then the sites are too few."""
    if problem.count is None:
        return False
    split = replace(problem, split=True)
    return solve(split, seconds=seconds, tell=lambda _share, _what: None).infeasible


def none_found(case: Case, *, proven: bool, seconds: float) -> PlanReport:
    """Say which rule is left when each demand alone and all together could be served."""
    every = tuple(range(len(case.demands)))
    if proven:
        shared = case.problem.split or _no_split_plan(case.problem, seconds)
        rule = EVERY_SITE if shared else WHOLE
        text = (
            f"{case.problem.count} site(s) cannot serve all demands"
            if shared
            else "no way to assign whole demands fits all capacities; --split lets sites share"
        )
        return infeasible(case, [Obstacle(rule=rule, demands=every, text=text)])
    return PlanReport(
        verb="site",
        question=QUESTION,
        lead=f"no plan was found in {seconds:g} s, and none was ruled out: try --split, --seconds",
        answer=Answer.UNKNOWN,
        figures={"status": "unknown", "objective": None, "lower_bound": None, "open": []},
        assumptions=case.inputs.used(),
    )
