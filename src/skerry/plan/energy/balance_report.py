"""The report of `skerry plan energy`: import, export, self-consumption, autarky."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from skerry.energy.battery import Battery
from skerry.plan.assumptions import Assumptions
from skerry.plan.energy.balance import Balance, Profile, Series, balance
from skerry.schema.plan_report import Bars, Cell, Lines, PlanReport, Section, Stack, Table

SIZES: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Multiples of the battery that the table tries."""
DAY_H: Final = 24


def energy_report(
    profile: Profile,
    load_kw: Series,
    *,
    pv_kwp: float,
    battery: Battery,
    inputs: Assumptions,
    feed_kw: float | None,
    notes: Sequence[str] = (),
) -> PlanReport:
    """Lay out the balance of one site."""
    pv_kw = profile.output * pv_kwp

    def run(one: Battery) -> Balance:
        return balance(pv_kw, load_kw, step_h=profile.step_h, battery=one)

    found = run(battery)
    real = None
    if battery.efficiency_ratio == 1 and battery.capacity_kwh:
        real = run(replace(battery, efficiency_ratio=inputs["battery_round_trip_ratio"]))
        notes = (*notes, _ideal(found, real, inputs["battery_round_trip_ratio"]))
    lead = (
        f"{_percent(found.autarky_ratio)} of the load comes from the sun, "
        f"{_percent(found.self_consumption_ratio)} of the sun's energy is used here; "
        f"{found.import_kwh:,.1f} kWh are imported and {found.export_kwh:,.1f} kWh exported"
    )
    flags, figures = _feed(load_kw, found, feed_kw)
    return PlanReport(
        verb="energy",
        question="What do solar panels and a battery leave for the grid?",
        lead=lead,
        figures={
            **_figures(found, profile, pv_kwp, battery),
            **figures,
            "import_kwh_with_losses": real.import_kwh if real is not None else None,
        },
        sections=(
            Section(
                title="The balance",
                text=f"{profile.source}; {profile.hours / DAY_H:,.1f} days in steps of "
                f"{profile.step_h * 60:g} minutes.",
                blocks=(_lines(found), _stack(found)),
            ),
            Section(
                title="Other batteries",
                blocks=_sizes(run, battery, pv_kwp),
            ),
            Section(title="A mean day", blocks=_day(profile, pv_kw, load_kw)),
        ),
        assumptions=inputs.used(),
        notes=(*flags, *notes),
    )


def places_report(found: Mapping[str, PlanReport]) -> PlanReport:
    """Put the reports of several places side by side, all of one site and one file."""
    rows: list[tuple[Cell, ...]] = []
    places: list[dict[str, object]] = []
    autarky: list[tuple[str, float | None]] = []
    for place, one in found.items():
        figures = one.figures
        places.append({"place": place, **figures})
        share = msgspec.convert(figures["autarky_ratio"], float | None)
        autarky.append((place, None if share is None else 100 * share))
        rows.append(
            (
                place,
                float(str(figures["import_kwh"])),
                float(str(figures["export_kwh"])),
                _percent(share),
                _percent(msgspec.convert(figures["self_consumption_ratio"], float | None)),
                float(str(figures["pv_kwh"])),
            )
        )
    heads = ("place", "imported kWh", "exported kWh", "autarky", "self-consumption", "solar kWh")
    least, most = (pick(rows, key=lambda row: float(str(row[1]))) for pick in (min, max))
    return msgspec.structs.replace(
        next(iter(found.values())),
        lead=(
            f"{len(found)} places: from {least[1]:,.1f} kWh imported in {least[0]} to "
            f"{most[1]:,.1f} kWh in {most[0]}; --pv-column looks at one"
        ),
        figures={"places": places},
        sections=(
            Section(
                title="Places",
                blocks=(
                    Table(title="The same site in each place", heads=heads, rows=tuple(rows)),
                    Bars(title="Autarky by place", unit="%", rows=tuple(autarky)),
                ),
            ),
        ),
        notes=tuple(f"{place}: {note}" for place, each in found.items() for note in each.notes),
    )


