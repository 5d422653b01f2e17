"""The report of `skerry plan consolidate`: all on, a rule with its realised saving, the bound."""

from typing import Final

import numpy as np

from skerry.energy.replicas import Replicas
from skerry.plan.energy.consolidate import DAYS_MIN, SPARES, Days, Kept, judge, rule
from skerry.plan.regret import regret
from skerry.schema.assumption import Assumption
from skerry.schema.plan_report import Advice, Answer, Bars, Lines, PlanReport, Section, Table

DAYS_PER_YEAR: Final = 365.25
ALL_ON: Final = "all on"


def consolidate_report(
    source: str,
    days: Days,
    replicas: Replicas,
    *,
    pue_ratio: float,
    threshold: float,
    assumptions: tuple[Assumption, ...] = (),
) -> PlanReport:
    """Judge rules that rest machines off-peak."""
    peak = float(days.load.max())
    always = replicas.all_on(days.load.shape[1])
    bound = judge("known beforehand", None, days, replicas)
    whole = judge(ALL_ON, always, days, replicas)
    bound_ratio = _saved(bound, whole)
    figures: dict[str, object] = {
        "peak_load_machines": peak,
        "machines": replicas.machines,
        "all_on_wh_per_day": whole.wh_per_day * pue_ratio,
        "bound_saving_ratio": bound_ratio,
        "days": days.days,
        "threshold_ratio": threshold,
    }
    overload = (
        (
            f"the load reaches {peak:.3g} busy machines, more than {replicas.machines} at "
            f"{replicas.utilisation_max:.0%} carry: capacity comes first",
        )
        if peak > replicas.machines * replicas.utilisation_max
        else ()
    )
    if days.days < DAYS_MIN:
        return PlanReport(
            verb="consolidate",
            question="May machines rest off-peak?",
            lead=(
                f"the trace has fewer than {DAYS_MIN} whole days, so no rule can be made "
                f"and judged; knowing the load beforehand would save {bound_ratio:.1%}"
            ),
            answer=Answer.UNKNOWN,
            figures=figures,
            assumptions=assumptions,
            notes=overload,
        )
    half = days.days // 2
    seen, unseen = days.part(0, half), days.part(half, days.days)
    rules = {ALL_ON: always} | {_name(one): rule(seen, replicas, spare=one) for one in SPARES}
    before = {name: judge(name, on, seen, replicas) for name, on in rules.items()}
    after = {name: judge(name, on, unseen, replicas) for name, on in rules.items()}
    judged = regret(
        {name: kept.wh_per_day * pue_ratio for name, kept in before.items()},
        {name: kept.wh_per_day * pue_ratio for name, kept in after.items()},
        unit="Wh per day",
        on=f"days {half + 1} to {days.days} of {source}",
    )
    chosen, base = after[judged.chosen], after[ALL_ON]
    saved = _saved(chosen, base)
    gain = saved >= threshold and judged.chosen != ALL_ON
    limit = _saved(judge("known beforehand", None, unseen, replicas), base)
    yearly_kwh = (base.wh_per_day - chosen.wh_per_day) * pue_ratio * DAYS_PER_YEAR / 1000
    true = f"{saved:.1%} ({yearly_kwh:,.0f} kWh a year)"
    ranked = sorted(before, key=lambda name: before[name].wh_per_day)
    return PlanReport(
        verb="consolidate",
        question="May machines rest off-peak?",
        lead=(
            f"a rule by the time of day saves {true} on days it has not seen; "
            f"knowing the load beforehand would save {limit:.1%}"
            if gain
            else f"no gain: resting machines would save {true}, less than {threshold:.1%}"
        ),
        answer=Answer.YES if gain else Answer.NO,
        figures={
            "saving_ratio": saved if gain else 0.0,
            "true_ratio": saved,
            "saving_kwh_per_year": yearly_kwh if gain else 0.0,
            **figures,
            "bound_saving_ratio": limit,
            "rule_machines_on": rules[judged.chosen].tolist(),
            "rule": judged.chosen,
            "steps_short": chosen.steps_short,
            "step_s": days.step_s,
        },
        advice=(
            Advice(
                choice=judged.chosen,
                reason=(
                    f"the least energy on days 1 to {half}; on the others it was too small in "
                    f"{chosen.steps_short} of {unseen.load.size} steps, which woke everybody"
                ),
                runner_up=ranked[1],
                flip="more steps than these turn out too small",
                regret=judged,
            ),
        ),
        sections=(
            Section(
                title="Ways to rest",
                text=f"{source}: made on days 1 to {half}, judged on the rest.",
                blocks=(_table(after, pue_ratio), _bars(after, pue_ratio)),
            ),
            Section(
                title="The day",
                blocks=(_day(days, rules[judged.chosen]),),
            ),
        ),
        assumptions=assumptions,
        notes=overload,
    )


def _name(spare: int) -> str:
    return "rest by hour" if not spare else f"and {spare} spare"


def _saved(one: Kept, base: Kept) -> float:
    return 1 - one.wh_per_day / base.wh_per_day if base.wh_per_day else 0.0


def _table(kept: dict[str, Kept], pue_ratio: float) -> Table:
    base = kept[ALL_ON]
    return Table(
        title="On days the rule has not seen",
        heads=("way", "Wh per day", "saved %", "steps too small"),
        rows=tuple(
            (one.name, one.wh_per_day * pue_ratio, 100 * _saved(one, base), one.steps_short)
            for one in kept.values()
        ),
    )


def _bars(kept: dict[str, Kept], pue_ratio: float) -> Bars:
    return Bars(
        title="Energy a day",
        unit="Wh",
        rows=tuple((one.name, one.wh_per_day * pue_ratio) for one in kept.values()),
    )


def _day(days: Days, on: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Lines:
    hours = np.arange(days.load.shape[1]) * days.step_s / 3600

    def line(
        values: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    ) -> tuple[tuple[float, float], ...]:
        return tuple(zip(hours.tolist(), values.tolist(), strict=True))

    return Lines(
        title="Machines busy and machines on",
        x_unit="hours from the day's start",
        y_unit="machines",
        series=(
            ("mean load", line(days.load.mean(axis=0))),
            ("largest load", line(days.load.max(axis=0))),
            ("on by the rule", line(on.astype(np.float64))),
        ),
    )
