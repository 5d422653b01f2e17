"""Servers that batch: how many accelerators a trace needs, and the energy of its tokens.

A request is so many steps long (tokens it writes), and a step takes as long as the batch
makes it, by a measured curve. A smaller batch limit answers faster and costs more energy;
both stand in the table.

Units:   seconds; steps; Wh at the accelerator alone.
Errors:  ColumnError and ExpressionError, as for a plain queue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND, SECONDS_PER_HOUR
from skerry.energy.batching import BatchCurve
from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity.kernels_batch import run_batched
from skerry.plan.capacity.least import Sized, concurrent_max, load_to_flip, size_by, worst
from skerry.plan.capacity.regret import judged
from skerry.plan.capacity.target import SHARES, Target, counted
from skerry.plan.capacity.trace import Work
from skerry.schema.plan_report import Advice, Answer, PlanReport, Section, Table

Series = NDArray[np.float64]

HEADS = ("servers", "batch", "mean wait s", "mean s", "p50 s", "p95 s", "p99 s", "Wh per 1k")
_AROUND = 2
FLIP_STEP = 0.05


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one number of batching servers came to."""

    servers: int
    batch_mean: float
    """The batch that a token is made in, on average over tokens."""
    wait_s_mean: float
    sojourn_s_mean: float
    sojourn_s_p50: float
    sojourn_s_p95: float
    sojourn_s_p99: float
    energy_wh_per_1k: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batching:
    """A trace whose service is a number of steps, on servers with a curve and a limit."""

    arrival_s: Series
    steps: Series
    curve: BatchCurve
    limit: int

    @property
    def step_s(self) -> Series:
        """Return the time of a step by batch size; below the smallest measured, as there."""
        step_ms = [self.curve.ms_at(max(n, 1)) for n in range(self.limit + 1)]
        return np.array([ms / MS_PER_SECOND for ms in step_ms])

    @property
    def alone_s(self) -> Series:
        """Return the sojourns of requests that share their server with nobody."""
        alone_s: Series = self.steps * self.step_s[1]
        return alone_s

    def run(self, servers: int) -> tuple[Series, BatchRow]:
        """Return every sojourn with so many servers, and the figures."""
        begins_s, sojourn_s = np.empty(len(self.steps)), np.empty(len(self.steps))
        step_j = np.array([self.curve.j_at(max(n, 1)) for n in range(self.limit + 1)])
        joules, batch = run_batched(
            self.arrival_s, self.steps, servers, self.step_s, step_j, begins_s, sojourn_s
        )
        p50, p95, p99 = np.quantile(sojourn_s, list(SHARES.values()))
        return sojourn_s, BatchRow(
            servers=servers,
            batch_mean=batch,
            wait_s_mean=float((begins_s - self.arrival_s).mean()),
            sojourn_s_mean=float(sojourn_s.mean()),
            sojourn_s_p50=float(p50),
            sojourn_s_p95=float(p95),
            sojourn_s_p99=float(p99),
            energy_wh_per_1k=joules / SECONDS_PER_HOUR / len(self.steps) * 1000,
        )

    def size(self, target: Target) -> Sized:
        """Return the least number of servers that keeps a target, checked at one less."""
        alone = Work(source="", arrival_s=self.arrival_s, service_s=self.alone_s)
        return size_by(target, lambda c: self.run(c)[0], self.alone_s, concurrent_max(alone))

    def faster(self, factor: float) -> "Batching":
        """Return the same requests coming `factor` times as fast."""
        return replace(self, arrival_s=self.arrival_s / factor)

    def part(self, first: int, last: int) -> "Batching":
        """Return the requests from `first` up to, not including, `last`."""
        arrival_s = self.arrival_s[first:last]
        return replace(self, arrival_s=arrival_s - arrival_s[0], steps=self.steps[first:last])


def batch_report(
    case: Batching, targets: Sequence[Target], servers: range | None, inputs: Assumptions
) -> PlanReport:
    """Return how many batching servers keep the targets."""
    sized = [case.size(target) for target in targets]
    chosen = worst(sized)
    around = range(max(1, (chosen or 1) - _AROUND), (chosen or 0) + _AROUND + 1)
    shown = servers or (around if chosen is not None else range(0))
    rows = tuple(case.run(count)[1] for count in shown)
    words = [
        f"{one.target} is impossible (alone: {one.value_s:.4g} s)"
        if one.impossible
        else f"{one.target} needs {one.servers_least}"
        for one in sized
    ] or [f"{counted(rows[0].servers, 'server')}, p99 {rows[0].sojourn_s_p99:.4g} s"]
    return PlanReport(
        verb="capacity",
        question="How many batching servers does this trace need?",
        lead=f"{len(case.steps):,} requests in batches of up to {case.limit}: {'; '.join(words)}",
        answer=(
            Answer.NONE
            if not sized
            else Answer.NO
            if any(one.impossible for one in sized)
            else Answer.YES
        ),
        figures={
            "requests": len(case.steps),
            "span_s": float(case.arrival_s[-1]),
            "steps_mean": float(case.steps.mean()),
            "batch_limit": case.limit,
            "servers_least": chosen,
            "targets": sized,
            "servers": rows,
        },
        advice=_advice(case, targets, sized, chosen, inputs),
        assumptions=inputs.used(),
        sections=(
            Section(
                title="Waits and energy by number of servers",
                text="Each step serves the whole batch; a full server lets requests wait in line.",
                blocks=(
                    Table(
                        title=f"Servers with batches of up to {case.limit}",
                        heads=HEADS,
                        rows=tuple(msgspec.structs.astuple(row) for row in rows),
                        note=f"steps and energy by {case.curve.name}, the accelerator alone",
                    ),
                ),
            ),
        ),
        notes=(
            "a request joins its server's batch at once; on a real one at the next step, so "
            f"answers may be up to {float(case.step_s[-1]) * MS_PER_SECOND:.3g} ms later",
        ),
    )


def _advice(
    case: Batching,
    targets: Sequence[Target],
    sized: Sequence[Sized],
    chosen: int | None,
    inputs: Assumptions,
) -> tuple[Advice, ...]:
    if chosen is None:
        return ()
    kept = [target for target, one in zip(targets, sized, strict=True) if not one.impossible]

    def needs(first: int, last: int) -> list[int | None]:
        part = case.part(first, last)
        return [worst(part.size(target) for target in kept)]

    def fails(more: float) -> bool:
        sojourn_s, _ = case.faster(1 + more).run(chosen)
        return not all(target.holds(sojourn_s) for target in kept)

    ((regret, why),) = judged(len(case.steps), needs, what="servers", inputs=inputs)
    flip = load_to_flip(fails, step=FLIP_STEP)
    return (
        Advice(
            choice=counted(chosen, "batching server"),
            reason=next(one.reason for one in sized if one.servers_least == chosen),
            runner_up=f"{chosen + 1} of them",
            flip="" if flip is None else f"the same requests come {flip:.1%} faster",
            regret=regret,
            no_regret=why,
        ),
    )
