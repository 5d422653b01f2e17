"""The question "where should sites be?", answered: `skerry plan site`.

The answer is a set of sites with its cost, the bound that no set beats, an independent
check, the sites' loads, what happens when each is lost, and what would turn the choice
round. An instance without a plan names the rule in the way and the demands it concerns.

Units:   USD a year for our JSON; ms; the instance's own units of demand.
"""

import time
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from skerry.plan.site.case import Case
from skerry.plan.site.changes import fleet_changes
from skerry.plan.site.check import Checked
from skerry.plan.site.figures import (
    assignment_of,
    demand_table,
    latency_goal,
    load_bars,
    load_table,
    map_of,
    round_trips,
)
from skerry.plan.site.months import months_regret
from skerry.plan.site.no_plan import QUESTION, infeasible, none_found
from skerry.plan.site.obstacles import obstacles
from skerry.plan.site.problem import Siting
from skerry.plan.site.recovery import Recovery, recoveries
from skerry.plan.site.runner_up import SOLVED_PAIRS_MAX, RunnerUp, runner_up
from skerry.plan.site.solve import Tell, solve
from skerry.schema.plan_report import Advice, Answer, PlanReport, Regret, Section, Table

MAIN_S, SECOND_S, MONTHS_S = 0.6, 0.15, 0.25
"""Parts of the time: the answer, what comes second, months that were not seen."""
SHOWN = 8


def plan_site(
    case: Case, *, seconds: float, tell: Tell, tier: str | None = None, region: str | None = None
) -> PlanReport:
    """Answer the question for one case, within about `seconds`.

    `tier` and `region` are the fleet file's, for the changes that the answer comes to there.
    """
    began = time.monotonic()
    rules = case.rules
    binds = np.zeros(len(case.sites), bool) if rules is None else rules.permit_binds
    found = obstacles(case.problem, {} if rules is None else rules.forbids, binds)
    if found:
        return infeasible(case, found)
    anew = SECOND_S if case.problem.cost.size <= SOLVED_PAIRS_MAX else SECOND_S / 10
    weights = [MAIN_S, anew, MONTHS_S if case.months else 0.0]
    parts = iter(_parts(seconds, tell, weights))
    limit_s, say = next(parts)
    solved = solve(case.problem, seconds=limit_s, tell=say)
    if solved.siting is None:
        return none_found(case, proven=solved.infeasible, seconds=limit_s)
    siting = solved.siting
    limit_s, say = next(parts)
    second = runner_up(case.problem, siting, seconds=limit_s, tell=say)
    limit_s, say = next(parts)
    judged = months_regret(case, seconds=limit_s, tell=say)
    took_s = time.monotonic() - began
    report = _report(case, siting, case.check(siting), second, judged, took_s)
    if tier is None:
        return report
    changes = fleet_changes(case, siting, tier=tier, region=region)
    return msgspec.structs.replace(report, changes=changes)


def _parts(seconds: float, tell: Tell, weights: Sequence[float]) -> Iterator[tuple[float, Tell]]:
    """Yield each part's limit of time, and the part of the bar that is its own."""
    done, total = 0.0, sum(weights)
    for weight in weights:
        share, at = weight / total, done

        def say(part: float, what: str = "", *, share: float = share, at: float = at) -> None:
            tell(at + share * part, what)

        yield seconds * share, say
        done += share


def _report(
    case: Case,
    siting: Siting,
    checked: Checked,
    second: RunnerUp | None,
    judged: Regret | str,
    took_s: float,
) -> PlanReport:
    problem = case.problem
    plans = recoveries(problem, siting)
    opened = [int(site) for site in np.flatnonzero(siting.open)]
    status = "optimal" if siting.proven else "feasible"
    good = checked.ok(siting.objective)
    figures: dict[str, object] = {
        "status": status,
        **_costs(case, siting),
        "gap_ratio": siting.gap_ratio,
        "open_count": len(opened),
        "fixed_cost": float(problem.fixed[siting.open].sum()),
        **round_trips(case, siting),
        "objective": siting.objective,
        "lower_bound": siting.bound,
        "open": [case.sites[site] for site in opened],
        "split": problem.split,
        "method": siting.method,
        "took_s": round(took_s, 3),
        "check": {
            "ok": good,
            "objective": checked.objective,
            "rules": checked.rules,
            "breaches": checked.breaches,
        },
        "assignment": assignment_of(case, siting),
        "recovery": [_recovery_figures(case, one) for one in plans],
    }
    proof = "no plan is cheaper" if siting.proven else f"at most {siting.gap_ratio:.3%} dearer"
    lead = (
        f"open {len(opened)} of {len(case.sites)} sites for {siting.objective:,.3f} {case.unit}; "
        + (proof if siting.proven else f"{proof} than the best possible")
    )
    notes = [*siting.notes]
    if not good:
        notes.append("the independent check disagrees: " + "; ".join(checked.breaches[:3]))
    return PlanReport(
        verb="site",
        question=QUESTION,
        lead=lead,
        answer=Answer.NONE if good else Answer.UNKNOWN,
        figures=figures,
        advice=(_advice(case, siting, opened, second, judged),),
        goals=latency_goal(case, siting),
        sections=(
            Section(
                title="The sites",
                text=f"Lower bound {siting.bound:,.3f} {case.unit}, gap {siting.gap_ratio:.4%}; "
                f"found by {siting.method}. The independent check "
                + ("agrees with every rule and the objective." if good else "does not agree."),
                blocks=(load_table(case, siting), load_bars(case, siting), *map_of(case, siting)),
            ),
            Section(
                title="When a site is lost",
                text="Everybody else stays; its demand fills the room that is left.",
                blocks=(_recovery_table(case, plans),),
            ),
            Section(title="Who serves whom", blocks=(demand_table(case, siting),)),
        ),
        assumptions=case.inputs.used(),
        notes=tuple(notes),
    )


