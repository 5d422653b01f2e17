"""The models in service, from a folder laid out as `<repository>/<model>/<version>/model.onnx`.

A version serves only after it was loaded, warmed and repeated its card's check samples;
only then does it replace what served before, between two requests. What was replaced
goes when its last request is answered. A file that cannot be served changes nothing.

Errors:  UnknownModelError, ModelFileError, SampleError, RepositoryError.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.clock import Clock
from skerry.base.processes import trim_memory
from skerry.schema.model import CARD_FILE, MODEL_FILE, Card
from skerry.schema.oip import Tensor
from skerry.schema.oip_documents import IndexRow
from skerry.schema.oip_errors import OipError, shown
from skerry.schema.oip_tensors import tensor_from_raw
from skerry.schema.upstream import UPSTREAM_FILE
from skerry.serve.errors import (
    ModelFileError,
    RepositoryError,
    SampleError,
    ServeError,
    UnknownModelError,
)
from skerry.serve.onnx_engine import OnnxModel
from skerry.serve.runtime import Runtime
from skerry.serve.scheduler import Lane
from skerry.serve.sequences import Sequences
from skerry.serve.states import check_states
from skerry.serve.upstream import UpstreamLane
from skerry.serve.upstream_health import UpstreamHealth
from skerry.serve.upstreams import Upstreams
from skerry.serve.window import Window

CARD_BYTES_MAX = 64 * 1024**2
BATCHES_TRIED = (2, 8)
BATCH_GAIN = 0.8  # a batch must cost at most this much per item; noise alone reaches 0.9
READY = "READY"
UNAVAILABLE = "UNAVAILABLE"

_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(slots=True)
class Slot:
    """One model version in service."""

    name: str
    version: int
    folder: Path
    model: Runtime
    card: Card | None
    lane: Lane | UpstreamLane
    window: Window
    sequences: Sequences | None = None
    """The state of sequences under way, from the first request of one on."""
    health: UpstreamHealth | None = None
    """Of the server behind it, where another server is the runtime."""

    @property
    def why_not(self) -> str:
        """Say why it cannot be asked just now; empty if it can."""
        return "" if self.health is None else self.health.reason


@dataclass(slots=True)
class _Entry:
    """One model: its versions in service, and why others are not."""

    slots: dict[int, Slot] = field(default_factory=dict)
    default: int = 0
    refused: dict[int, str] = field(default_factory=dict)


class Repository:
    """Which version answers for which model; loads and swaps, one at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        queue_len_max: int,
        clock: Clock,
        upstreams: Upstreams | None = None,
    ) -> None:
        self._folder = folder
        self._upstreams = upstreams or Upstreams(clock=clock)
        self._queue_len_max = queue_len_max
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._one_at_a_time = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    def get(self, model: str, version: str = "") -> Slot:
        """Return the slot that answers; no version means the default one."""
        entry = self._entries.get(model)
        if entry is None or not entry.slots:
            raise UnknownModelError(model, version)
        if not version:
            return entry.slots[entry.default]
        slot = entry.slots.get(int(version)) if _VERSION.fullmatch(version) else None
        if slot is None:
            raise UnknownModelError(model, version)
        return slot

    def versions(self, model: str) -> list[str]:
        """Return a model's versions in service, newest last."""
        return [str(version) for version in sorted(self._entries[model].slots)]

    def serving(self) -> list[Slot]:
        """Return the default slot of every model in service."""
        return [entry.slots[entry.default] for entry in self._entries.values() if entry.slots]

    def slots(self) -> list[Slot]:
        """Return every slot in service."""
        return [slot for entry in self._entries.values() for slot in entry.slots.values()]

    def all_ready(self) -> bool:
        """Say whether every model that should serve does."""
        return all(entry.slots or not entry.refused for entry in self._entries.values())

    def index(self) -> list[IndexRow]:
        """List versions in service, those that were refused, and those only on disk."""
        rows: list[IndexRow] = []
        on_disk = {name: self._on_disk(name) for name in self._names()}
        for name in sorted(self._entries.keys() | on_disk.keys()):
            entry = self._entries.get(name, _Entry())
            for version in sorted({*entry.slots, *entry.refused, *on_disk.get(name, [])}):
                slot = entry.slots.get(version)
                reason = slot.why_not if slot else entry.refused.get(version, "not loaded")
                ready = slot is not None and not reason
                state = READY if ready else UNAVAILABLE
                rows.append(IndexRow(name=name, version=str(version), state=state, reason=reason))
        return rows

    async def load_all(self) -> list[ServeError]:
        """Load every model of the folder; return why some could not be."""
        if not self._folder.is_dir():
            raise RepositoryError(str(self._folder), "there is no such folder")
        errors: list[ServeError] = []
        for name in self._names():
            try:
                await self.load(name, wait=False)
            except ServeError as error:
                errors.append(error)
        return errors

    async def load(self, name: str, *, wait: bool = True) -> None:
        """Bring a model's versions in service to what is on disk; the newest answers.

        With `wait`, a version whose runtime is another server must be ready first.
        """
        async with self._one_at_a_time:
            versions = self._on_disk(name)
            if not versions:
                raise UnknownModelError(name)
            made: dict[int, Slot] = {}
            try:
                for version in versions:
                    folder = self._folder / name / str(version)
                    made[version] = await self._make(name, version, folder, wait=wait)
            except BaseException:
                self._let_go(made.values())
                raise
            self._replace(name, made)

    async def load_folder(self, name: str, folder: Path) -> None:
        """Put one version from any folder into service, alone, in place of what serves now.

        The folder is named after the version and holds `model.onnx` and, where there is
        one, `card.json`.
        """
        if not _MODEL_NAME.fullmatch(name):
            raise RepositoryError(shown(name), "this cannot name a model")
        if not _VERSION.fullmatch(folder.name) or not folder.is_absolute():
            raise RepositoryError(shown(str(folder)), "not an absolute path to a version folder")
        async with self._one_at_a_time:
            version = int(folder.name)
            self._replace(name, {version: await self._make(name, version, folder)})

    async def unload(self, name: str) -> None:
        """Take a model out of service; its requests under way are still answered."""
        async with self._one_at_a_time:
            entry = self._entries.pop(name, None)
            if entry is None:
                raise UnknownModelError(name)
            self._let_go(entry.slots.values())

    async def drain(self) -> None:
        """Wait until nothing waits or runs in any lane."""
        await asyncio.gather(*(slot.lane.drain() for slot in self.slots()), *self._leaving)

    def _replace(self, name: str, made: dict[int, Slot]) -> None:
        """Swap; no other task can run between these lines, so a request sees old or new."""
        before = self._entries.get(name)
        self._entries[name] = _Entry(slots=made, default=max(made))
        if before is not None:
            self._let_go(before.slots.values())

    def _let_go(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            task = asyncio.get_running_loop().create_task(_leave(slot))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _make(self, name: str, version: int, folder: Path, *, wait: bool = True) -> Slot:
        try:
            if (folder / UPSTREAM_FILE).is_file():
                return await self._make_upstream(name, version, folder, wait=wait)
            model, card, run_s, batch_max = await asyncio.to_thread(_prepare, name, version, folder)
        except ServeError as error:
            entry = self._entries.setdefault(name, _Entry())
            entry.refused[version] = str(error)
            raise
        lane = Lane(
            model,
            run_s=run_s,
            batch_max=batch_max,
            queue_len_max=self._queue_len_max,
            clock=self._clock,
        )
        return Slot(name, version, folder, model, card, lane, Window(self._clock.monotonic_s()))

    async def _make_upstream(self, name: str, version: int, folder: Path, *, wait: bool) -> Slot:
        card = _read_card(folder / CARD_FILE)
        opened = await self._upstreams.open(
            name, folder, card, queue_len_max=self._queue_len_max, wait=wait
        )
        since = Window(self._clock.monotonic_s())
        lane, health = opened.lane, opened.health
        return Slot(name, version, folder, opened.runtime, card, lane, since, health=health)

    def _names(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(
            path.name
            for path in self._folder.iterdir()
            if path.is_dir() and _MODEL_NAME.fullmatch(path.name) and self._on_disk(path.name)
        )

    def _on_disk(self, name: str) -> list[int]:
        folder = self._folder / name
        if not _MODEL_NAME.fullmatch(name) or not folder.is_dir():
            return []
        return sorted(
            int(path.name)
            for path in folder.iterdir()
            if path.is_dir() and _VERSION.fullmatch(path.name)
        )


async def _leave(slot: Slot) -> None:
    """Wait for a version's last answer, then give its memory back to the system."""
    await slot.lane.drain()
    del slot
    await asyncio.to_thread(trim_memory)


def _prepare(name: str, version: int, folder: Path) -> tuple[OnnxModel, Card | None, float, int]:
    """Load, check and warm a version; runs on a thread, touches nothing in service."""
    card = _read_card(folder / CARD_FILE)
    model = OnnxModel(name, folder / MODEL_FILE)
    if card is not None:
        _check_card(card, name, version, model, folder)
    run_s = model.warm()
    if card is not None:
        _check_samples(card, model, folder)
    batch_max = card.max_batch if card is not None and model.batch_axes is not None else 1
    # Two first: a model that gains nothing there costs no eight, while others want the core.
    for items in BATCHES_TRIED:
        if 1 < items <= batch_max and model.warm(items) / items > BATCH_GAIN * run_s:
            batch_max = 1
    return model, card, run_s, max(batch_max, 1)


def _read_card(path: Path) -> Card | None:
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
            inputs = [
                tensor_from_raw(spec.name, spec.datatype, shape, raw)
                for spec, shape, raw in zip(
                    model.inputs, sample.input_shapes, sample.inputs, strict=True
                )
            ]
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
