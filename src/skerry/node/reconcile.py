"""Bringing a node to its desired state: deciding is `fleet.actions`, acting is here.

A wake (nudge or tick) says when, never what. The signed state is fetched and verified,
the missing actions are worked out from what is then on disk, and carried out one by
one; after each, memory goes to disk, so a kill at any point goes on from there. A
revert is remembered before it begins. What serves is never touched before its
successor was loaded, warmed and checked.

Blocking where it touches disk, network or worker: the agent runs it in a thread.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.files import write_private
from skerry.base.units import SECONDS_PER_MINUTE
from skerry.fleet.actions import (
    Action,
    Do,
    OnDisk,
    actions_towards,
    after,
    forget,
    giving_up,
)
from skerry.node.activation import activate, adopt
from skerry.node.containers import Containers
from skerry.node.errors import ContainerError, LoadRefusedError, StageError
from skerry.node.folder import NodeFolder
from skerry.node.upstream import Mirror, drop, intact, stage, versions_here
from skerry.node.worker_admin import WorkerAdmin, worker_pid
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.schema.desired import desired_target
from skerry.schema.model import Manifest
from skerry.schema.observed import Observed
from skerry.spine.blobs import BlobStore
from skerry.trust.acceptance import AcceptedDesired, accept_desired
from skerry.trust.access_channel import AccessChannel
from skerry.trust.access_errors import PolicyInvalidError
from skerry.trust.errors import (
    BundleIncomplete,
    UpdateRefused,
    UpdateStale,
    UpdateUnreachable,
)
from skerry.trust.floor import WHAT
from skerry.trust.ledger_errors import LedgerError
from skerry.trust.update_client import UpdateClient

ACTIONS_MAX = 1000
"""Actions of one round; more than any sound desired state needs."""
BUNDLE_S_MAX = 3600.0
"""How long the files of a release may take to arrive before that is an alarm."""
UNREACHABLE_S_MAX = 600.0
"""How long no mirror may answer before that is an alarm."""

Tell = Callable[..., None]
"""`tell(kind, text, **detail)`: writes an event."""


@dataclass(slots=True)
class Standing:
    """Where the node stands: what it was told, what it runs, what it would not take."""

    accepted: AcceptedDesired | None
    disk: OnDisk
    refusal: str = ""
    """What of the signed state it would not take, and why."""
    held_up: str = ""
    """Why the last round did not get further."""
    alarm: str = ""
    """What may mean that somebody holds news or files back."""

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
        name: str = "",
        note: Callable[[AuditEvent], object] = lambda _: None,
        containers: Containers | None = None,
        hardware: str = "",
    ) -> None:
        self._folder, self._site, self._hardware = folder, site, hardware
        self._client, self._mirror = client, mirror
        self._clock, self._observe, self._tell = clock, observe, tell
        self._name, self._note = name, note
        self._blobs = BlobStore(folder.blobs)
        self._worker = WorkerAdmin(folder.admin_socket)
        self._containers = containers or Containers(site, folder.container_ports)
        self._away_since_s: float | None = None
        self._fetching = (0, 0.0)
        """A generation whose files are not all here yet, and since when."""
        adopt(folder)
        self.standing = Standing(_latest(folder), _remembered(folder))

    def refresh(self) -> None:
        """Fetch and verify the signed state; what is refused is told once and changes nothing."""
        self._look()
        self._raise_alarms()

    def _look(self) -> None:
        held = self.standing.accepted
        try:
            self._client.refresh()
            self._away_since_s = None
            if held is None and self._client.target_sha256(desired_target(self._site)) is None:
                return  # nothing has been sealed for this site yet
            accepted = accept_desired(self._client, self._site, held=held, hardware=self._hardware)
            self._take_access(accepted.desired.fleet)
        except UpdateUnreachable:  # the node goes on with what it has, for as long as it must
            if self._away_since_s is None:
                self._away_since_s = self._clock.monotonic_s()
            return
        except (UpdateRefused, PolicyInvalidError) as error:
            refusal = f"{error.reason}: {error}"
            if refusal != self.standing.refusal:
                self.standing.refusal = refusal
                self._tell("target.refused", refusal, code=error.code, reason=error.reason)
            return
        self.standing.refusal = ""
        if accepted is not held:
            accepted.save(self._folder.accepted)
            self.standing.accepted = accepted

    def _take_access(self, fleet: str) -> None:
        """Keep a newer access policy for the worker, which prepares it and goes by it."""
        channel = AccessChannel(self._folder.access, fleet, check=lambda _: None)
        if channel.accept(self._client):
            self._wake_worker()

    def _raise_alarms(self) -> None:
        """Tell once, and report while it lasts, that news or files may be held back."""
        now_s = self._clock.monotonic_s()
        generation, since_s = self._fetching
        alarm: UpdateRefused | UpdateUnreachable | None = None
        if self._away_since_s is not None and now_s - self._away_since_s > UNREACHABLE_S_MAX:
            away_min = (now_s - self._away_since_s) / SECONDS_PER_MINUTE
            alarm = UpdateUnreachable(WHAT, f"no mirror has answered for {away_min:.0f} min")
        if generation and overdue(since_s, now_s):
            why = f"not all files came in {BUNDLE_S_MAX / SECONDS_PER_MINUTE:.0f} min"
            alarm = BundleIncomplete(f"generation {generation}", f"{why}: {self.standing.held_up}")
        try:
            self._client.check_fresh()
        except UpdateStale as error:
            alarm = error
        told = self.standing.alarm.partition(":")[0]
        self.standing.alarm = f"{alarm.reason}: {alarm}" if alarm else ""
        if alarm is not None and alarm.reason != told:
            self._tell("update.alarm", str(alarm), code=alarm.code, reason=alarm.reason)

    def serving_versions(self) -> dict[str, int]:
        """Return the version of each model that should be answering now."""
        current = AcceptedDesired.load(self._folder.current)
        if current is None:
            return {}
        return {model.name: model.version for model in current.desired.models}

    def round(self) -> None:
        """Carry out what is missing, as far as it goes now; `standing.held_up` says what is not."""
        self.standing.held_up = ""
        try:
            self._settle_memory()
            self._mend()
            self._carry_out()
        except (SkerryError, OSError) as error:
            # It is starting, the network is away, the disk is full: the next wake tries again.
            self.standing.held_up = str(error)

    def _carry_out(self) -> None:
        for _ in range(ACTIONS_MAX):
            accepted = self.standing.accepted
            if accepted is None:
                return
            missing = actions_towards(accepted.desired, self._observe(), self.standing.disk)
            if not missing:
                return
            try:
                self._perform(missing[0], accepted)
            except (ContainerError, LoadRefusedError, StageError) as error:
                self.standing.held_up = str(error)
                if accepted.desired.generation == self.standing.disk.generation:
                    return  # it was good before: what is wrong is here, and `_mend` looks at it
                self._give_up(accepted.desired.generation, str(error))
                return

    def _perform(self, action: Action, accepted: AcceptedDesired) -> None:
        self._note_of(action, accepted)
        match action.do:
            case Do.FETCH:
                if self._fetching[0] != action.generation:
                    self._fetching = (action.generation, self._clock.monotonic_s())
                for member in self._manifest(action, accepted).members:
                    self._mirror.fetch_member(member, self._blobs)
            case Do.STAGE:
                manifest = self._manifest(action, accepted)
                if not all(self._blobs.has(member.sha256) for member in manifest.members):
                    self._remember(forget(self.standing.disk, action.manifest_sha256))
                    return  # somebody tidied up by hand: fetch again
                stage(manifest, action.manifest_sha256, self._folder.models, self._blobs)
            case Do.SWAP:
                self._fetching = (0, 0.0)
                self._serve(accepted)
            case Do.COMMIT:
                accepted.save(self._folder.current)
            case Do.REVERT:
                self._remember(giving_up(self.standing.disk, action.generation, action.reason))
                self._serve(AcceptedDesired.load(self._folder.committed))
            case Do.DROP:
                self._drop(action.manifest_sha256)
        disk = after(self.standing.disk, action, accepted.desired, self._clock.unix_s())
        self._remember(disk)
        if action.do is Do.COMMIT:
            accepted.save(self._folder.committed)
            self._client.raise_release_floor(accepted.min_release)
            self._wake_worker()
        self._tell_of(action, accepted)

    def _settle_memory(self) -> None:
        """Bring the files beside the memory up to it, where a kill came between the two.

        `committed.json` is written after the memory of a commit, from `current.json`.
        """
        disk = self.standing.disk
        current = AcceptedDesired.load(self._folder.current)
        committed = AcceptedDesired.load(self._folder.committed)
        if (
            disk.trial == 0
            and current is not None
            and current.desired.generation == disk.generation
            and (committed is None or committed.desired.generation != disk.generation)
        ):
            current.save(self._folder.committed)
            committed = current
        if committed is not None and committed.min_release:
            self._client.raise_release_floor(committed.min_release)

    def _mend(self) -> None:
        """Have a running worker serve what it serves by, where it lost or never had it.

        A swap that was killed half way leaves it with some of both; a damaged file makes
        it start without a model. What cannot be mended here is fetched again.
        """
        current = AcceptedDesired.load(self._folder.current)
        if not worker_pid(self._folder):
            return  # down or still loading; it starts from `serving`
        wanted = {} if current is None else _versions(current)
        for name, version in wanted.items():
            place = self._folder.models / name / str(version)
            if self._containers.died(name, version, place):
                self._containers.start(name, version, place)
        self._containers.keep_only(wanted)
        if self._worker.serving() == wanted:
            return
        try:
            self._serve(current)
        except (ContainerError, LoadRefusedError) as error:
            self.standing.held_up = str(error)
            if current is not None and not self._forget_damaged(current) and self._trial(current):
                self._give_up(current.desired.generation, str(error))

    def _trial(self, current: AcceptedDesired) -> bool:
        return self.standing.disk.trial == current.desired.generation

    def _forget_damaged(self, current: AcceptedDesired) -> bool:
        """Remove version folders and blobs whose bytes are not the signed ones any more."""
        found = False
        for model in current.desired.models:
            place = self._folder.models / model.name / str(model.version)
            manifest = current.manifests[model.name]
            if intact(place, manifest):
                continue
            found = True
            drop(place)
            for member in manifest.members:
                self._blobs.remove(member.sha256)
            self._remember(forget(self.standing.disk, model.manifest_sha256))
        return found

    def _serve(self, wanted: AcceptedDesired | None) -> None:
        """Have the worker serve exactly this, then let cold starts find the same."""
        versions = {} if wanted is None else _versions(wanted)
        found = self._worker.serving()
        fresh = {
            name: self._folder.models / name / str(version)
            for name, version in versions.items()
            if found.get(name) != version
        }
        for name, place in fresh.items():
            self._containers.start(name, versions[name], place)
        if fresh:
            self._worker.load(fresh)
        for name in found:
            if name not in versions:
                self._worker.unload(name)
        activate(self._folder, wanted)
        self._wake_worker()
        try:
            self._containers.keep_only(versions)
        except ContainerError as error:  # what serves is right; the next round tries again
            self.standing.held_up = str(error)

    def _give_up(self, generation: int, why: str) -> None:
        """A version would not load: go back, and do not try this generation again."""
        accepted = self.standing.accepted
        if accepted is not None:
            self._perform(Action(do=Do.REVERT, generation=generation, reason=why), accepted)

    def _drop(self, manifest_sha256: str) -> None:
        """Forget a version that nothing names any more, and the blobs that no version has."""
        committed = AcceptedDesired.load(self._folder.committed)
        named = [one for one in (committed, self.standing.accepted) if one is not None]
        if any(m.manifest_sha256 == manifest_sha256 for one in named for m in one.desired.models):
            return
        kept = {m.sha256 for one in named for of in one.manifests.values() for m in of.members}
        for place, one in versions_here(self._folder.models):
            if one.manifest_sha256 == manifest_sha256:
                drop(place)
            else:
                kept.update(member.sha256 for member in one.manifest.members)
        for sha256 in self._blobs.names():
            if sha256 not in kept:
                self._blobs.remove(sha256)

    def _manifest(self, action: Action, accepted: AcceptedDesired) -> Manifest:
        return accepted.manifests[action.model]

    def _remember(self, disk: OnDisk) -> None:
        write_private(self._folder.memory, msgspec.json.encode(disk))
        self.standing.disk = disk

    def _wake_worker(self) -> None:
        """Have the worker read its folder again; one that is down will read it when it starts."""
        pid = worker_pid(self._folder)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)

    def _note_of(self, action: Action, accepted: AcceptedDesired) -> None:
        """Note what changes what serves; going back is never held up by a ledger."""
        if action.do not in (Do.SWAP, Do.COMMIT, Do.REVERT):
            return
        reverts = action.do is Do.REVERT
        event = AuditEvent(
            kind=AuditKind.UPDATE,
            outcome=AuditOutcome.FAILED if reverts else AuditOutcome.DONE,
            actor=self._name,
            target=f"generation {action.generation}",
            text=f"{action.do}: {action.reason}",
            fields={m.name: f"{m.version} {m.manifest_sha256}" for m in accepted.desired.models},
        )
        with contextlib.suppress(*((LedgerError,) if reverts else ())):
            self._note(event)

    def _tell_of(self, action: Action, accepted: AcceptedDesired) -> None:
        if action.do in (Do.SWAP, Do.COMMIT):
            models = ", ".join(f"{m.name} {m.version}" for m in accepted.desired.models)
            kind = "release.swapped" if action.do is Do.SWAP else "release.committed"
            self._tell(kind, f"{models}: {action.reason}", generation=action.generation)
        elif action.do is Do.REVERT:
            self._tell(
                "release.reverted",
                action.reason,
                generation=action.generation,
                reason=action.reason,
            )


def overdue(since_s: float, now_s: float) -> bool:
    """Tell whether files have been on their way for so long that somebody may hold them back."""
    return now_s - since_s > BUNDLE_S_MAX


def _versions(accepted: AcceptedDesired) -> dict[str, int]:
    return {model.name: model.version for model in accepted.desired.models}


def _latest(folder: NodeFolder) -> AcceptedDesired | None:
    return AcceptedDesired.load(folder.accepted) or AcceptedDesired.load(folder.current)


def _remembered(folder: NodeFolder) -> OnDisk:
    """Return the node's memory; without one it starts over, from files that are mostly here."""
    try:
        return msgspec.json.decode(folder.memory.read_bytes(), type=OnDisk)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return OnDisk()
