"""The report of `skerry plan move --latency`: what a latency limit leaves of the saving."""

from collections.abc import Sequence

import numpy as np

from skerry.plan.energy.move_near import Near, broken, mean_g, place_near, year_means
from skerry.plan.energy.signals import Signal
from skerry.plan.regret import regret
from skerry.schema.plan_report import Advice, Answer, Lines, PlanReport, Section, Table


def near_report(
    signal: Signal,
    near: Near,
    *,
    limits_ms: Sequence[float],
    load_ratio: float,
    threshold: float,
) -> PlanReport:
    """Place loads under each limit, on the first half of the signal; judge on the second."""
    half = signal.hours // 2
    whole = year_means(near, signal.factor, 0, signal.hours)
    seen = year_means(near, signal.factor, 0, half)
    unseen = year_means(near, signal.factor, half, signal.hours)
    stay = np.eye(len(near.regions)) * load_ratio
    home_g = mean_g(stay, whole)
    placed = {
        limit: place_near(near, whole, limit_ms=limit, load_ratio=load_ratio) for limit in limits_ms
    }
    faults = [
        fault
        for limit, shares in placed.items()
        for fault in broken(near, shares, limit_ms=limit, load_ratio=load_ratio)
    ]
    saved = {limit: 1 - mean_g(shares, whole) / home_g for limit, shares in placed.items()}
    last = limits_ms[-1]
    gain = max(saved.values()) >= threshold
    text = ", ".join(f"{ratio:.1%} within {limit:g} ms" for limit, ratio in saved.items())
    # The rule is made on what was seen; hindsight places on the unseen half itself.
    chosen = place_near(near, seen, limit_ms=last, load_ratio=load_ratio)
    best = place_near(near, unseen, limit_ms=last, load_ratio=load_ratio)
    name, hindsight = "as the first half places them", "as the second half would"
    judged = regret(
        {name: mean_g(chosen, seen), hindsight: mean_g(best, seen)},
        {name: mean_g(chosen, unseen), hindsight: mean_g(best, unseen)},
        unit="g/kWh",
        on=f"{signal.span(half)} of {signal.path}",
    )
    notes = ["where loads run is fixed for the whole signal; moving's own energy is not in it"]
    if near.left_out:
        notes.append(f"left out, as the signal lacks their zone: {', '.join(near.left_out)}")
    notes += [f"the independent check found: {fault}" for fault in faults]
    hosts = placed[last].sum(axis=0)
    return PlanReport(
        verb="move",
        question="What does moving save between regions that are near enough?",
        lead=f"{'' if gain else 'no gain: '}{text}; at home {home_g:.4g} g/kWh",
        answer=Answer.YES if gain else Answer.NO,
        figures={
            "regions": len(near.regions),
            "origin_g_per_kwh": home_g,
            "limits_ms": list(limits_ms),
            "saving_ratio_by_limit": [saved[limit] for limit in limits_ms],
            "g_per_kwh_by_limit": [mean_g(placed[limit], whole) for limit in limits_ms],
            "load_ratio": load_ratio,
            "check_faults": faults,
            "threshold_ratio": threshold,
        },
        advice=(
            Advice(
                choice=f"loads within {last:g} ms of home, {name}",
                reason=f"the least mean intensity with {1 - load_ratio:.0%} of each room free",
                runner_up="staying at home",
                flip="the limit falls to what the nearest cleaner region needs",
                regret=judged,
            ),
        ),
        sections=(
            Section(
                title="What a limit leaves",
                text=f"{len(near.regions)} regions, each with {load_ratio:.0%} of its room used.",
                blocks=(
                    Table(
                        title="Placement by latency limit",
                        heads=("limit", "g/kWh", "saved %"),
                        rows=tuple(
                            (f"{limit:g} ms", mean_g(placed[limit], whole), 100 * saved[limit])
                            for limit in limits_ms
                        ),
                    ),
                    Lines(
                        title="Saving by latency limit",
                        x_unit="ms round trip",
                        y_unit="% saved",
                        series=(
                            ("saved", tuple((limit, 100 * saved[limit]) for limit in limits_ms)),
                        ),
                    ),
                ),
            ),
            Section(
                title=f"Who hosts within {last:g} ms",
                blocks=(
                    Table(
                        title="Regions, cleanest first",
                        heads=("region", "zone", "mean g/kWh", "used %"),
                        rows=tuple(
                            (
                                near.regions[at],
                                near.zones[at],
                                float(whole[at]),
                                100 * float(hosts[at]),
                            )
                            for at in np.argsort(whole).tolist()
                        ),
                    ),
                ),
            ),
        ),
        notes=tuple(notes),
    )