def _figures(
    found: Balance, profile: Profile, pv_kwp: float, battery: Battery
) -> dict[str, object]:
    return {
        "import_kwh": found.import_kwh,
        "export_kwh": found.export_kwh,
        "self_consumption_ratio": found.self_consumption_ratio,
        "autarky_ratio": found.autarky_ratio,
        "pv_kwh": found.pv_kwh,
        "load_kwh": found.load_kwh,
        "battery_lost_kwh": found.lost_kwh,
        "battery_start_kwh": found.stored_start_kwh,
        "battery_end_kwh": found.stored_end_kwh,
        "import_kw_max": found.import_kw_max,
        "pv_kwh_per_kwp": float(profile.output.sum()) * profile.step_h,
        "pv_kw_per_kwp_mean": float(profile.output.mean()),
        "pv_kwp": pv_kwp,
        "battery_kwh": battery.capacity_kwh,
        "battery_efficiency_ratio": battery.efficiency_ratio,
        "hours": profile.hours,
        "step_s": profile.step_h * 3600,
    }


def _ideal(found: Balance, real: Balance, ratio: float) -> str:
    more = real.import_kwh - found.import_kwh
    return (
        f"the battery loses nothing unless --battery-efficiency says so; at {ratio:.0%} the "
        f"import would be {more:,.1f} kWh more"
    )


def _feed(
    load_kw: Series, found: Balance, feed_kw: float | None
) -> tuple[list[str], dict[str, object]]:
    if feed_kw is None:
        return [], {}
    over = found.import_kw_max > feed_kw + 1e-9
    bare = int((load_kw > feed_kw).sum())
    flags = []
    if over:
        flags.append(
            f"the feed of {feed_kw:g} kW is exceeded: the grid would have to give "
            f"{found.import_kw_max:.4g} kW at worst"
        )
    return flags, {"feed_kw": feed_kw, "feed_exceeded": over, "steps_load_above_feed": bare}


def _percent(ratio: float | None) -> str:
    return "none" if ratio is None else f"{ratio:.1%}"


def _lines(found: Balance) -> Table:
    return Table(
        title="Energy of the span",
        heads=("line", "kWh"),
        rows=(
            ("load", found.load_kwh),
            ("solar", found.pv_kwh),
            ("imported", found.import_kwh),
            ("exported", found.export_kwh),
            ("lost in the battery", found.lost_kwh),
            ("stored more at the end", found.stored_end_kwh - found.stored_start_kwh),
        ),
        note="solar + imported = load + exported + lost + stored more",
    )


def _stack(found: Balance) -> Stack:
    own = found.load_kwh - found.import_kwh
    kept = found.pv_kwh - found.export_kwh - own
    return Stack(
        title="Where the load's and the sun's energy go",
        unit="kWh",
        parts=("sun to load", "grid", "export", "battery: lost or kept"),
        rows=(
            ("load", (own, found.import_kwh, 0.0, 0.0)),
            ("sun", (own, 0.0, found.export_kwh, max(kept, 0.0))),
        ),
    )


def _sizes(
    run: Callable[[Battery], Balance], battery: Battery, pv_kwp: float
) -> tuple[Table, Bars]:
    base = battery.capacity_kwh or max(pv_kwp, 1.0)
    rows: list[tuple[Cell, ...]] = []
    bars = []
    for size in SIZES:
        one = run(replace(battery, capacity_kwh=base * size))
        autarky = one.autarky_ratio
        rows.append(
            (
                f"{base * size:g} kWh",
                one.import_kwh,
                one.export_kwh,
                _percent(autarky),
                _percent(one.self_consumption_ratio),
            )
        )
        bars.append((f"{base * size:g} kWh", None if autarky is None else 100 * autarky))
    heads = ("battery", "imported kWh", "exported kWh", "autarky", "self-consumption")
    return (
        Table(title="The same site with other batteries", heads=heads, rows=tuple(rows)),
        Bars(title="Autarky by battery", unit="%", rows=tuple(bars)),
    )


def _day(profile: Profile, pv_kw: Series, load_kw: Series) -> tuple[Lines, ...]:
    """Draw the mean day, where the span has whole days of whole hours."""
    steps = round(DAY_H / profile.step_h)
    days = len(pv_kw) // steps
    if not days or abs(steps * profile.step_h - DAY_H) > 1e-9:
        return ()
    per_point = max(steps // DAY_H, 1)

    def mean_day(series: Series) -> tuple[tuple[float, float], ...]:
        means = series[: days * steps].reshape(days, steps).mean(axis=0)
        points = means[: len(means) // per_point * per_point].reshape(-1, per_point).mean(axis=1)
        hours = np.arange(len(points)) * DAY_H / len(points)
        return tuple(zip(hours.tolist(), points.tolist(), strict=True))

    return (
        Lines(
            title="Mean day",
            x_unit="hours from the profile's first",
            y_unit="kW",
            series=(("solar", mean_day(pv_kw)), ("load", mean_day(load_kw))),
        ),
    )
