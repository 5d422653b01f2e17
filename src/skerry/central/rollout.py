"""How a change travels: the loop around the pure functions of `skerry.fleet.rollout`.

    wake -> state from the store, reports, registry
         -> next step (pure) -> state in the store
         -> which fleet each site should have -> documents that differ -> sealed, published, nudged

Level-triggered: each round compares what every site should have with what was last sealed
for it, so a round that was cut off by a crash is simply done again. Everything is in the
store; nothing here needs to survive. A document gets a new generation only if its content
changed; a revert is a *new* generation whose content names the earlier models.

Units:   unix seconds.
Errors:  GenerationConflictError, NoRolloutError, UnusableFleetError; those of the store and
         the publisher.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import anyio
import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.central.errors import NoRolloutError, UnusableFleetError
from skerry.central.store import Applied, Sealed, Store, off_loop
from skerry.fleet.desired import desired_documents, nodes_of
from skerry.fleet.rollout import (
    Progress,
    Verdict,
    advanced,
    begin,
    let_out,
    next_step,
    released,
    ring_waits_for,
)
from skerry.schema.api import Registration, RolloutStatus
from skerry.schema.attestation import AttestationState
from skerry.schema.custody import CustodyPolicy
from skerry.schema.desired import Desired, Gate, desired_target
from skerry.schema.fleet import Fleet, RingCheck, Rollout
from skerry.schema.observed import Observed

ROUND_S_MAX = 60.0
CHECK_AGAIN_S = 30.0
"""Between two questions to a check that did not let a ring begin."""


class Phase(StrEnum):
    """Where a rollout is."""

    RUNNING = "running"
    PAUSED = "paused"
    HELD = "held"
    """A ring failed, and the fleet file wants a person to decide."""
    DONE = "done"
    REVERTING = "reverting"
    REVERTED = "reverted"


MOVING = frozenset({Phase.RUNNING, Phase.HELD})
"""Phases in which `next_step` is asked. A held rollout goes on once its cause is gone."""


class RolloutState(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as the store keeps it, under the generation that it brings."""

    progress: Progress
    rollout: Rollout
    phase: Phase
    reason: str
    started_unix_s: float
    since_unix_s: float
    before_ring: dict[str, int] = {}
    """For each site, the applied generation that it keeps until its ring is released."""
    undoes: int = 0
    """For a revert: the generation that was taken back."""

    def status(self) -> RolloutStatus:
        """Return what callers of the API see."""
        finished = self.phase in (Phase.DONE, Phase.REVERTED)
        return RolloutStatus(
            generation=self.progress.generation,
            phase=self.phase.value,
            ring=len(self.rollout.rings) if finished else self.progress.ring,
            ring_names=self.rollout.ring_names,
            rings=self.rollout.rings,
            started_unix_s=self.started_unix_s,
            since_unix_s=self.since_unix_s,
            reason=self.reason,
            previous_generation=self.undoes or self.progress.previous_generation,
        )


NO_ROLLOUT = RolloutStatus(
    generation=0,
    phase="none",
    ring=0,
    ring_names=(),
    rings=(),
    started_unix_s=0.0,
    since_unix_s=0.0,
)


def everywhere_at_once(fleet: Fleet) -> Rollout:
    """Return a rollout of one ring that nothing has to vouch for.

    For the first fleet ever (there is nothing to go back to) and for a revert (what it
    brings was in service a moment ago).
    """
    return Rollout(
        rings=(tuple(site.name for site in fleet.sites),),
        ring_names=("all",),
        gate=Gate(hold_s=0.0, requests_min=0),
        revert_on_fail=False,
        unheard=fleet.rollout.unheard,
    )


def wanted_generations(state: RolloutState, sites: Sequence[str]) -> dict[str, int]:
    """Return the applied generation that each site should have now; 0 for none yet."""
    out = set(released(state.rollout, state.progress))
    finished = state.phase in (Phase.DONE, Phase.REVERTED)
    return {
        site: (
            state.progress.generation if finished or site in out else state.before_ring.get(site, 0)
        )
        for site in sites
    }


def content(document: Desired) -> bytes:
    """Return what a document says, without its generation: equal means untouched."""
    return msgspec.json.encode(msgspec.structs.replace(document, generation=0))


