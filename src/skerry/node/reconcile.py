"""Bringing a node to its desired state: deciding is `fleet.actions`, acting is here.

A wake (nudge or tick) says when, never what. The signed state is fetched and verified,
the missing actions are worked out from what is then on disk, and carried out one by
one; after each, memory goes to disk, so a kill at any point goes on from there. What
serves is never touched before its successor was loaded, warmed and checked.

Blocking where it touches disk, network or worker: the agent runs it in a thread.
"""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.base.clock import Clock
from skerry.base.files import sync_folder, write_private
from skerry.fleet.actions import Action, Do, OnDisk, actions_towards, after
from skerry.node.errors import LoadRefusedError, StageError, WorkerUnreachableError
from skerry.node.folder import NodeFolder
from skerry.node.upstream import Mirror, stage, staged
from skerry.node.worker_admin import WorkerAdmin, worker_pid
from skerry.schema.desired import desired_target
from skerry.schema.model import Manifest
from skerry.schema.observed import Observed
from skerry.spine.blobs import BlobStore
from skerry.trust.acceptance import AcceptedDesired, accept_desired
from skerry.trust.errors import UpdateRefused, UpdateUnreachable
from skerry.trust.update_client import UpdateClient

ACTIONS_MAX = 1000
"""Actions of one round; more than any sound desired state needs."""

Tell = Callable[..., None]
"""`tell(kind, text, **detail)`: writes an event."""


@dataclass(slots=True)
class Standing:
    """Where the node stands: what it was told, what it runs, what it would not take."""

    accepted: AcceptedDesired | None
    disk: OnDisk
    refusal: str = ""

    @property
    def generation(self) -> int:
        """The generation that serves."""
        return self.disk.trial or self.disk.generation

    @property
    def in_sync(self) -> bool:
        """Whether what serves is what was last accepted."""
        if self.accepted is None:
            return False
        wanted = {model.name: model.manifest_sha256 for model in self.accepted.desired.models}
        return self.disk.serving == wanted and self.generation == self.accepted.desired.generation


