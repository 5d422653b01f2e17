"""`skerry model optimize`: an INT8 or FP16 variant beside a model, held against it on samples.

    read -> convert -> load both -> run both -> compare -> batch -> card -> rename -> pin

The variant becomes the model's next version, or a stand-in of another name. It is added
only if it is as good as the limits say; where it is not, the error has the figure and
nothing is written. Its card has its own answers as check samples.

Units:   bytes, microseconds; a difference as a share of the original output's range.
Errors:  VariantWorseError; LearnError and its kinds as for `model add`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import SkerryError
from skerry.learn.checks import Bench, Load, Loaded, difference, samples
from skerry.learn.errors import DeclarationError, UnusableModelError, VariantWorseError
from skerry.learn.importer import Added, put_card
from skerry.learn.onnx_file import read_bounded
from skerry.learn.store import read_card, staged, write_model
from skerry.learn.variants import WORDS, Kind, convert
from skerry.schema.model import MODEL_FILE, Card
from skerry.schema.oip import DATATYPES

Array = NDArray[Any]

ROWS_MAX = 512
ROWS_HALVED = 16
"""From this many rows on for each, none that calibrates also judges."""
TOLERANCE_MIN = 0.01  # integer kernels round differently from one processor to another
_TIMED_S = 0.3
_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much worse a variant may be, on the rows that it is compared on."""

    difference_ratio_max: float = 0.1
    """Largest difference, as a share of the original output's range."""
    agreement_ratio_min: float = 0.98
    """Share of rows with the same top class, where the model has classes."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A variant beside its original, measured on this machine."""

    rows: int
    original_bytes: int
    variant_bytes: int
    original_run_us: float
    variant_run_us: float
    difference_max: float
    difference_ratio: float
    agreement_ratio: float | None
    """None where the first output has no classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimized:
    """What was added, and how it compares."""

    added: Added
    figures: Figures


def optimize(
    folder: Path,
    repository: Path,
    *,
    kind: Kind,
    load: Load,
    name: str,
    version: int,
    rows: Mapping[str, Array] | None = None,
    limits: Limits = Limits(),
    lock_folder: Path | None = None,
) -> Optimized:
    """Make a variant of the version in `folder` and add it as `name` and `version`.

    `rows` has an array per input, items along axis 0; the card's samples serve else.
    Half of many rows calibrates, the other half judges.
    """
    card = read_card(folder)
    original = load(folder / MODEL_FILE)
    each = _single_rows(card, original, rows)
    calibrating, judging = (each[::2], each[1::2]) if len(each) >= 2 * ROWS_HALVED else (each, each)
    data = convert(folder / MODEL_FILE, kind, calibrating)
    with staged(repository, name) as stage:
        path = write_model(stage, data)
        try:
            variant = load(path)
        except SkerryError as error:
            raise UnusableModelError(
                f"the {WORDS[kind]} variant", f"does not load ({error})", "one that does"
            ) from error
        figures = _compared(folder / MODEL_FILE, original, variant, judging, len(data))
        _hold(figures, limits, f"{name} version {version}, {WORDS[kind]}")
        variant_card = _card(card, variant, judging, kind, name, version, figures)
        return Optimized(
            added=put_card(
                stage, repository, variant_card, lock_folder, "original", figures.difference_max
            ),
            figures=figures,
        )


def _single_rows(
    card: Card, model: Loaded, given: Mapping[str, Array] | None
) -> list[dict[str, Array]]:
    """Return the items to run, one by one: as given, or the card's samples."""
    if given is None:
        found = [
            {
                spec.name: np.frombuffer(raw, DATATYPES[spec.datatype]).reshape(shape)
                for spec, raw, shape in zip(
                    model.inputs, sample.inputs, sample.input_shapes, strict=True
                )
            }
            for sample in card.samples
        ]
        if not found:
            raise DeclarationError("--samples", "nothing", "rows, as the card has none")
        return found
    missing = [spec.name for spec in model.inputs if spec.name not in given]
    if missing:
        raise DeclarationError("--samples", "other arrays", "one named " + ", ".join(missing))
    arrays = {
        spec.name: given[spec.name].astype(DATATYPES[spec.datatype], copy=False)
        for spec in model.inputs
    }
    counts = {array.shape[:1] for array in arrays.values()}
    if len(counts) != 1 or counts <= {(), (0,)}:
        raise DeclarationError("--samples", "unlike numbers of rows, or none", "the same for all")
    if card.max_batch == 0 and any(spec.shape[:1] != (1,) for spec in model.inputs):
        return [arrays]  # no axis of this model counts rows, so they are one input
    count = min(len(next(iter(arrays.values()))), ROWS_MAX)
    return [{n: array[row : row + 1] for n, array in arrays.items()} for row in range(count)]