def as_seen_by(state: RolloutState, sealed: Mapping[str, Sealed], seen: Observed) -> Observed:
    """Return a report with document generations put in terms of the change under way.

    A site whose document did not change, or changed once more because a peer moved, runs
    the change just as well under another number.
    """
    document = sealed.get(seen.site)
    generation = state.progress.generation
    if document is None or document.applied_generation != generation:
        return seen
    at = generation if seen.generation == document.generation else seen.generation
    gave_up = seen.reverted_generation
    if gave_up == document.generation:
        gave_up = generation
    return msgspec.structs.replace(seen, generation=at, reverted_generation=gave_up)


class Sealer(Protocol):
    """Signs and publishes desired documents, and tells sites to look."""

    def completed(self, desired: Desired) -> Desired:
        """Return a document with what is signed of each artifact that it names."""
        ...

    async def seal(self, documents: Mapping[str, bytes]) -> None:
        """Publish documents by target path; returns once they are served."""
        ...

    async def nudge(self, region: str, site: str, generation: int) -> None:
        """Tell a site to look now. It may be lost: sites look by themselves too."""
        ...


Note = Callable[[str, str, str], Awaitable[None]]
"""`note(kind, site, text)` keeps an event of central's own."""


Ask = Callable[[RingCheck, int, str], Awaitable[str]]
"""`ask(check, generation, ring)` returns nothing where the ring may begin, else why not."""


Refused = Callable[[Sequence[str], CustodyPolicy], set[str]]
"""Of these nodes, the ones whose papers keep them in quarantine; blocking."""


def nobody_refused(nodes: Sequence[str], policy: CustodyPolicy) -> set[str]:
    """Take every node's papers as whole: for a fleet that keeps none."""
    return set()


async def nobody_to_ask(check: RingCheck, generation: int, ring: str) -> str:
    """Hold every ring that wants a check: where none can be made, none has passed."""
    return "no check can be made here"


