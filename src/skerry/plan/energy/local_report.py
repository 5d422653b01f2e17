"""The report of `skerry plan local`: yes, no or unknown, and what it hangs on."""

from collections.abc import Mapping, Sequence

from skerry.energy.machine_use import Use
from skerry.plan.assumptions import Assumptions
from skerry.plan.energy.local import Compared, Pair, Spent, compared, halves, replayed
from skerry.plan.regret import regret
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import Advice, Answer, PlanReport, Section, Stack, Table

WORDS = {True: Answer.YES, False: Answer.NO, None: Answer.UNKNOWN}
LOCAL, CLOUD = "answer on the spot", "answer in the cloud"


def local_report(
    fleet: Fleet,
    traces: Sequence[Trace],
    inputs: Assumptions,
    *,
    services_s: Mapping[str, float],
    seeds: Sequence[int],
    own: Use,
    at_unix_s: float,
    measured_wh_per_1k: float | None = None,
    notes: Sequence[str] = (),
) -> PlanReport:
    """Answer for a fleet; one trace per seed, or one trace for all of them."""
    pairs = [
        replayed(fleet, trace, services_s=services_s, seed=seed)
        for trace, seed in zip(traces, seeds, strict=True)
    ]
    found = compared(fleet, pairs, inputs, own=own)
    span_s = traces[0].span_s
    per_day = found.local.answered * 86_400 / span_s
    even = found.break_even_per_day(span_s)
    local, cloud = found.local.wh_per_1k, found.cloud.wh_per_1k
    low, high = min(found.differences), max(found.differences)
    verdict = {
        True: f"local saves {-100 * (local / cloud - 1):.0f} % of the energy",
        False: f"local draws {local / cloud:.2g} times the energy",
        None: f"it hangs on {' and '.join(found.hangs_on) or 'both assumptions together'}",
    }[found.saves]
    lead = (
        f"{verdict}: {local:.3g} Wh per 1,000 answers here, {cloud:.3g} in the cloud "
        f"(difference {low:+.3g} to {high:+.3g})"
    )
    errors = {}
    if measured_wh_per_1k:
        errors = {GoalName.ENERGY_WH_PER_1K.value: local / measured_wh_per_1k - 1}
    return PlanReport(
        verb="local",
        question="Does local really save energy here?",
        lead=lead,
        answer=WORDS[found.saves],
        figures={
            "local_wh_per_1k": local,
            "cloud_wh_per_1k": cloud,
            "difference_wh_per_1k_low": low,
            "difference_wh_per_1k_high": high,
            "local_idle_wh_per_1k": found.local.idle_wh * 1000 / max(found.local.answered, 1),
            "local_network_wh_per_1k": _network(found.local),
            "cloud_network_wh_per_1k": _network(found.cloud),
            "answers_per_day": per_day,
            "hangs_on": list(found.hangs_on),
            "break_even_answers_per_day": even,
            "local_machines": own.value,
            "requests": len(traces[0]),
            "seeds": list(seeds),
        },
        goals=(_goal(found, traces[0].source, at_unix_s),),
        prediction_error_ratio=errors,
        advice=(
            ()
            if found.saves is None
            else (_advice(fleet, traces, pairs, inputs, found, services_s, seeds, own, even),)
        ),
        sections=(
            Section(
                title="Where the energy goes",
                text=f"{traces[0].source}; {len(seeds)} replays.",
                blocks=(_table(found), _stack(found)),
            ),
        ),
        assumptions=inputs.used(),
        notes=(
            *notes,
            f"machines on the spot are {_own(own)}; the cloud's are shared",
            "ranges are over every replay and every end of how full the cloud is and of what "
            "a byte on its way takes",
        ),
    )


def _own(own: Use) -> str:
    return {
        Use.DEDICATED: "dedicated: their idle power counts around the clock",
        Use.THERE: "there anyway: only what the load adds counts",
        Use.SHARED: "shared, as full as the cloud's",
    }[own]


def _network(one: Spent) -> float:
    return one.network_wh * 1000 / max(one.answered, 1)


def _advice(
    fleet: Fleet,
    traces: Sequence[Trace],
    pairs: Sequence[Pair],
    inputs: Assumptions,
    found: Compared,
    services_s: Mapping[str, float],
    seeds: Sequence[int],
    own: Use,
    even: float | None,
) -> Advice:
    """Choose by what was seen first, judge on what came after."""
    if len({id(trace) for trace in traces}) == 1:  # one file: its second half is unseen
        first, second = (
            compared(
                fleet,
                [replayed(fleet, part, services_s=services_s, seed=seeds[0])],
                inputs,
                own=own,
            )
            for part in halves(traces[0])
        )
        on = f"the second half of {traces[0].source}"
    elif len(pairs) > 1:
        first, second = (compared(fleet, [pair], inputs, own=own) for pair in pairs[:2])
        on = f"the day of seed {seeds[1]}"
    else:
        first = second = found
        on = ""
    costs = [{LOCAL: one.local.wh_per_1k, CLOUD: one.cloud.wh_per_1k} for one in (first, second)]
    judged = regret(costs[0], costs[1], unit="Wh per 1,000 answers", on=on)
    cloud = judged.chosen == CLOUD
    flip = (
        "the cloud's machines are emptier than assumed"
        if even is None
        else f"answers {'rise above' if cloud else 'fall below'} {even:,.0f} a day"
    )
    return Advice(
        choice=judged.chosen,
        reason="the least energy per answer, network and cooling included",
        runner_up=LOCAL if cloud else CLOUD,
        flip=flip,
        regret=judged if on else None,
        no_regret="" if on else "one made-up day only: ask for two seeds or give a trace",
    )


def _goal(found: Compared, source: str, at_unix_s: float) -> GoalRecord:
    def figure(one: Spent) -> Figure:
        return Figure(
            value=one.wh_per_1k,
            low=one.wh_per_1k,
            high=one.wh_per_1k,
            level=Level.ESTIMATE,
            source=source,
            at_unix_s=at_unix_s,
        )

    return GoalRecord(
        name=GoalName.ENERGY_WH_PER_1K,
        goal=None,
        predicted=figure(found.local),
        baseline=figure(found.cloud),
        reason="predicted, not measured",
    )


def _parts(one: Spent) -> tuple[float, float, float]:
    share = 1000 / max(one.answered, 1)
    return one.idle_wh * share, (one.machines_wh - one.idle_wh) * share, one.network_wh * share


def _table(found: Compared) -> Table:
    return Table(
        title="Wh per 1,000 answers",
        heads=("way", "idle", "work", "network", "all", "answered"),
        rows=tuple(
            (name, *_parts(one), one.wh_per_1k, one.answered)
            for name, one in (("local", found.local), ("cloud alone", found.cloud))
        ),
        note="cooling is in idle and in work",
    )


def _stack(found: Compared) -> Stack:
    return Stack(
        title="Energy per 1,000 answers",
        unit="Wh",
        parts=("idle", "work", "network"),
        rows=(("local", _parts(found.local)), ("cloud alone", _parts(found.cloud))),
    )
