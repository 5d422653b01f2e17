"""The report of `skerry plan latency`: what a round trip between two places should take.

Predictions come from the shipped model or from one fitted here; where round trips were
measured their errors stand beside, in the sample and on places the fit had not seen.

Units:   km, ms (round trips).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skerry.plan.assumptions import Assumptions
from skerry.plan.latency.model import (
    Floats,
    LatencyModel,
    Line,
    fibre_ms,
    fibre_ratio_percentiles,
    fit_model,
    shipped_model,
)
from skerry.plan.latency.pairs import Faults, Pairs, faults
from skerry.schema.plan_report import Lines, PlanReport, Section, Table

HOLD_OUT = 5
"""Every fifth place, in the order of the alphabet, is kept from a fit to judge it."""
LISTED_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How far predictions lie from measurements."""

    pairs: int
    median_ms: float
    mean_ms: float
    p90_ms: float
    median_ratio: float
    bias_ms: float
    """Median of predicted less measured: above 0, predictions are too slow."""


def errors_of(predicted_ms: Floats, measured_ms: Floats) -> Errors:
    """Return the absolute errors of predictions."""
    off = np.abs(predicted_ms - measured_ms)
    return Errors(
        pairs=len(off),
        median_ms=float(np.median(off)),
        mean_ms=float(off.mean()),
        p90_ms=float(np.percentile(off, 90)),
        median_ratio=float(np.median(off / np.maximum(measured_ms, 1e-3))),
        bias_ms=float(np.median(predicted_ms - measured_ms)),
    )


def held_out(pairs: Pairs) -> Errors | None:
    """Fit without every fifth place, and judge on the pairs that touch one of those."""
    assert pairs.measured_ms is not None  # noqa: S101 - a fit needs them
    places = sorted({*pairs.source, *pairs.target})[::HOLD_OUT]
    away = np.isin(pairs.source, places) | np.isin(pairs.target, places)
    seen = ~away
    if not away.any() or seen.sum() < 2 or np.ptp(pairs.distance_km[seen]) == 0:
        return None
    model = fit_model(pairs.distance_km[seen], pairs.measured_ms[seen])
    return errors_of(model.round_trip_ms(pairs.distance_km[away]), pairs.measured_ms[away])


def latency_report(pairs: Pairs, fit: Pairs | None, inputs: Assumptions) -> PlanReport:
    """Predict each pair's round trip, by a model fitted on `fit` or by the shipped one."""
    if fit is None:
        model = shipped_model(inputs)
    else:
        assert fit.measured_ms is not None  # noqa: S101 - reading saw to it
        model = fit_model(fit.distance_km, fit.measured_ms)
    predicted = model.round_trip_ms(pairs.distance_km)
    judged = None if pairs.measured_ms is None else errors_of(predicted, pairs.measured_ms)
    unseen = held_out(fit) if fit is not None else None
    found = faults(fit if fit is not None else pairs)
    source = fit if fit is not None else pairs
    sections = [
        Section(
            title="The model",
            text="The slower of a line over distance and of light in straight fibre (n = 1.468).",
            blocks=(_lines_table(model), _curve(model, pairs.distance_km)),
        ),
    ]
    if judged is not None or unseen is not None:
        sections.append(Section(title="How far off", blocks=(_errors_table(judged, unseen),)))
    if found:
        sections.append(
            Section(
                title="Measurements that cannot be",
                text="Faster than light: a place with wrong coordinates or a name that several "
                "cities share, or an answer from nearer by (anycast). They stay in the fit, which "
                "goes by medians; correct or drop them before you trust a single pair.",
                blocks=(_faults_table(found, len(source)), _fault_places(source, found[-1])),
            )
        )
    bands = _bands(source)
    if bands is not None:
        sections.append(Section(title="Round trip over the fibre limit", blocks=(bands,)))
    sections.append(Section(title="Predictions", blocks=(_predictions(pairs, predicted),)))
    return PlanReport(
        verb="latency",
        question="What should a round trip between these places take?",
        lead=_lead(pairs, model, judged, found),
        figures=_figures(pairs, source, model, predicted, judged, unseen, found),
        sections=tuple(sections),
        assumptions=inputs.used(),
    )


def _lead(pairs: Pairs, model: LatencyModel, judged: Errors | None, found: Sequence[Faults]) -> str:
    near, far = model.near, model.far
    text = (
        f"{len(pairs)} pairs: {near.base_ms:.2f} ms + {near.ms_per_km:.5f} ms/km up to "
        f"{model.near_km:g} km, {far.base_ms:.2f} + {far.ms_per_km:.5f} beyond"
    )
    if judged is not None:
        text += f"; half lie within {judged.median_ms:.1f} ms ({judged.median_ratio:.0%})"
    if found:
        text += f"; {len(found[-1].below_fibre)} measurements are faster than light in fibre"
    return text


