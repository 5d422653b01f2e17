"""The report of `skerry plan capacity --fleet`: nodes per site, by production's decisions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skerry.fleet.load import load_fleet
from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.fleet import (
    NODES_MAX,
    Question,
    Tell,
    TierSized,
    part,
    size_tiers,
    tiers_to_size,
)
from skerry.plan.capacity.least import load_to_flip
from skerry.plan.capacity.regret import judged
from skerry.plan.capacity.target import Target, counted
from skerry.plan.from_run import run_notes
from skerry.plan.predict import prediction_errors
from skerry.plan.services import guessed, services_s
from skerry.plan.trace import read_trace
from skerry.schema.fleet import Fleet
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import (
    Advice,
    Answer,
    Lines,
    PlanReport,
    Section,
    Table,
)
from skerry.schema.run_figures import RunFigures

HEADS = ("nodes a site", "answered", "local", "mean s", "p50 s", "p95 s", "p99 s", "holds")
FLIP_STEP = 0.05


def ask_fleet(
    fleet_path: Path,
    trace_path: Path,
    targets: tuple[Target, ...],
    *,
    tiers: Sequence[str],
    counts: range | None,
    seed: int,
    spare: int,
    inputs: Assumptions,
    run: RunFigures | None,
    at_unix_s: float,
    tell: Tell,
) -> PlanReport:
    """Read a fleet and its trace and return the report; measured times come before the tables'."""
    if not targets:
        raise CapacityError("nothing is asked of the fleet", "give --target p95=50ms")
    fleet = load_fleet(fleet_path)
    measured = run.service_ms if run is not None else None
    question = Question(
        fleet=fleet,
        trace=read_trace(trace_path, fleet),
        services_s=services_s(fleet, measured),
        targets=targets,
        seed=seed,
    )
    return fleet_report(
        question,
        tiers_to_size(fleet, tiers),
        counts or range(1, NODES_MAX + 1),
        spare=spare,
        inputs=inputs,
        run=run,
        at_unix_s=at_unix_s,
        unknown=guessed(fleet, measured),
        tell=tell,
    )


def fleet_report(
    question: Question,
    tiers: Sequence[str],
    counts: range,
    *,
    spare: int = 0,
    inputs: Assumptions,
    run: RunFigures | None,
    at_unix_s: float,
    unknown: Sequence[str],
    tell: Tell,
) -> PlanReport:
    """Return how many nodes each site of the tiers needs, and what that rests on.

    `spare` nodes are added to every site, so that as many may be away at any time. Goals are
    predicted with the advised nodes; a run is held against the nodes the file has now.
    """
    sized, chosen = size_tiers(question, tiers, counts, lambda share: tell(0.5 * share))
    done = all(one.nodes_least is not None for one in sized)
    advice = _advice(question, chosen, sized, counts, spare, inputs) if done else ()
    tell(1.0)
    names = ", ".join(target.name for target in question.targets)
    now = _goals(question, at_unix_s)
    errors = prediction_errors(now, run.goals) if run is not None else {}
    return PlanReport(
        verb="capacity",
        question=f"How many nodes does each site of {question.fleet.name} need for {names}?",
        lead="; ".join(f"{one.tier}: {_words(one)}" for one in sized),
        answer=Answer.YES if done else Answer.NO,
        figures={
            "requests": len(question.trace),
            "span_s": question.trace.span_s,
            "tiers": sized,
            "service_s": dict(question.services_s),
        },
        advice=advice,
        changes=changes(question.fleet, sized, spare),
        goals=_goals(chosen, at_unix_s) if done else now,
        prediction_error_ratio={name.value: error for name, error in errors.items()},
        sections=tuple(_section(one) for one in sized),
        assumptions=inputs.used(),
        notes=(
            "admission, stand-in, ranking and the choice of two nodes are production's own, "
            "compiled; each node runs one request at a time",
            f"{question.trace.source}; seed {question.seed}",
            *(
                f"no service time is known for {name}; the router's own guess stands in"
                for name in unknown
            ),
            *run_notes(run, question.fleet),
        ),
    )


