"""The report of `skerry plan capacity`: what was asked, answered, checked and left open."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from skerry.base.units import MS_PER_SECOND
from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity.check import Formulas, formulas, servers_by_formula
from skerry.plan.capacity.headroom import Case
from skerry.plan.capacity.least import Simulator, Sized, load_to_flip, size, too_much, worst
from skerry.plan.capacity.more import NOTHING_MORE, More, Wishes, more_of, more_sections
from skerry.plan.capacity.regret import judged
from skerry.plan.capacity.target import Figures, Target, counted
from skerry.plan.capacity.trace import Work
from skerry.plan.predict import prediction_errors
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import (
    Advice,
    Answer,
    Cell,
    Lines,
    PlanReport,
    Section,
    Table,
)

SERVER_HEADS = (
    "servers",
    "used",
    "mean wait s",
    "waited",
    "mean s",
    "p50 s",
    "p95 s",
    "p99 s",
)
_AROUND = 3
"""Rows shown on each side of the answer where no range was asked for."""


def capacity_report(
    work: Work,
    targets: Sequence[Target],
    *,
    servers: range | None,
    inputs: Assumptions,
    wishes: Wishes = NOTHING_MORE,
    measured: Sequence[GoalRecord] = (),
    at_unix_s: float = 0.0,
    tell: Callable[[float], None] = lambda _: None,
) -> PlanReport:
    """Return the answer for one queue; either targets or a range of servers is given.

    `measured` are goals of a run, which the prediction is held against.
    """
    simulator = Simulator.of(work)
    sized = [size(simulator, target) for target in targets]
    chosen = worst(sized)
    tell(0.2)
    more = More()
    if chosen is not None:
        kept = [target for target, one in zip(targets, sized, strict=True) if not one.impossible]
        more = more_of(simulator, kept, chosen, wishes, inputs)
    tell(0.7)
    shown = servers or _around(chosen)
    table = [simulator.figures(count) for count in shown]
    check = formulas(simulator, chosen or (shown[-1] if shown else 1))
    by_formula = {one.name: servers_by_formula(work, one) for one in targets}
    goals = _goals(simulator, targets, chosen, at_unix_s)
    advice = _advice(work, targets, sized, chosen, more, wishes, inputs)
    return PlanReport(
        verb="capacity",
        question="How many servers does this trace need?",
        lead=lead(work, sized, table, more),
        answer=answer(sized, more),
        figures={
            **work_figures(work),
            "servers_least": chosen,
            **{
                name: found
                for name in ("headroom", "profile", "autoscaled")
                if (found := getattr(more, name)) is not None
            },
            "targets": sized,
            "servers": table,
            "formulas": check,
            "servers_by_formula": by_formula,
        },
        advice=advice,
        goals=goals,
        prediction_error_ratio={
            name.value: error for name, error in prediction_errors(goals, measured).items()
        },
        sections=(
            *_target_section(sized, by_formula),
            *more_sections(more),
            *_server_section(table, targets),
            check_section(check),
        ),
        assumptions=inputs.used(),
        notes=(*_notes(work), f"formulas: {check.verdict}"),
    )


def _goals(
    simulator: Simulator, targets: Sequence[Target], chosen: int | None, at_unix_s: float
) -> tuple[GoalRecord, ...]:
    """Return the p95 that the least number of servers is predicted to have."""
    if chosen is None:
        return ()
    value = simulator.figures(chosen).sojourn_s_p95 * MS_PER_SECOND
    limits = [one.limit_s * MS_PER_SECOND for one in targets if one.metric == "p95"]
    predicted = Figure(
        value=value,
        low=value,
        high=value,
        level=Level.ESTIMATE,
        source=f"{simulator.work.source} simulated with {chosen} servers",
        at_unix_s=at_unix_s,
        samples=len(simulator.work),
    )
    return (
        GoalRecord(
            name=GoalName.LATENCY_MS_P95,
            goal=min(limits, default=None),
            predicted=predicted,
            reason="predicted, not measured",
        ),
    )


def work_figures(work: Work) -> dict[str, object]:
    """Return what the trace itself says."""
    return {
        "requests": len(work),
        "span_s": work.span_s,
        "load_erlang": work.load_erlang if work.span_s else None,
        "service_s_mean": float(work.service_s.mean()),
        "service_s_max": float(work.service_s.max()),
    }


def answer(sized: Sequence[Sized], more: More) -> Answer:
    """Return whether every target can be kept, also through the loss that was asked about."""
    if not sized:
        return Answer.NONE
    fails = more.headroom is not None and more.headroom.servers is None
    return Answer.NO if fails or any(one.impossible for one in sized) else Answer.YES


def lead(work: Work, sized: Sequence[Sized], table: Sequence[Figures], more: More) -> str:
    """Return the answer in one sentence."""
    load = f"{work.load_erlang:.4g} erlang" if work.span_s else "all at once"
    what = f"{len(work):,} requests, {load}"
    if not sized:
        one = table[0]
        return f"{what}: {counted(one.servers, 'server')}, p99 of {one.sojourn_s_p99:.4g} s"
    parts = [
        f"{one.target} is impossible (service alone: {one.value_s:.4g} s)"
        if one.impossible
        else f"{one.target} needs {one.servers_least}"
        for one in sized
    ]
    if more.headroom is not None:
        number = more.headroom.servers or "no number"
        parts.append(f"{number} with headroom ({more.headroom.loss})")
    return f"{what}: {'; '.join(parts)}"


def check_section(check: Formulas) -> Section:
    """Return what the formulas say beside the simulation."""
    rows: tuple[tuple[Cell, ...], ...] = (
        ("simulated", check.simulated_wait_s_mean),
        ("Erlang C (M/M/c)", check.erlang_c_wait_s_mean),
        ("Kimura (M/G/c)", check.kimura_wait_s_mean),
        ("Kimura, for these arrivals (G/G/c)", check.varied_wait_s_mean),
    )
    return Section(
        title="The formulas beside it",
        text=check.verdict,
        blocks=(
            Table(
                title=f"Mean wait with {check.servers} servers",
                heads=("by", "mean wait s"),
                rows=rows,
            ),
        ),
    )


def _around(chosen: int | None) -> range:
    if chosen is None:
        return range(0)
    return range(max(1, chosen - _AROUND), chosen + _AROUND + 1)


def _advice(
    work: Work,
    targets: Sequence[Target],
    sized: Sequence[Sized],
    chosen: int | None,
    more: More,
    wishes: Wishes,
    inputs: Assumptions,
) -> tuple[Advice, ...]:
    if chosen is None:
        return ()
    kept = [target for target, one in zip(targets, sized, strict=True) if not one.impossible]

    def needs(first: int, last: int) -> list[int | None]:
        part = Simulator.of(work.part(first, last, "a part"))
        return [worst(size(part, target) for target in kept)]

    ((regret, why),) = judged(len(work), needs, what="servers", inputs=inputs)
    binding = next(one for one in sized if one.servers_least == chosen)
    wanted = chosen
    if more.headroom is not None and more.headroom.servers is not None:
        wanted = more.headroom.servers

    def fails(share: float) -> bool:
        if wishes.loss is None:
            return too_much(work, kept, wanted, share)
        case = Case.of(work.faster(1 + share), wishes.loss, sites=wishes.sites, inputs=inputs)
        return not case.holds(wanted, kept)

    flip = load_to_flip(fails)
    return (
        Advice(
            choice=counted(wanted, "server"),
            reason=more.headroom.reason if more.headroom is not None else binding.reason,
            runner_up=f"{wanted + 1} servers",
            flip="" if flip is None else f"the same requests come {flip:.2%} faster",
            regret=regret,
            no_regret=why,
        ),
    )


def _target_section(
    sized: Sequence[Sized], by_formula: Mapping[str, int | None]
) -> Iterable[Section]:
    if not sized:
        return
    rows = tuple(
        (
            one.target,
            one.servers_least if one.servers_least is not None else "impossible",
            one.value_s,
            one.value_s_one_less,
            by_formula[one.target],
        )
        for one in sized
    )
    yield Section(
        title="Targets",
        text="Each least number was simulated, and one less beside it.",
        blocks=(
            Table(
                title="Least servers per target",
                heads=("target", "servers", "then s", "one less s", "by formula"),
                rows=rows,
            ),
        ),
    )


def _server_section(table: Sequence[Figures], targets: Sequence[Target]) -> Iterable[Section]:
    if not table:
        return
    limits = {target.limit_s for target in targets}
    series = tuple(
        (name, tuple((float(row.servers), float(getattr(row, field))) for row in table))
        for name, field in (
            ("p50", "sojourn_s_p50"),
            ("p95", "sojourn_s_p95"),
            ("p99", "sojourn_s_p99"),
        )
    )
    yield Section(
        title="Waits by number of servers",
        text="Simulated: first in, first out; a request takes the server that is free first.",
        blocks=(
            Table(title="Servers", heads=SERVER_HEADS, rows=tuple(row.row for row in table)),
            Lines(
                title="From arrival to answer",
                x_unit="servers",
                y_unit="s",
                series=series,
                limit=limits.pop() if len(limits) == 1 else None,
            ),
        ),
    )


def _notes(work: Work) -> Iterable[str]:
    if work.start_unix_s is None:
        yield "arrivals are read as seconds"
    else:
        yield "arrivals are read as timestamps"
    if not work.span_s:
        yield "all requests arrive at once, so there is no rate to compare a formula with"