class Conductor:
    """Moves rollouts along. One per central; every call may come at any time."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        reports: Callable[[], Mapping[str, Observed]],
        note: Note,
        clock: Clock,
        ask: Ask = nobody_to_ask,
        refused: Refused = nobody_refused,
    ) -> None:
        self._store, self._sealer, self._reports = store, sealer, reports
        self._note, self._clock, self._ask = note, clock, ask
        self._refused = refused
        self._check_again_s = 0.0
        self._turn = anyio.Lock()
        self._wake = anyio.Event()
        self._settled: tuple[dict[str, int], dict[str, str]] | None = None
        """What the last round brought every site to; the same again needs no look."""

    def wake(self) -> None:
        """Ask for a round soon: a report came, or the registry changed."""
        self._wake.set()

    async def run(self, tick_s: float, on_error: Callable[[SkerryError], None]) -> None:
        """Do rounds until cancelled: one per tick, and one when woken."""
        while True:
            try:
                with anyio.fail_after(ROUND_S_MAX):
                    await self.round()
            except SkerryError as error:
                on_error(error)  # the next round decides afresh from what is then true
            except TimeoutError:
                pass
            with anyio.move_on_after(tick_s):
                await self._wake.wait()
            self._wake = anyio.Event()

    # --- what operators ask -----------------------------------------------------------

    async def apply(
        self,
        fleet: Fleet,
        *,
        expected_generation: int,
        policy_sha256: str,
        applied_by: str,
        reason: str,
    ) -> RolloutState:
        """Keep a fleet as the newest and release its first ring; ends an unfinished rollout."""
        _check_whole(fleet)
        async with self._turn:
            now_unix_s = self._clock.unix_s()
            before = await self._site_generations()
            applied = await off_loop(
                self._store.apply,
                fleet,
                expected_generation=expected_generation,
                policy_sha256=policy_sha256,
                applied_by=applied_by,
                reason=reason,
                at_unix_s=now_unix_s,
            )
            last = await self.state()
            # What an unfinished rollout brought was never proven: behind it lies what was.
            previous = expected_generation
            if last is not None and last.phase not in (Phase.DONE, Phase.REVERTED):
                previous = last.progress.previous_generation or previous
            first = expected_generation == 0
            rollout = everywhere_at_once(fleet) if first else _whole(fleet)
            state = RolloutState(
                progress=begin(rollout, applied.generation, previous, now_unix_s),
                rollout=rollout,
                phase=Phase.RUNNING,
                reason="",
                started_unix_s=now_unix_s,
                since_unix_s=now_unix_s,
                before_ring=before,
            )
            await self._keep(state)
        ring = rollout.ring_names[0]
        await self._note(
            "rollout.started", "", f"generation {applied.generation} by {applied_by}, ring {ring}"
        )
        self.wake()
        return state

    async def pause(self, by: str, reason: str) -> RolloutState:
        """Release no further ring until `resume`."""
        return await self._steer("pause", MOVING, Phase.PAUSED, by, reason)

    async def resume(self, by: str, reason: str) -> RolloutState:
        """Go on; the present ring's hold begins anew."""
        return await self._steer("resume", {Phase.PAUSED}, Phase.RUNNING, by, reason)

    async def approve(self, by: str, reason: str, *, any_time: bool = False) -> RolloutState:
        """Let the present ring begin, as far as a person is asked; with `any_time` at once.

        The approval counts for this rollout only. `any_time` waives the windows of all its rings.
        """
        async with self._turn:
            state = await self.state()
            if state is None or state.phase not in {*MOVING, Phase.PAUSED}:
                raise NoRolloutError("approve", state.phase if state else "none")
            ring = state.rollout.ring_names[state.progress.ring]
            progress = msgspec.structs.replace(
                state.progress,
                approved=tuple(dict.fromkeys((*state.progress.approved, ring))),
                any_time=state.progress.any_time or any_time,
            )
            # Noted first: no record, no action.
            waived = ", at any time" if any_time else ""
            await self._note("rollout.approved", "", f"ring {ring} by {by}{waived}: {reason}")
            state = msgspec.structs.replace(state, progress=progress)
            await self._keep(state)
        self.wake()
        return state

    async def revert(self, by: str, reason: str) -> RolloutState:
        """Take the change back now, as a new generation that brings the previous fleet."""
        async with self._turn:
            state = await self.state()
            phase = state.phase if state else "none"
            if state is None or state.phase in (Phase.REVERTING, Phase.REVERTED):
                raise NoRolloutError("revert", phase)
            if not state.progress.previous_generation:
                raise NoRolloutError("revert", "the first, with nothing to go back to")
            return await self._take_back(state, f"{by}: {reason}" if reason else by)

    async def state(self) -> RolloutState | None:
        """Return the rollout under way, or the last one."""
        body = await off_loop(self._store.rollout)
        return msgspec.json.decode(body, type=RolloutState) if body else None

    async def _steer(
        self, verb: str, allowed: frozenset[Phase] | set[Phase], to: Phase, by: str, reason: str
    ) -> RolloutState:
        async with self._turn:
            state = await self.state()
            if state is None or state.phase not in allowed:
                raise NoRolloutError(verb, state.phase if state else "none")
            now_unix_s = self._clock.unix_s()
            state = msgspec.structs.replace(
                state,
                phase=to,
                reason=reason,
                since_unix_s=now_unix_s,
                progress=msgspec.structs.replace(
                    state.progress,
                    ring_at_unix_s=now_unix_s,
                    let_out=dict.fromkeys(state.progress.let_out, now_unix_s),
                ),
            )
            await self._keep(state)
        await self._note(f"rollout.{verb}d", "", f"by {by}: {reason}")
        self.wake()
        return state

    # --- one round --------------------------------------------------------------------

    async def round(self) -> None:
        """Decide the next step, then bring every site's document to what it should be."""
        await self._check_outside()
        async with self._turn:
            state = await self.state()
            if state is None:
                return
            sealed = await off_loop(self._store.sealed)
            state = await self._step(state, sealed)
            await self._seal_differences(state, sealed)

    async def _step(self, state: RolloutState, sealed: Mapping[str, Sealed]) -> RolloutState:
        if state.phase not in MOVING and state.phase is not Phase.REVERTING:
            return state
        applied = await off_loop(self._store.applied, state.progress.generation)
        assert applied is not None, "a rollout is kept only after its fleet"  # noqa: S101
        now_unix_s = self._clock.unix_s()
        nodes = {site.name: nodes_of(site) for site in applied.fleet.sites}
        seen = {node: as_seen_by(state, sealed, report) for node, report in self._reports().items()}
        state = await self._let_out(state, now_unix_s)
        if any(site not in sealed for site in released(state.rollout, state.progress)):
            return state  # the ring is not out yet; nothing can be said of it
        step = next_step(state.rollout, state.progress, nodes, seen, now_unix_s)
        match step.verdict:
            case Verdict.HOLD:
                held = step.reason.startswith("held for a person") and state.phase in MOVING
                phase = Phase.HELD if held else state.phase
                if state.phase is Phase.HELD and not held:
                    phase = Phase.RUNNING
                if state.phase is Phase.REVERTING:
                    return state  # its reason is why it goes back; that stays
                if (phase, step.reason) != (state.phase, state.reason):
                    if phase is not state.phase:
                        await self._note(f"rollout.{phase.value}", "", step.reason)
                    state = msgspec.structs.replace(state, phase=phase, reason=step.reason)
                    await self._keep(state)
                return state
            case Verdict.ADVANCE:
                state = msgspec.structs.replace(
                    state,
                    phase=Phase.RUNNING,
                    progress=advanced(state.progress, now_unix_s),
                    reason=step.reason,
                    since_unix_s=now_unix_s,
                )
                await self._keep(state)
                await self._note("rollout.advanced", "", step.reason)
                return state
            case Verdict.DONE:
                reverting = state.phase is Phase.REVERTING
                state = msgspec.structs.replace(
                    state,
                    phase=Phase.REVERTED if reverting else Phase.DONE,
                    reason=state.reason if reverting else step.reason,
                    since_unix_s=now_unix_s,
                )
                await self._keep(state)
                await self._note(f"rollout.{state.phase.value}", "", state.reason)
                return state
            case Verdict.REVERT:
                return await self._take_back(state, step.reason)

    async def _let_out(self, state: RolloutState, now_unix_s: float) -> RolloutState:
        """Let the change out to the sites of the present ring that wait for nothing any more."""
        progress = let_out(state.rollout, state.progress, now_unix_s)
        if progress == state.progress:
            return state
        fresh = sorted(set(progress.let_out) - set(state.progress.let_out))
        await self._note("rollout.let_out", "", f"to {', '.join(fresh)}")
        state = msgspec.structs.replace(state, progress=progress)
        await self._keep(state)
        return state

    async def _check_outside(self) -> None:
        """Ask the check that the present ring waits for, if it does; the answer is kept.

        Outside of the turn: it may take as long as its deadline, and `pause` must not wait.
        """
        state = await self.state()
        if state is None or state.phase not in MOVING or state.rollout.check is None:
            return
        progress, now_s = state.progress, self._clock.monotonic_s()
        approved = msgspec.structs.replace(progress, checked_ring=progress.ring)
        if progress.checked_ring >= progress.ring or ring_waits_for(state.rollout, approved):
            return
        if now_s < self._check_again_s:
            return
        ring = state.rollout.ring_names[progress.ring]
        said = await self._ask(state.rollout.check, progress.generation, ring)
        self._check_again_s = now_s + CHECK_AGAIN_S if said else 0.0
        await self._keep_check(progress, said)

    async def _keep_check(self, asked_for: Progress, said: str) -> None:
        async with self._turn:
            state = await self.state()
            if state is None or (state.progress.generation, state.progress.ring) != (
                asked_for.generation,
                asked_for.ring,
            ):
                return  # it went another way meanwhile
            ring = asked_for.ring if not said else state.progress.checked_ring
            progress = msgspec.structs.replace(state.progress, checked_ring=ring, check_said=said)
            if progress != state.progress:
                await self._keep(msgspec.structs.replace(state, progress=progress))
                await self._note(
                    "rollout.check", "", said or f"ring {state.rollout.ring_names[ring]} may begin"
                )

    async def _take_back(self, state: RolloutState, why: str) -> RolloutState:
        """Apply the previous fleet as a new generation, for every site at once."""
        now_unix_s = self._clock.unix_s()
        bad = state.progress.generation
        previous = await off_loop(self._store.applied, state.progress.previous_generation)
        assert previous is not None, "a rollout names a generation that was applied"  # noqa: S101
        applied = await off_loop(
            self._store.apply,
            previous.fleet,
            expected_generation=bad,
            policy_sha256=previous.policy_sha256,
            applied_by="central",
            reason=f"takes back generation {bad}: {why}",
            at_unix_s=now_unix_s,
        )
        # Only where the change had been let out: a site that it never reached has nothing to
        # undo, and one that is down for reasons of its own must not hold the way back open.
        out = released(state.rollout, state.progress)
        known = {site.name for site in previous.fleet.sites}
        everywhere = everywhere_at_once(previous.fleet)
        rollout = msgspec.structs.replace(
            everywhere, rings=(tuple(site for site in out if site in known),)
        )
        state = RolloutState(
            progress=begin(rollout, applied.generation, previous.generation, now_unix_s),
            rollout=rollout,
            phase=Phase.REVERTING,
            reason=why,
            started_unix_s=now_unix_s,
            since_unix_s=now_unix_s,
            before_ring=state.before_ring,
            undoes=bad,
        )
        await self._keep(state)
        await self._note("rollout.reverting", "", f"generation {bad}: {why}")
        self.wake()
        return state

    async def _seal_differences(self, state: RolloutState, sealed: Mapping[str, Sealed]) -> None:
        """Seal what differs from what was sealed last; publish first, remember second.

        A crash in between seals the same again, which changes nothing for anybody.
        """
        newest = await off_loop(self._store.applied)
        assert newest is not None, "a rollout is kept only after its fleet"  # noqa: S101
        endpoints = await self._endpoints(newest.fleet)
        sites = [site.name for site in newest.fleet.sites]
        wanted = wanted_generations(state, sites)
        if self._settled == (wanted, endpoints):
            return
        fresh: list[tuple[Sealed, Desired]] = []
        unchanged: list[Sealed] = []
        for site, applied, document in await self._documents(wanted, endpoints):
            old = sealed.get(site)
            if old is not None and content(_document(old)) == content(document):
                if old.applied_generation != applied.generation:
                    unchanged.append(
                        msgspec.structs.replace(old, applied_generation=applied.generation)
                    )
                continue
            generation = applied.generation
            if old is not None and generation <= old.generation:
                generation = await off_loop(self._store.next_generation)
            document = msgspec.structs.replace(document, generation=generation)
            fresh.append(
                (
                    Sealed(
                        site=site,
                        generation=generation,
                        applied_generation=applied.generation,
                        document=msgspec.json.encode(document),
                        at_unix_s=self._clock.unix_s(),
                    ),
                    document,
                )
            )
        if fresh:
            await self._sealer.seal({desired_target(one.site): one.document for one, _ in fresh})
        for one in [*unchanged, *(one for one, _ in fresh)]:
            await off_loop(self._store.put_sealed, one)
        for one, document in fresh:
            await self._sealer.nudge(document.region, one.site, one.generation)
        self._settled = (wanted, endpoints)
        if fresh or unchanged:
            self.wake()

    async def _endpoints(self, fleet: Fleet) -> dict[str, str]:
        """Return where nodes are reached that others may send to: none in quarantine."""
        nodes = await off_loop(self._store.nodes)
        names = [node.node for node in nodes]
        out = await off_loop(self._refused, names, fleet.trust.custody)
        out |= {node for node, seen in self._reports().items() if seen.quarantine}
        return _endpoints([node for node in nodes if node.node not in out])

    async def _documents(
        self, wanted: Mapping[str, int], endpoints: Mapping[str, str]
    ) -> list[tuple[str, Applied, Desired]]:
        """Return for each site the fleet that it should have, and its document from that."""
        found: list[tuple[str, Applied, Desired]] = []
        for generation in sorted(set(wanted.values()) - {0}):
            applied = await off_loop(self._store.applied, generation)
            if applied is None:
                continue
            documents = desired_documents(
                applied.fleet, generation, endpoints, applied.policy_sha256
            )
            found += [
                (site, applied, self._sealer.completed(documents[site]))
                for site, wants in wanted.items()
                if wants == generation and site in documents
            ]
        return found

    async def _site_generations(self) -> dict[str, int]:
        sealed = await off_loop(self._store.sealed)
        return {site: one.applied_generation for site, one in sealed.items()}

    async def _keep(self, state: RolloutState) -> None:
        await off_loop(
            self._store.put_rollout, state.progress.generation, msgspec.json.encode(state)
        )