def changes(fleet: Fleet, sized: Sequence[TierSized], spare: int = 0) -> dict[str, str]:
    """Return the advice as values of the fleet file; sites with a number of their own too."""
    found = {}
    for one in sized:
        if one.nodes_least is None:
            continue
        tier = fleet.tiers[one.tier]
        found[f"tiers.{one.tier}.nodes"] = f"{one.nodes_least + spare} x {tier.machine.name}"
        for site in fleet.sites:
            if site.tier == one.tier and site.nodes != tier.nodes:
                found[f"sites.{site.name}.nodes"] = str(one.nodes_least + spare)
    return found


def _words(one: TierSized) -> str:
    if one.nodes_least is None:
        return one.reason
    return f"{counted(one.nodes_least, 'node')} at each of {one.sites} sites (now {one.nodes_now})"


def _advice(
    question: Question,
    chosen: Question,
    sized: Sequence[TierSized],
    counts: range,
    spare: int,
    inputs: Assumptions,
) -> tuple[Advice, ...]:
    def fails(more: float) -> bool:
        faster = chosen.faster(1 + more)
        return not faster.holds(faster.run())

    flip = load_to_flip(fails, step=FLIP_STEP)
    tiers = [one.tier for one in sized]

    def needs(first: int, last: int) -> list[int | None]:
        asked = question.of(part(question.trace, first, last))
        return [one.nodes_least for one in size_tiers(asked, tiers, counts, lambda _: None)[0]]

    regrets = judged(
        len(question.trace), needs, what="nodes a site", inputs=inputs, things=len(sized)
    )
    return tuple(
        Advice(
            choice=f"{one.tier}: {counted(one.nodes_least + spare, 'node')} a site",
            reason=f"{one.reason}; {spare} more may be away at any time" if spare else one.reason,
            runner_up=f"{one.nodes_least + spare + 1} nodes a site",
            flip="" if flip is None else f"the same requests come {flip:.1%} faster",
            regret=regret,
            no_regret=why,
        )
        for one, (regret, why) in zip(sized, regrets, strict=True)
        if one.nodes_least is not None
    )


def _goals(question: Question, at_unix_s: float) -> tuple[GoalRecord, ...]:
    """Return what a fleet would keep of its goals with the nodes it has here."""
    run = question.run()
    if not run.answered:
        return ()
    p95_ms = float(np.percentile(run.latencies_ms, 95, method="inverted_cdf"))
    values = {
        GoalName.LATENCY_MS_P95: p95_ms,
        GoalName.LOCAL_RATIO: run.local / run.answered,
        GoalName.AVAILABILITY_RATIO: run.answered / len(question.trace),
    }
    return tuple(
        GoalRecord(
            name=name,
            goal=question.fleet.goals.get(name),
            predicted=Figure(
                value=value,
                low=value,
                high=value,
                level=Level.ESTIMATE,
                source=f"replay of the trace, seed {question.seed}",
                at_unix_s=at_unix_s,
                samples=len(question.trace),
            ),
            reason="predicted, not measured",
        )
        for name, value in values.items()
    )


def _section(one: TierSized) -> Section:
    rows = tuple(
        (
            row.nodes,
            row.answered_ratio,
            row.local_ratio,
            row.sojourn_s_mean,
            row.sojourn_s_p50,
            row.sojourn_s_p95,
            row.sojourn_s_p99,
            "yes" if row.holds else "no",
        )
        for row in one.tried
    )
    line = tuple(
        (float(row.nodes), row.sojourn_s_p95) for row in one.tried if row.sojourn_s_p95 is not None
    )
    chart = Lines(title="p95", x_unit="nodes a site", y_unit="s", series=(("p95", line),))
    return Section(
        title=f"Tier {one.tier}",
        text=one.reason,
        blocks=(
            Table(title=f"Nodes at each site of {one.tier}", heads=HEADS, rows=rows),
            *((chart,) if len(line) > 1 else ()),
        ),
    )
