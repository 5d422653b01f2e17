"""What is said of a model's runtime: the document behind `explain`, and its metrics.

Units:   bytes, seconds; microseconds per run.
"""

from collections.abc import Iterator

from skerry.schema.runtime import (
    LOADED,
    REFUSED,
    RESTING,
    ModelRuntime,
    ProviderLeftOut,
    VersionRuntime,
)
from skerry.serve.onnx_engine import EngineSettings, OnnxModel
from skerry.serve.repository import Repository
from skerry.serve.slots import Entry, Slot

UPSTREAM = "upstream"
Gauge = tuple[str, str, dict[str, str], float]


def model_runtime(repository: Repository, model: str, now_s: float) -> ModelRuntime:
    """Describe how a model is run; raises `UnknownModelError` if it is not known."""
    entry = repository.entry(model)
    numbers = sorted({*entry.slots, *entry.resting, *entry.refused})
    return ModelRuntime(
        name=model,
        memory_bytes=repository.memory_bytes(),
        memory_bytes_max=repository.memory_bytes_max,
        versions=tuple(_version(entry, number, now_s) for number in numbers),
        events=tuple(event for event in repository.events if event.model == model),
    )


def _version(entry: Entry, number: int, now_s: float) -> VersionRuntime:
    slot = entry.slots.get(number)
    if slot is not None:
        return _loaded(slot, is_default=number == entry.default, now_s=now_s)
    resting = entry.resting.get(number)
    if resting is None:
        return VersionRuntime(version=number, state=REFUSED, reason=entry.refused[number])
    return VersionRuntime(
        version=number,
        state=RESTING,
        reason=entry.refused.get(number, resting.reason),
        is_default=number == entry.default,
        memory_bytes=resting.memory_bytes,
        load_s=resting.load_s,
    )


def _loaded(slot: Slot, *, is_default: bool, now_s: float) -> VersionRuntime:
    loaded = slot.loaded
    model = slot.model if isinstance(slot.model, OnnxModel) else None
    engine = model.settings if model is not None else EngineSettings()
    return VersionRuntime(
        version=slot.version,
        state=LOADED,
        is_default=is_default,
        pinned=loaded.settings.pinned,
        memory_bytes=loaded.memory_bytes,
        load_s=loaded.load_s,
        idle_s=max(now_s - slot.used_at_s, 0.0),
        reason=slot.why_not,
        providers=providers_of(slot),
        left_out=tuple(
            ProviderLeftOut(provider=one.provider, reason=one.reason)
            for one in (model.left_out if model is not None else ())
        ),
        run_us=slot.lane.run_s * 1e6,
        batch_max=slot.lane.batch_max,
        run_on=loaded.lane.run_on,
        concurrency=loaded.lane.concurrency,
        threads=engine.threads,
        arena=engine.arena,
        io_binding=model is not None and model.is_bound,
        queue_len_max=loaded.lane.queue_len_max,
        priority_default=loaded.lane.priority_default,
        rate_per_s=loaded.lane.rate_per_s,
        burst=loaded.lane.burst,
        profile_note=loaded.profile_note,
        profile=loaded.profile,
    )


def providers_of(slot: Slot) -> tuple[str, ...]:
    """Return what runs a version: execution providers, or `upstream` for another server."""
    return slot.model.providers if isinstance(slot.model, OnnxModel) else (UPSTREAM,)


def runtime_gauges(repository: Repository) -> Iterator[Gauge]:
    """Yield the metrics of what is loaded, what runs it and what had to give way."""
    slots = repository.slots()
    for slot in slots:
        labels = {"model": slot.name, "version": slot.version_text}
        yield (
            "skerry_model_memory_bytes",
            "Memory that a loaded version added to the process.",
            labels,
            float(slot.loaded.memory_bytes),
        )
    for slot in slots:
        labels = {"model": slot.name, "version": slot.version_text}
        yield (
            "skerry_model_provider",
            "1 for the execution provider that runs a version.",
            {**labels, "provider": providers_of(slot)[0]},
            1.0,
        )
    yield (
        "skerry_model_unloads",
        "Versions unloaded to make room, since the start.",
        {},
        float(repository.unloads),
    )
