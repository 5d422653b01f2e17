"""Where checkpoints are brought: the process above witnesses them, and neighbours do too.

Neighbours have no connection to each other. The desk hands each owner's checkpoint to the two
next owners of other sites, in the order of their names, and brings their signatures back. What
it holds for that is in memory: after a restart the next calls fill it again.

A checkpoint that a witness refuses is an alarm in this process's own ledger, told once.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio.to_thread

from skerry.base.clock import Clock
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note
from skerry.schema.audit_api import Brought, CheckpointPush, CheckpointReply, Proof
from skerry.trust.errors import TrustError
from skerry.trust.ledger_errors import CheckpointError, LogForkError, WitnessRetiredError
from skerry.trust.ledger_notes import read_note
from skerry.trust.ledger_witness import Witness, WitnessBehindError

NEIGHBOURS = 2
LINES_MAX = 8
BROUGHT_MAX = 16
REFUSALS = frozenset({LogForkError.reason, CheckpointError.reason})
OWNERS_MAX = 100_000


@dataclass(slots=True)
class _Owner:
    """What the desk holds for one owner, since its last call."""

    push: CheckpointPush
    chain: str
    size: int
    signatures: list[str] = field(default_factory=list)


class Desk:
    """Takes checkpoints from below. `witness` is None where it is retired."""

    def __init__(self, witness: Witness | None, note: Note, clock: Clock, *, name: str) -> None:
        self._witness, self._note, self._clock, self._name = witness, note, clock, name
        self._owners: dict[str, _Owner] = {}
        self._names: list[str] = []
        """Of all owners, sorted."""
        self._brought: dict[str, set[str]] = {}
        """For each witness, whose checkpoints came with a proof for it."""
        self._told: set[tuple[str, str, str]] = set()

    async def push(self, owner: str, push: CheckpointPush) -> CheckpointReply:
        """Witness what an owner brings; raises `LogForkError` or `CheckpointError`."""
        if self._witness is None:
            raise WitnessRetiredError(self._name, "it lost what it had seen")
        try:
            signature = await anyio.to_thread.run_sync(
                partial(
                    self._witness.see,
                    push.note,
                    push.key,
                    hashes_of(push.proof),
                    owner=owner,
                    old_size=push.proof.old_size,
                    now_unix_s=self._clock.unix_s(),
                )
            )
        except WitnessBehindError as error:
            return CheckpointReply(known_size=error.known_size)
        except (LogForkError, CheckpointError) as error:
            await self._alarm(owner, self._name, error.reason, str(error))
            raise
        checkpoint = read_note(push.note).checkpoint
        held = self._owners.get(owner)
        waiting = held.signatures if held and held.chain == checkpoint.origin else []
        if held is not None or len(self._owners) < OWNERS_MAX:
            self._hold(owner, _Owner(push, checkpoint.origin, checkpoint.size))
        await self._take_verdicts(owner, push)
        return CheckpointReply(
            known_size=checkpoint.size,
            signatures=(signature, *waiting[:LINES_MAX]),
            witnesses=self._awaited(owner, checkpoint.origin, checkpoint.size),
            neighbours=tuple(self._for_witness(owner)),
        )

    def _hold(self, owner: str, new: _Owner) -> None:
        held = self._owners.get(owner)
        if held is None:
            insort(self._names, owner)
        for witness in held.push.for_witnesses if held else ():
            self._brought.get(witness, set()).discard(owner)
        for witness in new.push.for_witnesses:
            self._brought.setdefault(witness, set()).add(owner)
        self._owners[owner] = new

    async def _take_verdicts(self, witness: str, push: CheckpointPush) -> None:
        """Keep a neighbour's signatures for whom they are about; an alarm where it refused."""
        for chain, line in list(push.cosigned.items())[:LINES_MAX]:
            held = self._owners.get(chain.rpartition("/")[0])
            if held and held.chain == chain and len(held.signatures) < LINES_MAX:
                held.signatures.append(line)
        for chain, reason in list(push.refused.items())[:LINES_MAX]:
            owner = chain.rpartition("/")[0]
            # Whoever is no neighbour has seen nothing, and other words would fill this ledger.
            asked = owner in self._owners and witness in neighbours_of(owner, self._names)
            if asked and reason in REFUSALS:
                text = f"{witness} would not sign the ledger of {owner}"
                await self._alarm(owner, witness, reason, text)

    def _awaited(self, owner: str, chain: str, size: int) -> dict[str, int]:
        """Say which neighbours still have to see an owner's newest checkpoint."""
        found: dict[str, int] = {}
        if owner not in self._owners:
            return found
        for witness in neighbours_of(owner, self._names):
            seen = self._owners[witness].push.seen.get(chain, 0)
            brought = self._owners[owner].push.for_witnesses.get(witness)
            if seen < size and (brought is None or brought.old_size != seen):
                found[witness] = seen
        return found

    def _for_witness(self, witness: str) -> list[Brought]:
        """Return the checkpoints that a neighbour is to see and has the proof for."""
        seen = self._owners[witness].push.seen if witness in self._owners else {}
        found = []
        for owner in sorted(self._brought.get(witness, ())):
            held = self._owners[owner]
            proof = held.push.for_witnesses[witness]
            if proof.old_size == seen.get(held.chain, 0) != held.size:
                found.append(
                    Brought(owner=owner, note=held.push.note, key=held.push.key, proof=proof)
                )
        return found[:BROUGHT_MAX]

    async def _alarm(self, owner: str, witness: str, reason: str, text: str) -> None:
        if (owner, witness, reason) in self._told:
            return
        self._told.add((owner, witness, reason))
        await self._note(
            AuditEvent(
                kind=AuditKind.TAMPER,
                outcome=AuditOutcome.FAILED,
                actor=witness,
                target=owner,
                reason=reason,
                text=text,
            )
        )


def neighbours_of(owner: str, names: Sequence[str]) -> list[str]:
    """Return who witnesses for an owner: of the next two sites, the first by name each.

    `names` is sorted; after its end it goes on from its start.
    """
    found: dict[str, str] = {}
    start, own = bisect_right(names, owner), owner.partition("/")[0]
    for step in range(len(names)):
        other = names[(start + step) % len(names)]
        site = other.partition("/")[0]
        if site != own:
            found.setdefault(site, other)
        if len(found) == NEIGHBOURS:
            break
    return list(found.values())


def hashes_of(proof: Proof) -> list[bytes]:
    """Read the hashes of a proof; raises `CheckpointError`."""
    try:
        return [bytes.fromhex(text) for text in proof.hashes]
    except ValueError:
        raise CheckpointError("a proof", "its hashes are not hex") from None


def as_witness(
    witness: Witness, brought: Sequence[Brought], *, now_unix_s: float
) -> tuple[dict[str, str], dict[str, str]]:
    """Witness neighbours' checkpoints; returns signatures and refusals, both by chain."""
    signed, refused = {}, {}
    for one in brought:
        try:
            chain = read_note(one.note).checkpoint.origin
        except CheckpointError:
            continue
        try:
            signed[chain] = witness.see(
                one.note,
                one.key,
                hashes_of(one.proof),
                owner=one.owner,
                old_size=one.proof.old_size,
                now_unix_s=now_unix_s,
            )
        except WitnessBehindError:
            continue  # it learns from the next call what this witness has seen
        except TrustError as error:
            refused[chain] = error.reason
    return signed, refused