def _whole(fleet: Fleet) -> Rollout:
    """Return the fleet's rollout; one ring of everything where the file names none."""
    if fleet.rollout.rings:
        return fleet.rollout
    rings = everywhere_at_once(fleet)
    return msgspec.structs.replace(fleet.rollout, rings=rings.rings, ring_names=rings.ring_names)


def _check_whole(fleet: Fleet) -> None:
    """Refuse a fleet that would break every later round, before it is kept."""
    try:
        documents = desired_documents(fleet, 1, {}, "")
    except (KeyError, ValueError, IndexError) as error:
        raise UnusableFleetError(f"{type(error).__name__}: {error}") from error
    rollout = _whole(fleet)
    lost = [site for ring in rollout.rings for site in ring if site not in documents]
    if lost or len(rollout.ring_names) != len(rollout.rings):
        raise UnusableFleetError(f"its rings do not fit its sites: {', '.join(lost)}")


def _endpoints(nodes: Sequence[Registration]) -> dict[str, str]:
    return {
        node.node: node.inference_url
        for node in nodes
        if node.inference_url
        and not node.banned
        and node.attestation.state is not AttestationState.QUARANTINE
    }


def _document(sealed: Sealed) -> Desired:
    return msgspec.json.decode(sealed.document, type=Desired)
