"""A node's hands: killed anywhere, they end where they were going; nothing is ever half served."""

import os
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

from skerry.fleet.actions import OnDisk
from skerry.node import reconcile
from skerry.node.errors import ContainerError, LoadRefusedError, WorkerUnreachableError
from skerry.node.folder import NodeFolder
from skerry.node.reconcile import Reconciler
from skerry.schema.model import Member
from skerry.schema.observed import Observed, ObservedModel, State, Window
from skerry.spine.blobs import BlobStore
from skerry.spine.errors import BlobFetchError
from skerry.testing.clock import ManualClock
from skerry.trust.acceptance import AcceptedDesired
from skerry.trust.errors import UpdateStale, UpdateUnreachable

Accept = Callable[..., AcceptedDesired]
TRACED = (
    "skerry/node/activation.py",
    "skerry/node/reconcile.py",
    "skerry/node/upstream.py",
    "skerry/fleet/actions.py",
)


class Killed(BaseException):
    """The process ended here."""


class Worker:
    """What a worker does, without a process: loads, refuses, and starts from `serving`."""

    def __init__(self, folder: NodeFolder) -> None:
        self._folder = folder
        self.served: dict[str, int] = {}
        self.up = True
        self.refuses: set[tuple[str, int]] = set()

    def load(self, folders: Mapping[str, Path]) -> None:
        self._answer()
        for model, place in folders.items():
            self._check(model, int(place.name), place)
        self.served |= {model: int(place.name) for model, place in folders.items()}

    def unload(self, model: str) -> None:
        self._answer()
        del self.served[model]

    def serving(self) -> dict[str, int]:
        self._answer()
        return dict(self.served)

    def die(self) -> None:
        self.up, self.served = False, {}

    def start(self) -> None:
        if self.up:
            return
        self.up = True
        for folder in self._folder.serving.iterdir():
            versions = [int(link.name) for link in folder.iterdir() if link.is_dir()]
            if folder.name.startswith(".") or not versions:
                continue
            try:
                self.load({folder.name: folder / str(max(versions))})
            except LoadRefusedError:
                continue

    def _answer(self) -> None:
        if not self.up:
            raise WorkerUnreachableError("worker.sock", "refused")

    def _check(self, model: str, version: int, place: Path) -> None:
        wanted = f"{model} {version}".encode()
        if (model, version) in self.refuses or (place / "model.onnx").read_bytes() != wanted:
            raise LoadRefusedError(model, version, "its check sample differs")


