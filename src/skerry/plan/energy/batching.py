"""`skerry plan batching`: the batch limit that spends least energy and still answers in time.

Units:   ms between tokens, joules per token at the accelerator, Wh per request at the meter.
Errors:  ColumnError for a curve's file; BatchError for a curve; BatchChoiceError for a name.
"""

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np

from skerry.base.errors import Exit
from skerry.base.units import SECONDS_PER_HOUR
from skerry.energy.batching import BatchCurve
from skerry.plan.assumptions import Assumptions
from skerry.plan.columns import Columns, Number, Text, read_columns
from skerry.plan.errors import PlanError
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import Advice, Answer, Lines, PlanReport, Section, Table

REQUESTS_PER_1K: Final = 1000
US_PER_MS: Final = 1000
SHIPPED: Final = "batching.csv"


class BatchChoiceError(PlanError):
    """A GPU without a curve of energy and time by batch size."""

    code = "E0974"
    exit_code = Exit.WRONG_USE

    def __init__(self, path: str, gpu: str, known: Sequence[str]) -> None:
        super().__init__(path, gpu, tuple(known))
        self.path, self.gpu, self.known = path, gpu, tuple(known)

    def __str__(self) -> str:
        return f"{self.path} has no complete curve of {self.gpu!r}"

    @property
    def hint(self) -> str:
        """Name the ones that it has."""
        return f"known: {', '.join(self.known)}; or measure one and give it as --curve"


def read_curve(path: Path | None, gpu: str) -> BatchCurve:
    """Read the curve of one GPU from a file, or from the shipped table."""
    shipped = files("skerry.plan").joinpath("tables", SHIPPED)
    found = path if path is not None else Path(str(shipped))
    amount = Number(low=0, may_be_empty=True)
    read = read_columns(
        found,
        {
            "gpu": Text(),
            "batch_limit": Number(low=1, high=1e6),
            "j_per_token": amount,
            "inter_token_ms": amount,
        },
    )
    names = list(dict.fromkeys(read.texts["gpu"]))
    complete = [name for name in names if len(_rows(read, name)) >= 2]
    if gpu not in complete:
        raise BatchChoiceError(str(found), gpu, complete)
    rows = _rows(read, gpu)
    return BatchCurve(
        name=f"{found}: {gpu}" if path is not None else f"ML.ENERGY: {gpu}",
        batch=read.numbers["batch_limit"][rows],
        j_per_token=read.numbers["j_per_token"][rows],
        inter_token_ms=read.numbers["inter_token_ms"][rows],
    )


def _rows(read: Columns, gpu: str) -> list[int]:
    """Return a GPU's rows that have both figures."""
    return [
        row
        for row, name in enumerate(read.texts["gpu"])
        if name == gpu
        and not np.isnan(read.numbers["j_per_token"][row])
        and not np.isnan(read.numbers["inter_token_ms"][row])
    ]


