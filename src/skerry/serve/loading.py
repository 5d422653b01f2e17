"""From a version's folder to a model that is ready to serve: read, load, check, warm, measure.

Runs on a thread and touches nothing in service, so a version that fails anywhere on the
way changes nothing. A profile of this machine spares the measuring, a person's settings
win over both.

Units:   seconds, bytes.
Errors:  ModelFileError, SampleError, SettingsError.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.processes import rss_bytes, trim_memory
from skerry.schema.model import CARD_FILE, MODEL_FILE, Card, CheckSample, TensorSpec
from skerry.schema.oip import Tensor
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_tensors import tensor_from_raw
from skerry.schema.profile import Profile, read_profile, unfit
from skerry.serve.batch_axes import BatchAxes, find_batch_axes, take
from skerry.serve.errors import (
    ModelFileError,
    ModelRunError,
    SampleError,
    ServeError,
    SettingsError,
)
from skerry.serve.model_settings import LaneSettings, ModelSettings
from skerry.serve.onnx_engine import EngineSettings, OnnxModel, this_machine, zeros
from skerry.serve.runtime import Runtime
from skerry.serve.states import check_states

CARD_BYTES_MAX = 64 * 1024**2
BATCHES_TRIED = (2, 8)
BATCH_GAIN = 0.8  # a batch must cost at most this much per item; noise alone reaches 0.9
BATCH_MAX_UNSTATED = 32
WARM_S_MAX = 1.0  # for the batch sizes; what is not reached warms with its first requests

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A version that may enter service."""

    model: Runtime
    card: Card | None
    settings: ModelSettings
    lane: LaneSettings
    profile: Profile | None
    """The profile that was used; None where there is none or it does not fit."""
    profile_note: str
    """What became of the profile, in words."""
    memory_bytes: int
    """What it added to the process, and no less than its file."""
    load_s: float


def load_version(
    name: str,
    version: int,
    folder: Path,
    settings: ModelSettings,
    *,
    queue_len_max: int,
    providers: Sequence[str] = (),
) -> Loaded:
    """Load, check and warm a version; `providers` is the server's own wish."""
    trim_memory()  # here and below: what lies freed in the heap is nobody's size
    start_s, before_bytes = time.perf_counter(), rss_bytes(os.getpid())
    card = read_card(folder / CARD_FILE)
    profile, note = _profile(folder)
    model = OnnxModel(name, folder / MODEL_FILE, _engine(settings, profile, providers))
    if card is not None:
        _check_card(card, name, version, model, folder)
    inputs = _item(model, card, profile)
    if settings.batching == "on" and model.batch_axes is None:
        model.batch_axes = find_batch_axes(model, inputs)
        if model.batch_axes is None:
            raise SettingsError(
                str(folder.parent), "batching is on, and no axis of the model counts items"
            )
    if model.batch_axes is not None:
        inputs = take(inputs, model, model.batch_axes, 1)
    run_s = model.warm(inputs)
    if card is not None:
        _check_samples(card, model, folder)
    batch_max = _batch_max(model, card, settings, profile, inputs, run_s)
    if run_s:  # else these inputs are none that the model can run
        _warm_batches(model, inputs, batch_max, folder)
    lane = msgspec.structs.replace(
        settings.lane(queue_len_max=queue_len_max),
        batch_max=batch_max,
        run_on=_run_on(settings, profile),
        run_s=run_s,
    )
    file_bytes = (folder / MODEL_FILE).stat().st_size
    trim_memory()
    return Loaded(
        model=model,
        card=card,
        settings=settings,
        lane=lane,
        profile=profile,
        profile_note=note,
        memory_bytes=max(rss_bytes(os.getpid()) - before_bytes, file_bytes),
        load_s=time.perf_counter() - start_s,
    )