class Engine:
    """Keeps the containers of models whose name begins with `c`; notes what served meanwhile."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.running: set[tuple[str, int]] = set()
        self.refuses: set[tuple[str, int]] = set()
        self.served_at_start: list[dict[str, int]] = []

    def start(self, model: str, version: int, place: Path) -> None:
        if not model.startswith("c"):
            return
        assert (place / "model.onnx").exists()
        if (model, version) in self.refuses:
            raise ContainerError("podman run", "no such image")
        self.served_at_start.append(dict(self._worker.served))
        self.running.add((model, version))

    def died(self, model: str, version: int, place: Path) -> bool:
        return model.startswith("c") and (model, version) not in self.running

    def keep_only(self, versions: dict[str, int]) -> None:
        for name, version in self.running - set(versions.items()):
            assert self._worker.served.get(name) != version  # nothing that serves is stopped
        self.running &= set(versions.items())


class World:
    """One node, its worker and its mirror."""

    def __init__(self, folder: NodeFolder) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.worker = Worker(folder)
        self.containers = Engine(self.worker)
        self.online = True
        self.stale = False
        self.floor = 0
        self.offered: AcceptedDesired | None = None
        self.slow: set[int] = set()
        self.events: list[tuple[str, int]] = []
        self.agent = self.new_agent()

    def new_agent(self) -> Reconciler:
        """Start the agent, as after a kill."""
        agent = Reconciler(
            self.folder,
            "oslo",
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            clock=self.clock,
            observe=self.observe,
            tell=self.tell,
            containers=self.containers,  # type: ignore[arg-type]
        )
        agent._worker = self.worker  # type: ignore[assignment]
        self.agent = agent
        return agent

    def tell(self, kind: str, text: str, **detail: Any) -> None:
        self.events.append((kind, detail.get("generation", 0)))

    # The mirror and the update client.

    def refresh(self) -> None:
        if not self.online:
            raise UpdateUnreachable("mirror", "away")

    def check_fresh(self) -> None:
        if self.stale:
            raise UpdateStale("the fleet's signed state", "3.1 days ago")

    def raise_release_floor(self, release: int) -> None:
        self.floor = max(self.floor, release)

    def target_sha256(self, path: str) -> str | None:
        if path.endswith(".access.json"):  # this fleet has no policies of its own
            return None
        return self.offered.desired_sha256 if self.offered else None

    def fetch_member(self, member: Member, into: BlobStore) -> Path:
        if not self.online:
            raise BlobFetchError("https://mirror", "away")
        assert self.offered is not None
        for manifest in self.offered.manifests.values():
            if member in manifest.members:
                into.put_bytes(f"{manifest.name} {manifest.version}".encode())
        return into.path(member.sha256)

    def observe(self) -> Observed:
        current = AcceptedDesired.load(self.folder.current)
        slow = current is not None and current.desired.generation in self.slow
        models = () if current is None or not self.worker.up else current.desired.models
        return Observed(
            node="oslo/1",
            site="oslo",
            region="region-eu",
            boot="b",
            at_unix_s=self.clock.unix_s(),
            generation=0,
            desired_sha256="",
            in_sync=False,
            state=State.OK,
            reason="",
            models=tuple(
                ObservedModel(
                    name=model.name,
                    version=model.version,
                    ready=self.worker.served.get(model.name) == model.version,
                )
                for model in models
            ),
            window=Window(
                duration_s=10.0,
                requests=100,
                errors=0,
                local=100,
                latency_ms_p50=5.0,
                latency_ms_p95=500.0 if slow else 5.0,
            ),
        )

    def turn(self, *, killed_after_lines: int = 0) -> None:
        """Let the agent look once; kill it after so many lines of its code where told to."""
        agent = self.agent
        if not killed_after_lines:
            agent.refresh()
            agent.round()
            return
        before, lines = sys.gettrace(), 0

        def line(frame: FrameType, event: str, _: object) -> Any:
            nonlocal lines
            lines += event == "line"
            if lines >= killed_after_lines:
                sys.settrace(before)
                raise Killed
            return line

        def call(frame: FrameType, event: str, _: object) -> Any:
            return line if frame.f_code.co_filename.endswith(TRACED) else None

        sys.settrace(call)
        try:
            agent.refresh()
            agent.round()
        except Killed:
            self.new_agent()
        finally:
            sys.settrace(before)

    def settle(self) -> None:
        """Bring everything back and let time pass until nothing moves."""
        self.online = True
        self.worker.start()
        for _ in range(12):
            self.turn()
            self.clock.advance(HOLD_S + 1)

    def links(self) -> dict[str, int]:
        """Return what a cold start would serve."""
        return {
            link.parent.name: int(link.name)
            for link in self.folder.serving.glob("[a-z]*/*")
            if link.is_dir()
        }

    @property
    def memory(self) -> OnDisk:
        return msgspec.json.decode(self.folder.memory.read_bytes(), type=OnDisk)


HOLD_S = 20.0


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(NodeFolder(tmp_path).make())

    def accept(
        client: World, site: str, *, held: AcceptedDesired | None, hardware: str
    ) -> AcceptedDesired | None:
        if held is not None and client.offered == held:
            return held
        return client.offered

    monkeypatch.setattr(reconcile, "accept_desired", accept)
    monkeypatch.setattr(reconcile, "worker_pid", lambda _: os.getpid() if world.worker.up else 0)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a simulation has no power cuts
    return world


def versions(one: AcceptedDesired) -> dict[str, int]:
    return {model.name: model.version for model in one.desired.models}


def test_the_first_generation_serves_and_is_committed_in_one_round(
    world: World, accepted: Accept
) -> None:
    world.offered = accepted(1, a=1, b=1)
    world.turn()
    assert world.worker.served == {"a": 1, "b": 1} == world.links()
    assert (world.memory.generation, world.memory.trial) == (1, 0)
    assert world.agent.standing.in_sync
    assert world.events == [("release.swapped", 1), ("release.committed", 1)]


def test_a_fetch_without_network_ends_the_round_quietly_and_goes_on_later(
    world: World, accepted: Accept
) -> None:
    world.offered = accepted(1, a=1)
    world.agent.refresh()
    world.online = False
    world.agent.round()
    assert "away" in world.agent.standing.held_up
    world.settle()
    assert world.worker.served == {"a": 1}
    assert world.agent.standing.held_up == ""


def test_a_version_that_would_not_load_is_given_up_and_the_old_one_serves_on(
    world: World, accepted: Accept
) -> None:
    world.offered = accepted(1, a=1, b=1)
    world.settle()
    world.worker.refuses.add(("b", 2))
    world.offered = accepted(2, a=2, b=2)
    world.settle()
    assert world.worker.served == {"a": 1, "b": 1} == world.links()
    assert (world.memory.gave_up, world.memory.generation) == (2, 1)
    assert "its check sample differs" in world.memory.gave_up_reason
    assert world.events.count(("release.reverted", 2)) == 1


def test_a_first_generation_that_would_not_load_leaves_nothing_half_served(
    world: World, accepted: Accept
) -> None:
    world.worker.refuses.add(("b", 1))
    world.offered = accepted(1, a=1, b=1)
    world.settle()
    assert world.worker.served == {} == world.links()
    assert world.memory.gave_up == 1
    assert not world.folder.current.exists()
    world.offered = accepted(2, a=1)
    world.settle()
    assert world.worker.served == {"a": 1}


def test_a_container_runs_before_its_version_and_the_old_one_until_after(
    world: World, accepted: Accept
) -> None:
    world.offered = accepted(1, a=1, c=1)
    world.settle()
    assert world.containers.running == {("c", 1)}
    world.offered = accepted(2, a=1, c=2)
    world.settle()
    assert world.containers.served_at_start[-1] == {"a": 1, "c": 1}
    assert world.containers.running == {("c", 2)}
    world.containers.running.clear()  # a crash, or a reboot
    world.turn()
    assert world.containers.running == {("c", 2)}


def test_a_container_that_would_not_start_is_given_up_like_any_version(
    world: World, accepted: Accept
) -> None:
    world.offered = accepted(1, c=1)
    world.settle()
    world.containers.refuses.add(("c", 2))
    world.offered = accepted(2, c=2)
    world.settle()
    assert world.worker.served == {"c": 1} == world.links()
    assert "no such image" in world.memory.gave_up_reason
    assert world.containers.running == {("c", 1)}


def test_a_slow_release_is_taken_back(world: World, accepted: Accept) -> None:
    world.offered = accepted(1, a=1)
    world.settle()
    world.slow.add(2)
    world.offered = accepted(2, a=2)
    world.settle()
    assert world.worker.served == {"a": 1} == world.links()
    assert AcceptedDesired.load(world.folder.current) == accepted(1, a=1)


def test_what_was_dropped_is_gone_from_the_disk_and_what_serves_is_not(
    world: World, accepted: Accept
) -> None:
    world.offered = accepted(1, a=1, b=1)
    world.settle()
    world.offered = accepted(2, a=2, b=1)
    world.settle()
    here = {str(path.relative_to(world.folder.models)) for path in world.folder.models.glob("*/*")}
    assert here == {"a/2", "b/1"}
    assert len(BlobStore(world.folder.blobs).names()) == 2


def test_a_folder_that_is_not_ours_is_left_alone_and_stops_nothing(
    world: World, accepted: Accept
) -> None:
    strange = world.folder.models / "a" / "7"
    strange.mkdir(parents=True)
    for generation in (1, 2):
        world.offered = accepted(generation, a=generation)
        world.settle()
    assert world.memory.generation == 2
    assert strange.is_dir()


def test_a_damaged_model_is_fetched_again_without_a_trial(world: World, accepted: Accept) -> None:
    world.offered = accepted(1, a=1, b=1)
    world.settle()
    world.worker.die()
    (world.folder.models / "a" / "1" / "model.onnx").write_bytes(b"rot")
    world.worker.start()
    assert world.worker.served == {"b": 1}
    world.turn()
    assert world.worker.served == {"a": 1, "b": 1}
    assert (world.memory.generation, world.memory.gave_up) == (1, 0)


def test_blobs_that_somebody_removed_are_fetched_again(world: World, accepted: Accept) -> None:
    world.offered = accepted(1, a=1)
    world.worker.die()  # so that the round stops before the swap
    world.turn(killed_after_lines=0)
    for name in BlobStore(world.folder.blobs).names():
        BlobStore(world.folder.blobs).remove(name)
    world.offered = accepted(2, a=2)
    world.settle()
    assert world.worker.served == {"a": 2}


def test_a_worker_killed_on_trial_does_not_end_the_trial(world: World, accepted: Accept) -> None:
    world.offered = accepted(1, a=1)
    world.settle()
    world.offered = accepted(2, a=2)
    world.turn()
    world.worker.die()
    world.turn()
    world.worker.start()
    world.turn()
    assert (world.memory.trial, world.memory.gave_up) == (2, 0)
    world.settle()
    assert world.memory.generation == 2


def test_a_kill_between_the_memory_of_a_commit_and_its_file_is_made_up_for(
    world: World, accepted: Accept
) -> None:
    """Else the next revert would go back one generation too far."""
    world.offered = accepted(1, a=1)
    world.settle()
    first = world.folder.committed.read_bytes()
    world.offered = accepted(2, a=2)
    world.settle()
    world.folder.committed.write_bytes(first)
    world.new_agent()
    world.slow.add(3)
    world.offered = accepted(3, a=3)
    world.settle()
    assert world.worker.served == {"a": 2} == world.links()


@pytest.mark.parametrize("good", [True, False])
def test_a_kill_at_any_line_of_a_change_ends_as_if_there_had_been_none(
    world: World, accepted: Accept, good: bool
) -> None:
    """Every seventh line of a swap, a commit and a revert; then the next generation likewise."""
    world.offered = accepted(1, a=1, b=1)
    world.settle()
    before, generation = versions(world.offered), 1
    for lines in range(1, 700, 7):
        generation += 1
        world.offered = accepted(generation, a=generation, b=1)
        if not good:
            world.slow.add(generation)
        for _ in range(2):
            world.turn(killed_after_lines=lines)
            world.clock.advance(HOLD_S + 1)
        world.settle()
        wanted = versions(world.offered) if good else before
        assert world.worker.served == wanted == world.links(), f"killed after {lines} lines"
        memory = world.memory
        assert (memory.generation, memory.gave_up) == ((generation, 0) if good else (1, generation))


@pytest.mark.parametrize("seed", range(20))
def test_any_history_ends_at_the_newest_good_generation(
    world: World, accepted: Accept, seed: int
) -> None:
    """Kills of both halves, cuts, bad and good releases, in any order.

    At rest the worker, a cold start and `current.json` name one and the same generation,
    and what is committed never goes back.
    """
    rng = random.Random(seed)
    generation, floor = 0, 0
    history: dict[int, AcceptedDesired] = {}
    for _ in range(60):
        match rng.randrange(6):
            case 0:
                generation += 1
                names = rng.sample("abc", rng.randint(1, 3))
                world.offered = accepted(
                    generation, **{name: rng.randint(1, 40) for name in sorted(names)}
                )
                history[generation] = world.offered
                if rng.random() < 0.3:
                    world.slow.add(generation)
                if rng.random() < 0.2:
                    name, version = next(iter(versions(world.offered).items()))
                    world.worker.refuses.add((name, version))
            case 1:
                world.online = not world.online
            case 2:
                world.worker.die() if world.worker.up else world.worker.start()
            case 3:
                world.turn(killed_after_lines=rng.randint(1, 500))
            case _:
                world.turn()
                check_rest(world, history)
                world.clock.advance(rng.choice([1.0, HOLD_S + 1]))
        committed = AcceptedDesired.load(world.folder.committed)
        if committed is not None:
            assert committed.desired.generation >= floor
            floor = committed.desired.generation
    world.settle()
    check_rest(world, history)
    if not history:
        return
    memory, newest = world.memory, history[generation]
    refused = any(pair in world.worker.refuses for pair in versions(newest).items())
    if refused and memory.generation != generation:
        assert memory.gave_up == generation
    elif generation not in world.slow or memory.generation == generation:
        assert (memory.generation, memory.trial) == (generation, 0)
    else:
        assert memory.gave_up == generation
    committed = AcceptedDesired.load(world.folder.committed)
    assert (committed.desired.generation if committed else 0) == memory.generation
    refused = committed is not None and any(
        pair in world.worker.refuses for pair in versions(committed).items()
    )
    if not refused:
        assert world.worker.served == (versions(committed) if committed else {})


def check_rest(world: World, history: dict[int, AcceptedDesired]) -> None:
    """What serves is one generation's models, and a cold start would serve the same."""
    if not world.worker.up or world.agent.standing.held_up:
        return
    current = AcceptedDesired.load(world.folder.current)
    served = {} if current is None else versions(current)
    assert world.worker.served == served == world.links()
    assert current is None or current == history[current.desired.generation]


