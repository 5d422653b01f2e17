"""Measuring a model on this machine, and choosing how to run it from what was measured.

    curve      1, 2, 4 ... 32 items in one run, where an axis counts items
    threads    one against two; arena and IO binding, off against on

Variants take turns, so that a busy moment of the machine hits all of them; each is
judged by its lower quartile. `choose` is plain arithmetic, apart from the measuring.

Units:   microseconds per run.
Errors:  ModelFileError, ModelRunError where the model does not run on its inputs.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import US_PER_SECOND
from skerry.schema.profile import (
    BatchPoint,
    Chosen,
    Profile,
    ThreadPoint,
    sha256_of,
)
from skerry.serve.admission import INLINE_S_MAX
from skerry.serve.batch_axes import BatchAxes, find_batch_axes, take
from skerry.serve.errors import ModelRunError
from skerry.serve.onnx_engine import EngineSettings, OnnxModel, this_machine

Array = NDArray[Any]
Inputs = dict[str, Array]

BATCHES = (1, 2, 4, 8, 16, 32)
BATCH_GAIN = 0.8  # a batch must cost at most this much per item; noise alone reaches 0.9
NEAR_BEST = 1.05  # the smallest batch within this of the best one is enough
THREAD_GAIN = 2.0  # what batches too long for the event loop must gain to be worth a thread
VARIANT_GAIN = 0.95  # what arena or IO binding must reach to be worth having
LATENCY_GAIN = 0.75  # what a second thread must reach where latency is what is wanted
VARIANT_S = 0.4  # how long one variant is measured, at least three runs
ROUNDS = 4


def measure(path: Path, samples: Inputs | None = None, *, latency: bool = False) -> Profile:
    """Measure a model file; takes some seconds.

    `samples` is one item (or several) per input; without it the model is fed with zeros.
    `latency` lets two threads be chosen, which pay where a core is free.
    """
    plain = OnnxModel(path.parent.name, path)
    inputs = samples if samples is not None else plain.zeros()
    axes = plain.batch_axes or find_batch_axes(plain, inputs)
    one = take(inputs, plain, axes, 1) if axes is not None else inputs
    plain.run(one, plain.output_names)  # or say what is wrong before anything is measured

    curve = []
    for items in BATCHES if axes is not None else (1,):
        batch = take(inputs, plain, axes, items) if axes is not None else inputs
        try:
            (run_us,) = _times_us([(plain, batch)])
        except ModelRunError:  # an axis that looked free has a limit after all
            break
        curve.append(BatchPoint(items=items, run_us=run_us[0], item_us=run_us[0] / items))

    two = OnnxModel(plain.name, path, EngineSettings(threads=2))
    arena = OnnxModel(plain.name, path, EngineSettings(arena=True))
    bound = OnnxModel(plain.name, path, EngineSettings(io_binding=True))
    models = [plain, two, arena, *([bound] if bound.is_bound else [])]
    times = _times_us([(model, one) for model in models])
    threads = tuple(
        ThreadPoint(threads=number, run_us=run_us, cpu_us=cpu_us)
        for number, (run_us, cpu_us) in zip((1, 2), times, strict=False)
    )
    binding_us = times[3][0] if bound.is_bound else None
    chosen, reasons = choose(
        curve,
        threads,
        arena_us=times[2][0],
        io_binding_us=binding_us,
        axes=axes,
        latency=latency,
    )
    return Profile(
        model_sha256=sha256_of(path),
        machine=this_machine(),
        measured_at_unix_s=time.time(),
        run_us=times[0][0],
        input_shapes=tuple(one[spec.name].shape for spec in plain.inputs),
        batch_curve=tuple(curve),
        threads=threads,
        arena_run_us=times[2][0],
        io_binding_run_us=binding_us,
        chosen=chosen,
        reasons=reasons,
    )


def choose(
    curve: Sequence[BatchPoint],
    threads: Sequence[ThreadPoint],
    *,
    arena_us: float,
    io_binding_us: float | None,
    axes: BatchAxes | None,
    latency: bool = False,
) -> tuple[Chosen, tuple[str, ...]]:
    """Return what to do with a model, and why, from its figures."""
    run_us = threads[0].run_us
    batch, why_batch, run_on = _batch_and_place(curve, axes, run_us)
    count, why_threads = 1, "1 thread: a second one pays only where a core is free"
    if latency and threads[1].run_us <= LATENCY_GAIN * run_us:
        count = 2
        why_threads = f"2 threads: {threads[1].run_us:.0f} us against {run_us:.0f} us on 1"
    arena = arena_us <= VARIANT_GAIN * run_us
    binding = io_binding_us is not None and io_binding_us <= VARIANT_GAIN * run_us
    held_us = max(batch.run_us, run_us)
    reasons = (
        why_batch,
        f"on the event loop: a run takes at most {held_us:.0f} us"
        if run_on == "inline"
        else f"on a thread: a run takes up to {held_us:.0f} us",
        why_threads,
        f"arena {'on' if arena else 'off'}: {arena_us:.1f} us with it, {run_us:.1f} us without",
        "IO binding off: the inputs do not foretell the outputs' shapes"
        if io_binding_us is None
        else f"IO binding {'on' if binding else 'off'}: {io_binding_us:.1f} us with it, "
        f"{run_us:.1f} us without",
    )
    chosen = Chosen(
        batch_max=batch.items,
        batching=batch.items > 1,
        run_on=run_on,
        threads=count,
        arena=arena,
        io_binding=binding,
        input_batch_axes=axes.inputs if axes is not None else (),
        output_batch_axes=axes.outputs if axes is not None else (),
    )
    return chosen, reasons


def _batch_and_place(
    curve: Sequence[BatchPoint], axes: BatchAxes | None, run_us: float
) -> tuple[BatchPoint, str, Literal["inline", "thread"]]:
    """Return the largest batch worth having, why, and where it runs.

    A run on the event loop holds everything else up, its batches too: they stay within the
    bound of a single run, unless longer ones cost less than half, which is worth a thread.
    """
    inline_us = INLINE_S_MAX * US_PER_SECOND
    fits = [point for point in curve if point.run_us <= inline_us]
    inline = run_us <= inline_us and bool(fits)
    best_us = min(point.item_us for point in curve)
    if inline and min(point.item_us for point in fits) <= THREAD_GAIN * best_us:
        points: Sequence[BatchPoint] = fits
    else:
        points, inline = curve, False
    best_us = min(point.item_us for point in points)
    alone = curve[0]
    if axes is None:
        why, batch = "batches off: no axis counts the items", alone
    elif best_us > BATCH_GAIN * alone.item_us:
        why = f"batches off: {best_us:.1f} us per item at best, {alone.item_us:.1f} us alone"
        batch = alone
    else:
        batch = next(point for point in points if point.item_us <= NEAR_BEST * best_us)
        why = (
            f"batches up to {batch.items}: {batch.item_us:.1f} us per item, "
            f"{alone.item_us:.1f} us alone"
        )
    if batch is alone:
        inline = run_us <= inline_us
    return batch, why, "inline" if inline else "thread"


def _times_us(pairs: Sequence[tuple[OnnxModel, Inputs]]) -> list[tuple[float, float]]:
    """Return (passed, spent on all cores) of each pair's run, the pairs taking turns."""
    passed: list[list[float]] = [[] for _ in pairs]
    spent: list[list[float]] = [[] for _ in pairs]
    for _ in range(ROUNDS):
        for number, (model, inputs) in enumerate(pairs):
            _runs(partial(model.run, inputs, model.output_names), passed[number], spent[number])
    return [(_quartile(a), _quartile(b)) for a, b in zip(passed, spent, strict=True)]


def _runs(run: Callable[[], object], passed_us: list[float], spent_us: list[float]) -> None:
    """Run for one round's share of the time; short runs are timed by tens."""
    run()
    start_s = time.perf_counter()
    run()
    once = 10 if time.perf_counter() - start_s < 1e-4 else 1
    end_s = time.perf_counter() + VARIANT_S / ROUNDS
    while len(passed_us) < 3 or time.perf_counter() < end_s:
        start_s, spent_s = time.perf_counter(), time.process_time()
        for _ in range(once):
            run()
        passed_us.append((time.perf_counter() - start_s) * 1e6 / once)
        spent_us.append((time.process_time() - spent_s) * 1e6 / once)


def _quartile(values: list[float]) -> float:
    return round(float(np.quantile(values, 0.25)), 3)