class Reconciler:
    """One node's hands."""

    def __init__(
        self,
        folder: NodeFolder,
        site: str,
        client: UpdateClient,
        mirror: Mirror,
        *,
        clock: Clock,
        observe: Callable[[], Observed],
        tell: Tell,
    ) -> None:
        self._folder, self._site = folder, site
        self._client, self._mirror = client, mirror
        self._clock, self._observe, self._tell = clock, observe, tell
        self._blobs = BlobStore(folder.blobs)
        self._worker = WorkerAdmin(folder.admin_socket)
        self.standing = Standing(_latest(folder), _remembered(folder))

    def refresh(self) -> None:
        """Fetch and verify the signed state; what is refused is told once and changes nothing."""
        held = self.standing.accepted
        try:
            self._client.refresh()
            if held is None and self._client.target_sha256(desired_target(self._site)) is None:
                return  # nothing has been sealed for this site yet
            accepted = accept_desired(self._client, self._site, held=held)
        except UpdateUnreachable:
            return  # the node goes on with what it has, for as long as it must
        except UpdateRefused as error:
            refusal = f"{error.reason}: {error}"
            if refusal != self.standing.refusal:
                self.standing.refusal = refusal
                self._tell("target.refused", refusal, code=error.code, reason=error.reason)
            return
        self.standing.refusal = ""
        if accepted is not held:
            accepted.save(self._folder.accepted)
            self.standing.accepted = accepted

    def serving_versions(self) -> dict[str, int]:
        """Return the version of each model that should be answering now."""
        current = AcceptedDesired.load(self._folder.current)
        if current is None:
            return {}
        return {model.name: model.version for model in current.desired.models}

    def round(self) -> None:
        """Carry out what is missing, as far as it goes now."""
        for _ in range(ACTIONS_MAX):
            accepted = self.standing.accepted
            if accepted is None:
                return
            missing = actions_towards(accepted.desired, self._observe(), self.standing.disk)
            if not missing:
                return
            try:
                self._perform(missing[0], accepted)
            except WorkerUnreachableError:
                return  # it is starting; the next wake tries again
            except (LoadRefusedError, StageError) as error:
                self._give_up(accepted, str(error))
                return

    def _perform(self, action: Action, accepted: AcceptedDesired) -> None:
        match action.do:
            case Do.FETCH:
                for member in self._manifest(action, accepted).members:
                    self._mirror.fetch_member(member, self._blobs)
            case Do.STAGE:
                manifest = self._manifest(action, accepted)
                stage(manifest, action.manifest_sha256, self._folder.models, self._blobs)
            case Do.SWAP:
                self._serve(accepted)
            case Do.COMMIT:
                accepted.save(self._folder.current)
                accepted.save(self._folder.committed)
                self._wake_worker()
            case Do.REVERT:
                self._revert(action)
            case Do.DROP:
                self._drop(action.manifest_sha256)
            case _:
                pass  # verified while it was fetched, warmed when it is swapped in
        self._remember(after(self.standing.disk, action, accepted.desired, self._clock.unix_s()))
        self._tell_of(action, accepted)

    def _serve(self, accepted: AcceptedDesired) -> None:
        """Have the worker take over every version, then let cold starts find the same."""
        served: dict[str, Path] = {}
        for model in accepted.desired.models:
            place = self._folder.models / model.name / str(model.version)
            if not self._worker.ready(model.name, model.version):
                self._worker.load(model.name, model.version, place)
            served[model.name] = place
        self._link(served)
        for name in self.standing.disk.serving:
            if name not in served:
                self._worker.unload(name)
        accepted.save(self._folder.current)
        self._wake_worker()

    def _link(self, served: dict[str, Path]) -> None:
        """Make `serving` name exactly these versions; each link changes in one step."""
        serving = self._folder.serving
        for name, place in served.items():
            folder = serving / name
            folder.mkdir(exist_ok=True)
            half = serving / f".{name}.link"
            half.unlink(missing_ok=True)
            half.symlink_to(os.path.relpath(place, folder))
            half.rename(folder / place.name)
            for other in folder.iterdir():
                if other.name != place.name:
                    other.unlink()
            sync_folder(folder)
        for folder in serving.iterdir():
            if folder.is_dir() and folder.name not in served:
                shutil.rmtree(folder)

    def _revert(self, action: Action) -> None:
        committed = AcceptedDesired.load(self._folder.committed)
        if committed is not None:
            self._serve(committed)
        self._tell(
            "release.reverted", action.reason, generation=action.generation, reason=action.reason
        )

    def _give_up(self, accepted: AcceptedDesired, why: str) -> None:
        """A version would not load: go back, and do not try this generation again."""
        revert = Action(do=Do.REVERT, generation=accepted.desired.generation, reason=why)
        self._perform(revert, accepted)

    def _drop(self, manifest_sha256: str) -> None:
        """Forget a version that nothing names any more, and the blobs that only it had."""
        here = {path: staged(path) for path in self._folder.models.glob("*/[0-9]*")}
        kept = {
            member.sha256
            for one in here.values()
            if one.manifest_sha256 != manifest_sha256
            for member in one.manifest.members
        }
        for path, one in here.items():
            if one.manifest_sha256 == manifest_sha256:
                shutil.rmtree(path)
                for member in one.manifest.members:
                    if member.sha256 not in kept:
                        self._blobs.remove(member.sha256)

    def _manifest(self, action: Action, accepted: AcceptedDesired) -> Manifest:
        return accepted.manifests[action.model]

    def _remember(self, disk: OnDisk) -> None:
        write_private(self._folder.memory, msgspec.json.encode(disk))
        self.standing.disk = disk

    def _wake_worker(self) -> None:
        """Have the worker read its folder again; one that is down will read it when it starts."""
        pid = worker_pid(self._folder)
        if pid:
            os.kill(pid, signal.SIGHUP)

    def _tell_of(self, action: Action, accepted: AcceptedDesired) -> None:
        if action.do in (Do.SWAP, Do.COMMIT):
            models = ", ".join(f"{m.name} {m.version}" for m in accepted.desired.models)
            kind = "release.swapped" if action.do is Do.SWAP else "release.committed"
            self._tell(kind, f"{models}: {action.reason}", generation=action.generation)


def _latest(folder: NodeFolder) -> AcceptedDesired | None:
    return AcceptedDesired.load(folder.accepted) or AcceptedDesired.load(folder.current)


def _remembered(folder: NodeFolder) -> OnDisk:
    try:
        return msgspec.json.decode(folder.memory.read_bytes(), type=OnDisk)
    except (OSError, msgspec.DecodeError):
        return OnDisk()