def _figures(
    pairs: Pairs,
    source: Pairs,
    model: LatencyModel,
    predicted: Floats,
    judged: Errors | None,
    unseen: Errors | None,
    found: Sequence[Faults],
) -> dict[str, object]:
    figures: dict[str, object] = {
        "pairs": len(pairs),
        "far_base_ms": model.far.base_ms,
        "far_ms_per_km": model.far.ms_per_km,
        "near_base_ms": model.near.base_ms,
        "near_ms_per_km": model.near.ms_per_km,
        "near_km": model.near_km,
        "distance": "haversine" if pairs.haversine_km is not None else "distance_column",
    }
    for name, errors in (("error", judged), ("held_out_error", unseen)):
        if errors is not None:
            figures[f"{name}_ms_median"] = errors.median_ms
            figures[f"{name}_ms_mean"] = errors.mean_ms
            figures[f"{name}_ms_p90"] = errors.p90_ms
            figures[f"{name}_ratio_median"] = errors.median_ratio
            figures[f"{name}_bias_ms"] = errors.bias_ms
            figures[f"{name}_pairs"] = errors.pairs
    figures["faults"] = {
        one.by: {
            "below_vacuum": len(one.below_vacuum),
            "below_fibre": len(one.below_fibre),
            "below_vacuum_ratio": len(one.below_vacuum) / len(source),
            "below_fibre_ratio": len(one.below_fibre) / len(source),
            "pairs": _listed(source, one),
        }
        for one in found
    }
    if source.measured_ms is not None:
        figures["fibre_ratio"] = [
            {"from_km": low, "to_km": high if np.isfinite(high) else None, "pairs": count}
            | dict(zip(("p10", "p50", "p90"), ratios, strict=True))
            for low, high, count, ratios in fibre_ratio_percentiles(
                _stated_km(source), source.measured_ms
            )
        ]
    limit = fibre_ms(pairs.distance_km)
    figures["predictions"] = [
        {
            "src": pairs.source[i],
            "dst": pairs.target[i],
            "distance_km": round(float(pairs.distance_km[i]), 3),
            "predicted_ms": round(float(predicted[i]), 4),
            "fibre_limit_ms": round(float(limit[i]), 4),
            "measured_ms": None if pairs.measured_ms is None else float(pairs.measured_ms[i]),
        }
        for i in range(len(pairs))
    ]
    return figures


def _stated_km(pairs: Pairs) -> Floats:
    """Return the distances that the ratio bands go by: the column's, else the coordinates'."""
    return pairs.distance_km if pairs.column_km is None else pairs.column_km


def _listed(pairs: Pairs, found: Faults) -> list[dict[str, object]]:
    distance = pairs.by()[found.by]
    limit = fibre_ms(distance)
    assert pairs.least_ms is not None  # noqa: S101 - faults come from them
    below = found.below_fibre
    worst = below[np.argsort(pairs.least_ms[below] - limit[below], kind="stable")]
    vacuum = set(found.below_vacuum.tolist())
    return [
        {
            "src": pairs.source[i],
            "dst": pairs.target[i],
            "distance_km": round(float(distance[i]), 3),
            "least_ms": float(pairs.least_ms[i]),
            "fibre_limit_ms": round(float(limit[i]), 3),
            "below": "vacuum" if int(i) in vacuum else "fibre",
        }
        for i in worst[:LISTED_MAX]
    ]


def _lines_table(model: LatencyModel) -> Table:
    def row(name: str, line: Line) -> tuple[str, float, float]:
        return name, line.base_ms, line.ms_per_km

    return Table(
        title="Least absolute deviations",
        heads=("line", "base, ms", "slope, ms/km"),
        rows=(row(f"up to {model.near_km:g} km", model.near), row("beyond", model.far)),
    )


def _curve(model: LatencyModel, distance_km: Floats) -> Lines:
    reach = np.linspace(0.0, max(1.0, float(distance_km.max())), 60)
    series = (("model", model.round_trip_ms(reach)), ("fibre limit", fibre_ms(reach)))
    return Lines(
        title="Round trip over distance",
        x_unit="km",
        y_unit="ms",
        series=tuple(
            (name, tuple(zip(reach.tolist(), line.tolist(), strict=True))) for name, line in series
        ),
    )


def _errors_table(judged: Errors | None, unseen: Errors | None) -> Table:
    rows = [
        (name, one.pairs, one.median_ms, one.mean_ms, one.p90_ms, 100 * one.median_ratio)
        for name, one in (("these pairs", judged), ("places the fit had not seen", unseen))
        if one is not None
    ]
    return Table(
        title="Predicted against measured",
        heads=("on", "pairs", "median, ms", "mean, ms", "p90, ms", "median, %"),
        rows=tuple(rows),
    )


def _faults_table(found: Sequence[Faults], count: int) -> Table:
    rows = []
    for one in found:
        for name, below in (("vacuum", one.below_vacuum), ("fibre", one.below_fibre)):
            rows.append((one.by.replace("_", " "), name, len(below), 100 * len(below) / count))
    return Table(
        title="Faster than light allows",
        heads=("by", "than light in", "pairs", "of all, %"),
        rows=tuple(rows),
    )


def _fault_places(pairs: Pairs, found: Faults) -> Table:
    """Count the faults of each place: one with wrong coordinates stands out."""
    ends = [end[i] for end in (pairs.source, pairs.target) for i in found.below_fibre]
    names, counts = np.unique(np.array(ends, dtype=str), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:10]
    return Table(
        title=f"Places in most of them, by {found.by.replace('_', ' ')}",
        heads=("place", "faults"),
        rows=tuple((str(names[i]), int(counts[i])) for i in order),
    )


def _bands(pairs: Pairs) -> Table | None:
    if pairs.measured_ms is None:
        return None
    rows = [
        (f"{low:g} to {high:g}" if np.isfinite(high) else f"from {low:g}", count, *ratios)
        for low, high, count, ratios in fibre_ratio_percentiles(
            _stated_km(pairs), pairs.measured_ms
        )
    ]
    return Table(
        title="How much longer than straight fibre",
        heads=("km", "pairs", "p10", "p50", "p90"),
        rows=tuple(rows),
    )


def _predictions(pairs: Pairs, predicted: Floats) -> Table:
    measured = pairs.measured_ms
    return Table(
        title="Round trips",
        heads=("from", "to", "km", "predicted, ms", "measured, ms"),
        rows=tuple(
            (
                pairs.source[i],
                pairs.target[i],
                float(pairs.distance_km[i]),
                float(predicted[i]),
                None if measured is None else float(measured[i]),
            )
            for i in range(min(len(pairs), LISTED_MAX))
        ),
    )