def read_card(path: Path) -> Card | None:
    """Read a card; None where there is none."""
    try:
        with path.open("rb") as file:
            text = file.read(CARD_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    if len(text) > CARD_BYTES_MAX:
        raise ModelFileError(str(path), f"larger than {CARD_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(text, type=Card)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelFileError(str(path), f"not a model card ({error})") from error


def _item(model: OnnxModel, card: Card | None, profile: Profile | None) -> Inputs:
    """Return what to warm and measure with: a check sample, else zeros in a shape that runs."""
    inputs = card_inputs(card, model.inputs) if card is not None else None
    if inputs is not None:
        return inputs
    if profile is None or len(profile.input_shapes) != len(model.inputs):
        return model.zeros()
    return {
        spec.name: zeros(spec, shape)
        for spec, shape in zip(model.inputs, profile.input_shapes, strict=True)
    }


def card_inputs(card: Card, specs: Sequence[TensorSpec]) -> Inputs | None:
    """Return the inputs of a card's first check sample; None where they are not usable."""
    try:
        inputs = {one.name: one.data for one in _sample_inputs(card.samples[0], specs)}
    except (OipError, ValueError, IndexError):
        return None
    return inputs if all(array.size for array in inputs.values()) else None


def _sample_inputs(sample: CheckSample, specs: Sequence[TensorSpec]) -> list[Tensor]:
    return [
        tensor_from_raw(spec.name, spec.datatype, shape, raw)
        for spec, shape, raw in zip(specs, sample.input_shapes, sample.inputs, strict=True)
    ]


def _profile(folder: Path) -> tuple[Profile | None, str]:
    """Return the profile if it holds here, and what became of it."""
    found = read_profile(folder)
    if found is None:
        return None, "no profile: measured quickly at load"
    if isinstance(found, str):
        return None, f"profile not used: {found}"
    why = unfit(found, this_machine(), folder / MODEL_FILE)
    return (None, f"profile not used: {why}") if why else (found, "profile used")


def _engine(
    settings: ModelSettings, profile: Profile | None, providers: Sequence[str]
) -> EngineSettings:
    chosen = profile.chosen if profile is not None else None
    return EngineSettings(
        providers=settings.providers or tuple(providers),
        threads=settings.threads or (chosen.threads if chosen is not None else 1),
        arena=chosen is not None and chosen.arena,
        io_binding=chosen is not None and chosen.io_binding,
        batch_axes=BatchAxes(chosen.input_batch_axes, chosen.output_batch_axes)
        if chosen is not None and chosen.input_batch_axes
        else None,
    )


def _run_on(settings: ModelSettings, profile: Profile | None) -> Any:
    if settings.concurrency > 1:  # the loop has one run at a time
        return "thread"
    if settings.run_on != "auto" or profile is None:
        return settings.run_on
    return profile.chosen.run_on


def _batch_max(
    model: OnnxModel,
    card: Card | None,
    settings: ModelSettings,
    profile: Profile | None,
    inputs: Inputs,
    run_s: float,
) -> int:
    """Return how many items may run as one: as stated, as profiled, or as found quickly."""
    if settings.batching == "off" or model.batch_axes is None:
        return 1
    card_max = card.max_batch if card is not None else 0
    if settings.batching == "on":
        profiled = profile.chosen.batch_max if profile is not None else 0
        return settings.batch_max or card_max or profiled or BATCH_MAX_UNSTATED
    if profile is not None:
        return min(profile.chosen.batch_max, settings.batch_max or profile.chosen.batch_max)
    batch_max = max(settings.batch_max or card_max, 1)
    # Two first: a model that gains nothing there costs no eight, while others want the core.
    for items in BATCHES_TRIED:
        if 1 < items <= batch_max:
            batch_s = model.warm(take(inputs, model, model.batch_axes, items))
            if batch_s / items > BATCH_GAIN * run_s:
                return 1
    return batch_max


def _warm_batches(model: OnnxModel, inputs: Inputs, batch_max: int, folder: Path) -> None:
    """Run each batch size once, doubling up to the largest that will come."""
    end_s = time.perf_counter() + WARM_S_MAX
    sizes = [2**power for power in range(1, 13) if 2**power < batch_max] + [batch_max]
    for items in sizes:
        if items == 1 or model.batch_axes is None or time.perf_counter() > end_s:
            return
        try:
            model.run(take(inputs, model, model.batch_axes, items), model.output_names)
        except ModelRunError as error:
            raise ModelFileError(
                str(folder), f"does not run a batch of {items}, which it should take ({error.why})"
            ) from error


def _check_card(card: Card, name: str, version: int, model: OnnxModel, folder: Path) -> None:
    if (card.name, card.version) != (name, version):
        raise ModelFileError(
            str(folder), f"its card says {card.name} {card.version}, not {name} {version}"
        )
    for side, stated, found in (
        ("inputs", card.inputs, model.inputs),
        ("outputs", card.outputs, model.outputs),
    ):
        if [(s.name, s.datatype) for s in stated] != [(s.name, s.datatype) for s in found]:
            raise ModelFileError(str(folder), f"its card lists other {side} than its model file")
    check_states(card, model.inputs, model.outputs, folder)


def _check_samples(card: Card, model: OnnxModel, folder: Path) -> None:
    for number, sample in enumerate(card.samples, start=1):
        where = f"check sample {number}"
        try:
            inputs = _sample_inputs(sample, model.inputs)
            wanted = [
                tensor_from_raw(spec.name, spec.datatype, shape, raw)
                for spec, shape, raw in zip(
                    model.outputs, sample.output_shapes, sample.outputs, strict=True
                )
            ]
            found = model.run({one.name: one.data for one in inputs}, model.output_names)
        except (OipError, ServeError, ValueError) as error:
            raise SampleError(str(folder), f"{where} cannot be run ({error})") from error
        for tensor, array in zip(wanted, found, strict=True):
            difference = _difference(tensor, array)
            if not difference <= card.tolerance:  # so that NaN is refused too
                raise SampleError(
                    str(folder),
                    f"{where} differs by {difference:.3g} in {tensor.name}, "
                    f"allowed {card.tolerance:.3g}",
                )


def _difference(wanted: Tensor, found: NDArray[Any]) -> float:
    """Return the largest absolute difference; infinite for other shapes or texts."""
    if wanted.shape != found.shape:
        return float("inf")
    if wanted.datatype == "BYTES":
        return 0.0 if bool((wanted.data == found).all()) else float("inf")
    with np.errstate(invalid="ignore"):  # two like infinities do not differ
        gap = np.abs(wanted.data.astype(np.float64) - found.astype(np.float64))
    return float(np.where(wanted.data == found, 0.0, gap).max(initial=0.0))
