"""The models in service, from a folder laid out as `<repository>/<model>/<version>/model.onnx`.

A version serves only after it was loaded, warmed and repeated its card's check samples;
only then does it replace what served before, between two requests. What was replaced
goes when its last request is answered. A file that cannot be served changes nothing.

Where memory has a bound, a load makes room by resting the versions that were asked for
least recently. A resting version is known whole (it was loaded and checked before) and
loads again when a request asks for it.

Errors:  UnknownModelError, ModelFileError, SampleError, SettingsError, RepositoryError,
         MemoryFullError; RestingError for what is not loaded now.
"""

import asyncio
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.processes import trim_memory
from skerry.schema.model import CARD_FILE, MODEL_FILE
from skerry.schema.oip_documents import IndexRow
from skerry.schema.oip_errors import shown
from skerry.schema.runtime import RuntimeEvent
from skerry.schema.upstream import UPSTREAM_FILE
from skerry.serve.errors import (
    MemoryFullError,
    RepositoryError,
    RestingError,
    ServeError,
    UnknownModelError,
)
from skerry.serve.loading import load_version, read_card
from skerry.serve.memory import Held, give_way
from skerry.serve.model_settings import ModelSettings, read_model_settings
from skerry.serve.onnx_engine import OnnxModel
from skerry.serve.scheduler import Lane
from skerry.serve.slots import Entry, Resting, Slot, version_number
from skerry.serve.upstreams import Upstreams
from skerry.serve.window import Window

EVENTS_MAX = 256