def test_a_folder_from_before_the_pointer_is_taken_over(world: World, accepted: Accept) -> None:
    world.offered = accepted(1, a=1)
    world.settle()
    accepted(1, a=1).save(world.folder.root / "current.json")
    world.folder.active.unlink()
    world.new_agent()
    assert world.links() == {"a": 1}
    assert AcceptedDesired.load(world.folder.current) == accepted(1, a=1)
    assert not (world.folder.root / "current.json").exists()


def test_stale_news_is_told_once_and_reported_while_it_lasts(
    world: World, accepted: Accept
) -> None:
    world.offered = accepted(1, a=1)
    world.settle()
    world.stale = True
    for _ in range(3):
        world.turn()
    assert [kind for kind, _ in world.events].count("update.alarm") == 1
    assert world.agent.standing.alarm.startswith("UPDATE_STALE")
    world.stale = False
    world.turn()
    assert world.agent.standing.alarm == ""


def test_the_least_release_is_raised_at_the_commit_not_before(
    world: World, accepted: Accept
) -> None:
    world.offered = accepted(1, a=1)
    world.settle()
    world.slow.add(2)
    world.offered = msgspec.structs.replace(accepted(2, a=2), min_release=5)
    world.settle()
    assert world.floor == 0  # it was taken back
    world.offered = msgspec.structs.replace(accepted(3, a=2), min_release=6)
    world.settle()
    assert world.floor == 6