def batching_report(
    curve: BatchCurve,
    inputs: Assumptions,
    *,
    limit_ms: float,
    tokens_per_request: float,
    requests_per_s: float | None,
    pue_ratio: float,
    at_unix_s: float,
    measured_wh_per_1k: float | None = None,
) -> PlanReport:
    """Choose the batch limit under a limit on the time between tokens."""
    wall = (1 + inputs["host_over_gpu_ratio"]) * pue_ratio

    def wh_per_request(batch: float) -> float:
        return curve.j_at(batch) * wall * tokens_per_request / SECONDS_PER_HOUR

    best = curve.largest_within(limit_ms)
    rows = tuple(
        (
            f"up to {batch:g}",
            float(ms),
            float(joules),
            wh_per_request(batch),
            100 * (1 - float(joules) / float(curve.j_per_token[0])),
            "yes" if ms <= limit_ms else "no",
        )
        for batch, ms, joules in zip(
            curve.batch, curve.inter_token_ms, curve.j_per_token, strict=True
        )
    )
    table = Table(
        title="Measured batch limits",
        heads=("batch", "ms per token", "J per token", "Wh per request", "saved %", "in time"),
        rows=rows,
        note="J per token at the accelerator; Wh per request at the meter, host and cooling in it",
    )
    trade = Lines(
        title="Energy against time",
        x_unit="ms between tokens",
        y_unit="J per token",
        series=(
            (
                curve.name,
                tuple(zip(curve.inter_token_ms.tolist(), curve.j_per_token.tolist(), strict=True)),
            ),
        ),
    )
    sections = (Section(title="Time against energy", blocks=(table, trade)),)
    question = f"How large may batches be with {limit_ms:g} ms between tokens?"
    if best is None:
        fastest = float(curve.inter_token_ms[0])
        return PlanReport(
            verb="batching",
            question=question,
            lead=f"impossible: the smallest measured batch takes {fastest:g} ms per token already",
            answer=Answer.NO,
            figures={"batch_limit": None, "limit_ms": limit_ms, "inter_token_ms": fastest},
            sections=sections,
            assumptions=inputs.used(),
        )
    tokens_per_s = None if requests_per_s is None else requests_per_s * tokens_per_request
    accelerators, batch = 1, float(best)
    if tokens_per_s is not None:
        accelerators = max(int(np.ceil(tokens_per_s / curve.tokens_per_s_max(best))), 1)
        batch = curve.settles_at(tokens_per_s / accelerators, best)
    saving = 1 - curve.j_at(batch) / float(curve.j_per_token[0])
    slower = curve.ms_at(batch) / float(curve.inter_token_ms[0])
    runner_up, flip = _runner_up(curve, best)
    predicted = wh_per_request(batch) * REQUESTS_PER_1K
    notes = ["between measured sizes the figures are interpolated"]
    if tokens_per_s is not None and batch <= curve.batch[0]:
        notes.append(
            f"the load fills no batch of {curve.batch[0]:g}: a token costs at least what is given"
        )
    return PlanReport(
        verb="batching",
        question=question,
        lead=(
            f"batches up to {best} keep to {limit_ms:g} ms; the load fills {batch:.3g}, which "
            f"takes {wh_per_request(batch):.3g} Wh per request: {saving:.1%} less energy than "
            f"batches of {curve.batch[0]:g}, at {slower:.2f} times the time per token"
        ),
        answer=Answer.YES,
        figures={
            "batch_limit": best,
            "batch_filled": batch,
            "accelerators": accelerators,
            "inter_token_ms": curve.ms_at(batch),
            "j_per_token": curve.j_at(batch),
            "wh_per_request": wh_per_request(batch),
            "energy_saving_ratio": saving,
            "slowdown_ratio": slower,
            "limit_ms": limit_ms,
            "tokens_per_request": tokens_per_request,
        },
        goals=(_goal(predicted, curve.name, at_unix_s),),
        prediction_error_ratio=(
            {GoalName.ENERGY_WH_PER_1K.value: predicted / measured_wh_per_1k - 1}
            if measured_wh_per_1k
            else {}
        ),
        advice=(
            Advice(
                choice=f"a batch limit of {best}",
                reason=f"the largest whose tokens take at most {limit_ms:g} ms",
                runner_up=f"a batch limit of {runner_up}",
                flip=flip,
                no_regret="the curve is one measurement, without a series of time to hold back",
            ),
        ),
        sections=sections,
        assumptions=inputs.used(),
        notes=tuple(notes),
    )


def _runner_up(curve: BatchCurve, best: int) -> tuple[int, str]:
    """Return the next smaller measured size, else the next larger one, and the limit it needs.

    A limit is written in microseconds, rounded to the side on which it holds.
    """
    smaller = [int(batch) for batch in curve.batch if batch < best]
    if smaller:
        below_ms = math.floor(curve.ms_at(smaller[-1] + 1) * US_PER_MS) / US_PER_MS
        return smaller[-1], f"the limit on a token falls below {below_ms:g} ms"
    larger = min(int(batch) for batch in curve.batch if batch > best)
    least_ms = math.ceil(curve.ms_at(larger) * US_PER_MS) / US_PER_MS
    return larger, f"the limit on a token is {least_ms:g} ms or more"


def _goal(wh_per_1k: float, source: str, at_unix_s: float) -> GoalRecord:
    figure = Figure(
        value=wh_per_1k,
        low=wh_per_1k,
        high=wh_per_1k,
        level=Level.ESTIMATE,
        source=source,
        at_unix_s=at_unix_s,
    )
    return GoalRecord(name=GoalName.ENERGY_WH_PER_1K, goal=None, predicted=figure)