_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Repository:
    """Which version answers for which model; loads and swaps, one at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        queue_len_max: int,
        clock: Clock,
        memory_bytes_max: int | None = None,
        providers: tuple[str, ...] = (),
        upstreams: Upstreams | None = None,
    ) -> None:
        self._folder = folder
        self._upstreams = upstreams or Upstreams(clock=clock)
        self._queue_len_max = queue_len_max
        self._clock = clock
        self.memory_bytes_max = memory_bytes_max
        self._providers = providers
        self._entries: dict[str, Entry] = {}
        self._one_at_a_time = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._waking: dict[tuple[str, int], asyncio.Task[Slot]] = {}
        self.events: deque[RuntimeEvent] = deque(maxlen=EVENTS_MAX)
        """The latest loads, unloads and refusals, oldest first."""
        self.unloads = 0
        """Versions that were unloaded to make room, since the start."""

    def get(self, model: str, version: str = "") -> Slot:
        """Return the slot that answers; no version means the default one.

        Raises `RestingError` where that version is not loaded now: `wake` loads it.
        """
        entry = self._entries.get(model)
        if entry is None:
            raise UnknownModelError(model, version)
        number = entry.version_of(version) if version else entry.default
        slot = entry.slots.get(number)
        if slot is None:
            resting = entry.resting.get(number)
            if resting is not None:
                raise RestingError(model, number, resting.load_s)
            raise UnknownModelError(model, version)
        return slot

    def described(self, model: str, version: str = "") -> Slot | Resting:
        """Return what is known of a version that serves, loaded or resting."""
        entry = self._entries.get(model)
        if entry is not None:
            number = entry.version_of(version) if version else entry.default
            found = entry.slots.get(number) or entry.resting.get(number)
            if found is not None:
                return found
        raise UnknownModelError(model, version)

    def entry(self, model: str) -> Entry:
        """Return everything about one model's versions."""
        entry = self._entries.get(model)
        if entry is None:
            raise UnknownModelError(model)
        return entry

    def versions(self, model: str) -> list[str]:
        """Return a model's versions in service, newest last."""
        entry = self._entries[model]
        return [str(version) for version in sorted({*entry.slots, *entry.resting})]

    def serving(self) -> list[Slot]:
        """Return the default slot of every model that is loaded."""
        found = [entry.slots.get(entry.default) for entry in self._entries.values()]
        return [slot for slot in found if slot is not None]

    def slots(self) -> list[Slot]:
        """Return every slot that is loaded."""
        return [slot for entry in self._entries.values() for slot in entry.slots.values()]

    def folders(self) -> dict[str, dict[str, str]]:
        """Return model to version to the folder that it is loaded from, resting ones too."""
        known: dict[str, dict[str, str]] = {}
        for name, entry in self._entries.items():
            loaded = {str(version): str(slot.folder) for version, slot in entry.slots.items()}
            resting = {str(version): str(one.folder) for version, one in entry.resting.items()}
            known[name] = {**loaded, **resting}
        return known

    def all_ready(self) -> bool:
        """Say whether every model that should serve does."""
        return all(entry.serves or not entry.refused for entry in self._entries.values())

    def memory_bytes(self) -> int:
        """Return what all loaded versions take together, as measured when they were loaded."""
        return sum(slot.loaded.memory_bytes for slot in self.slots())

    def index(self) -> list[IndexRow]:
        """List versions in service, those that were refused, and those only on disk."""
        on_disk = {name: self._on_disk(name) for name in self._names()}
        return [
            row
            for name in sorted(self._entries.keys() | on_disk.keys())
            for row in self._entries.get(name, Entry()).rows(name, on_disk.get(name, []))
        ]

    async def load_all(self) -> list[ServeError]:
        """Load every model of the folder; return why some could not be."""
        if not self._folder.is_dir():
            raise RepositoryError(str(self._folder), "there is no such folder")
        errors: list[ServeError] = []
        for name in self._names():
            try:
                await self.load(name, wait=False)
            except ServeError as error:
                forget_frames(error)
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
            try:
                chosen = read_model_settings(self._folder / name).chosen(versions)
                if not chosen:
                    where = str(self._folder / name)
                    raise RepositoryError(where, "its settings choose none of its versions")
            except ServeError as error:
                self._refused(name, versions[-1], error)
                raise
            fresh = Entry(default=chosen[-1])
            try:
                for version in chosen:
                    folder = self._folder / name / str(version)
                    made = await self._make(name, version, folder, fresh, wait=wait)
                    fresh.slots[version] = made
            except BaseException:
                self._let_go(fresh.slots.values())
                raise
            self._replace(name, fresh)

    async def load_folder(self, name: str, folder: Path) -> None:
        """Put one version from any folder into service; see `load_folders`."""
        await self.load_folders({name: folder})

    async def load_folders(self, folders: Mapping[str, Path]) -> None:
        """Put one version per model into service, alone, in place of what serves now.

        Each folder is named after the version and holds `model.onnx` and, where there is
        one, `card.json`. All are swapped at once, or none where one cannot be loaded.
        """
        for name, folder in folders.items():
            if not _MODEL_NAME.fullmatch(name):
                raise RepositoryError(shown(name), "this cannot name a model")
            if not version_number(folder.name) or not folder.is_absolute():
                why = "not an absolute path to a version folder"
                raise RepositoryError(shown(str(folder)), why)
        async with self._one_at_a_time:
            made: dict[str, Entry] = {}
            try:
                for name, folder in folders.items():
                    version = int(folder.name)
                    fresh = made[name] = Entry(default=version)
                    fresh.slots[version] = await self._make(name, version, folder, fresh)
            except BaseException:
                for fresh in made.values():
                    self._let_go(fresh.slots.values())
                raise
            for name, fresh in made.items():
                self._replace(name, fresh)

    async def wake(self, model: str, version: str, left_s: float) -> Slot:
        """Load a resting version for a request that has so long; needs a task.

        A load that takes longer goes on, and the request hears when to come back.
        """
        number = self.entry(model).version_of(version)
        key = (model, number)
        task = self._waking.get(key)
        if task is None:
            resting = self.entry(model).resting.get(number)
            if resting is None:
                return self.get(model, version)
            task = asyncio.get_running_loop().create_task(self._wake(model, number, resting))
            self._waking[key] = task
            task.add_done_callback(lambda done: self._woken(key, done))
        try:
            async with asyncio.timeout(max(left_s, 0.0)):
                return await asyncio.shield(task)
        except TimeoutError as error:
            known = self.entry(model).resting.get(number)
            raise RestingError(model, number, known.load_s if known else 0.0) from error

    async def unload(self, name: str) -> None:
        """Take a model out of service; its requests under way are still answered."""
        async with self._one_at_a_time:
            entry = self._entries.pop(name, None)
            if entry is None:
                raise UnknownModelError(name)
            for version in {*entry.slots, *entry.resting}:
                self._note(name, version, "unloaded", "asked for")
            self._let_go(entry.slots.values())

    async def drain(self) -> None:
        """Wait until nothing waits or runs in any lane."""
        for task in self._waking.values():
            task.cancel()
        await asyncio.gather(*(slot.lane.drain() for slot in self.slots()), *self._leaving)

    def _replace(self, name: str, fresh: Entry) -> None:
        """Swap; no other task can run between these lines, so a request sees old or new."""
        before = self._entries.get(name)
        self._entries[name] = fresh
        if before is not None:
            self._let_go(before.slots.values())

    def _let_go(self, slots: Iterable[Slot]) -> list[asyncio.Task[None]]:
        tasks = [asyncio.get_running_loop().create_task(_leave(slot)) for slot in slots]
        for task in tasks:
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        return tasks

    async def _make(
        self,
        name: str,
        version: int,
        folder: Path,
        fresh: Entry,
        known_bytes: int = 0,
        *,
        wait: bool = True,
    ) -> Slot:
        """Load one version beside everything that serves; `fresh` is what it will belong to.

        `known_bytes` is what it took when it was loaded before; its file is a guess else.
        """
        try:
            settings = read_model_settings(folder.parent)
            if (folder / UPSTREAM_FILE).is_file():
                return await self._make_upstream(name, version, folder, settings, wait=wait)
            await self._make_room(name, fresh, known_bytes or _length(folder / MODEL_FILE))
            loaded = await asyncio.to_thread(
                load_version,
                name,
                version,
                folder,
                settings,
                queue_len_max=self._queue_len_max,
                providers=self._providers,
            )
            if known_bytes > loaded.memory_bytes:  # it took what others had freed before
                loaded = replace(loaded, memory_bytes=known_bytes)
            await self._make_room(name, fresh, loaded.memory_bytes)
        except ServeError as error:
            forget_frames(error)
            self._refused(name, version, error)
            raise
        model = loaded.model
        assert isinstance(model, OnnxModel)  # noqa: S101 - that is what `load_version` loads
        now_s = self._clock.monotonic_s()
        self._note(name, version, "loaded", f"in {loaded.load_s:.3g} s, {loaded.profile_note}")
        return Slot(
            name=name,
            version=version,
            folder=folder,
            model=model,
            card=loaded.card,
            lane=Lane(model, loaded.lane, clock=self._clock),
            window=Window(now_s),
            version_text=str(version),
            loaded=loaded,
            loaded_at_s=now_s,
        )

    async def _make_upstream(
        self, name: str, version: int, folder: Path, settings: ModelSettings, *, wait: bool
    ) -> Slot:
        lane = settings.lane(queue_len_max=self._queue_len_max)
        opened = await self._upstreams.open(
            name, folder, read_card(folder / CARD_FILE), settings, lane, wait=wait
        )
        now_s = self._clock.monotonic_s()
        self._note(name, version, "loaded", opened.loaded.profile_note)
        return Slot(
            name=name,
            version=version,
            folder=folder,
            model=opened.loaded.model,
            card=opened.loaded.card,
            lane=opened.lane,
            window=Window(now_s),
            version_text=str(version),
            loaded=opened.loaded,
            loaded_at_s=now_s,
            health=opened.health,
        )

    async def _make_room(self, name: str, fresh: Entry, need_bytes: int) -> None:
        """Rest others until so much fits; what serves under this name stays until the swap."""
        leaving = self._rest_others(name, fresh, need_bytes)
        if leaving:  # their memory is there only when their last request is answered
            await asyncio.wait(leaving)

    def _rest_others(self, name: str, fresh: Entry, need_bytes: int) -> list[asyncio.Task[None]]:
        limit_bytes = self.memory_bytes_max
        if limit_bytes is None:
            return []
        entries = [entry for entry in self._entries.values() if entry is not fresh]
        homes = [(entry, slot) for entry in (*entries, fresh) for slot in entry.slots.values()]
        going = give_way(
            [
                Held(
                    memory_bytes=slot.loaded.memory_bytes,
                    used_at_s=slot.used_at_s,
                    pinned=slot.keeps or (slot.name == name and entry is not fresh),
                )
                for entry, slot in homes
            ],
            need_bytes,
            limit_bytes,
        )
        if going is None:
            used_bytes = sum(slot.loaded.memory_bytes for _, slot in homes)
            raise MemoryFullError(name, need_bytes, used_bytes, limit_bytes)
        reason = f"unloaded to make room for {name}, being the one used least recently"
        for number in going:
            self._rest(*homes[number], reason)
        return self._let_go([homes[number][1] for number in going])

    def _rest(self, entry: Entry, slot: Slot, reason: str) -> None:
        del entry.slots[slot.version]
        entry.resting[slot.version] = Resting(
            folder=slot.folder,
            inputs=slot.inputs,
            outputs=slot.outputs,
            card=slot.card,
            memory_bytes=slot.loaded.memory_bytes,
            load_s=slot.loaded.load_s,
            reason=reason,
        )
        self.unloads += 1
        self._note(slot.name, slot.version, "unloaded", reason)

    async def _wake(self, name: str, version: int, resting: Resting) -> Slot:
        async with self._one_at_a_time:
            entry = self._entries.get(name)
            if entry is None or entry.resting.get(version) is not resting:
                return self.get(name, str(version))  # changed meanwhile: what is true now counts
            slot = await self._make(name, version, resting.folder, entry, resting.memory_bytes)
            entry.refused.pop(version, None)
            del entry.resting[version]
            entry.slots[version] = slot
            return slot

    def _woken(self, key: tuple[str, int], done: "asyncio.Task[Slot]") -> None:
        self._waking.pop(key, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; where nobody did any more, it is noted

    def _refused(self, name: str, version: int, error: ServeError) -> None:
        self._entries.setdefault(name, Entry()).refused[version] = str(error)
        self._note(name, version, "refused", str(error))

    def _note(self, name: str, version: int, what: str, reason: str) -> None:
        self.events.append(
            RuntimeEvent(
                at_unix_s=self._clock.unix_s(),
                model=name,
                version=version,
                what=what,
                reason=reason,
            )
        )

    def _names(self) -> list[str]:
        return sorted(self._found()) if self._folder.is_dir() else []

    def _found(self) -> Iterator[str]:
        for path in self._folder.iterdir():
            if path.is_dir() and _MODEL_NAME.fullmatch(path.name) and self._on_disk(path.name):
                yield path.name

    def _on_disk(self, name: str) -> list[int]:
        folder = self._folder / name
        if not _MODEL_NAME.fullmatch(name) or not folder.is_dir():
            return []
        versions = (version_number(path.name) for path in folder.iterdir() if path.is_dir())
        return sorted(version for version in versions if version)


def forget_frames(error: BaseException | None) -> None:
    """Drop an error's tracebacks: an error that is kept would keep the model it failed with."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # the load says it better
        return 0


async def _leave(slot: Slot) -> None:
    """Wait for a version's last answer, then give its memory back to the system."""
    await slot.lane.drain()
    slot.lane.settle()
    if slot.tally is not None:
        slot.tally.settle()
    del slot
    await asyncio.to_thread(trim_memory)