def _compared(
    model_file: Path,
    original: Loaded,
    variant: Loaded,
    rows: Sequence[dict[str, Array]],
    variant_bytes: int,
) -> Figures:
    worst, ratio = 0.0, 0.0
    wanted = [_run(original, row) for row in rows]
    found = [_run(variant, row) for row in rows]
    for place in range(len(original.output_names)):
        gap = max(difference(b[place], a[place]) for a, b in zip(wanted, found, strict=True))
        values = np.concatenate([a[place].astype(np.float64).ravel() for a in wanted])
        spread = float(np.ptp(values[np.isfinite(values)])) if np.isfinite(values).any() else 0.0
        worst = max(worst, gap)
        ratio = max(ratio, gap / spread if spread > 0 else (float("inf") if gap else 0.0))
    original_us, variant_us = _times_us([(original, rows[0]), (variant, rows[0])])
    return Figures(
        rows=len(rows),
        original_bytes=len(read_bounded(model_file)),
        variant_bytes=variant_bytes,
        original_run_us=original_us,
        variant_run_us=variant_us,
        difference_max=worst,
        difference_ratio=ratio,
        agreement_ratio=_agreement(wanted, found),
    )


def _agreement(wanted: Sequence[list[Array]], found: Sequence[list[Array]]) -> float | None:
    """Return the share of rows whose highest score is at the same place in both."""
    first = wanted[0][0]
    if first.ndim < 2 or first.shape[-1] < 2 or first.dtype.kind != "f":
        return None
    same = [
        (a[0].argmax(axis=-1) == b[0].argmax(axis=-1)).ravel()
        for a, b in zip(wanted, found, strict=True)
    ]
    return float(np.concatenate(same).mean())


def _hold(figures: Figures, limits: Limits, what: str) -> None:
    if not figures.difference_ratio <= limits.difference_ratio_max:
        raise VariantWorseError(
            what, "difference", figures.difference_ratio, limits.difference_ratio_max
        )
    agreement = figures.agreement_ratio
    if agreement is not None and agreement < limits.agreement_ratio_min:
        raise VariantWorseError(what, "agreement", agreement, limits.agreement_ratio_min)


def _card(
    card: Card,
    variant: Loaded,
    rows: Sequence[dict[str, Array]],
    kind: Kind,
    name: str,
    version: int,
    figures: Figures,
) -> Card:
    """Return the variant's card: the original's, with what is its own."""
    some = rows if card.max_batch else rows[:1]
    inputs = tuple(np.concatenate([row[s.name] for row in some]) for s in variant.inputs)
    tolerance = max(card.tolerance, TOLERANCE_MIN)
    bench = Bench(f"the {WORDS[kind]} variant", variant, inputs)
    outputs = bench.run()
    # Where activations get one scale for the whole batch, rows change each other: no batches.
    max_batch = bench.max_batch(outputs, card.tolerance) if card.max_batch else 0
    alone = [_run(variant, row) for row in some]
    own = [np.concatenate(parts) for parts in zip(*alone, strict=True)] if max_batch else outputs
    metrics = {"difference_to_original_max": figures.difference_max}
    if figures.agreement_ratio is not None:
        metrics["agreement_with_original_ratio"] = figures.agreement_ratio
    return msgspec.structs.replace(
        card,
        name=name,
        version=version,
        summary=f"{card.summary} ({WORDS[kind]})".strip(),
        source=f"{WORDS[kind]} of {card.name} {card.version}; {card.source}",
        inputs=variant.inputs,
        outputs=variant.outputs,
        metrics=metrics,
        tolerance=tolerance,
        samples=samples(inputs, own, by_row=max_batch > 0),
        max_batch=max_batch,
    )


def _run(model: Loaded, row: dict[str, Array]) -> list[Array]:
    try:
        return model.run(row, model.output_names)
    except SkerryError as error:
        raise UnusableModelError("the model", f"does not run ({error})", "one that does") from error


def _times_us(pairs: Sequence[tuple[Loaded, dict[str, Array]]]) -> list[float]:
    """Return the lower quartile of each pair's run, the pairs taking turns."""
    times: list[list[float]] = [[] for _ in pairs]
    for _ in range(_ROUNDS):
        for found, (model, row) in zip(times, pairs, strict=True):
            end_s = time.perf_counter() + _TIMED_S / _ROUNDS
            while len(found) < _ROUNDS or time.perf_counter() < end_s:
                start_s = time.perf_counter()
                model.run(row, model.output_names)
                found.append((time.perf_counter() - start_s) * 1e6)
    return [round(float(np.quantile(found, 0.25)), 3) for found in times]