def _costs(case: Case, siting: Siting) -> dict[str, object]:
    """Return the objective and its bound by their unit, where they have one."""
    if case.instance is None:
        return {}
    return {"objective_usd_yr": siting.objective, "lower_bound_usd_yr": siting.bound}


def _advice(
    case: Case,
    siting: Siting,
    opened: Sequence[int],
    second: RunnerUp | None,
    judged: Regret | str,
) -> Advice:
    """Name the choice, and the cheapest plan that does without its weakest site."""
    problem = case.problem
    fixed = float(problem.fixed[siting.open].sum())
    reason = (
        f"{fixed:,.0f} to open, {siting.objective - fixed:,.0f} to serve ({case.unit});"
        f" the bound is {siting.bound:,.0f}"
    )
    second_text, flip = "", ""
    if second is not None:
        sites = [int(site) for site in np.flatnonzero(second.open)]
        second_text = f"{_sites(case, sites)}: {second.cost:,.0f} {case.unit}"
        about = "" if second.proven else "about "
        rise = second.cost - siting.objective
        lost = case.site_text(second.lost)
        flip = f"opening {lost} costs more than {about}{rise:,.0f} {case.unit} extra"
    return Advice(
        choice=_sites(case, opened),
        reason=reason,
        runner_up=second_text,
        flip=flip,
        regret=None if isinstance(judged, str) else judged,
        no_regret=judged if isinstance(judged, str) else "",
    )


def _sites(case: Case, sites: Sequence[int]) -> str:
    """Name sites, the first eight of them."""
    more = f" and {len(sites) - SHOWN} more" if len(sites) > SHOWN else ""
    return f"{len(sites)} sites: {', '.join(case.site_text(one) for one in sites[:SHOWN])}{more}"


def _recovery_figures(case: Case, one: Recovery) -> dict[str, object]:
    return {
        "lost": case.sites[one.lost],
        "moved": {str(case.sites[i]): float(one.moved[i]) for i in np.flatnonzero(one.moved)},
        "moved_units": float(one.moved.sum()),
        "unserved_units": float(one.unserved.sum()),
        "unserved_demands": [case.demands[i] for i in np.flatnonzero(one.unserved)],
        "spare": case.sites[one.spare] if one.spare >= 0 else None,
        "spare_takes_units": one.spare_takes,
        "out_of_reach_demands": [case.demands[i] for i in one.out_of_reach],
        "extra_cost": one.extra_cost,
    }


def _recovery_table(case: Case, plans: Sequence[Recovery]) -> Table:
    rows = []
    for one in plans:
        moved = np.flatnonzero(one.moved)
        where = ", ".join(case.site_text(i) for i in moved[np.argsort(-one.moved[moved])][:4])
        rows.append(
            (
                case.site_text(one.lost),
                float(one.moved.sum() + one.unserved.sum()),
                float(one.moved.sum()),
                where or "nowhere",
                float(one.unserved.sum()),
                len(one.out_of_reach),
                case.site_text(one.spare) if one.spare >= 0 else None,
                one.extra_cost,
            )
        )
    return Table(
        title="What each loss leaves",
        note="Out of reach: demands that no other open site may serve, whatever its room. A spare"
        " site: the closed candidate that could take most of what is not served.",
        heads=(
            *("lost", "its demand, units", "moved, units", "to", "not served, units"),
            *("out of reach", "a spare site for it", f"extra, {case.unit}"),
        ),
        rows=tuple(rows),
    )
