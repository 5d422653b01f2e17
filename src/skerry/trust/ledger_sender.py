"""Brings a ledger's checkpoints to the process above, and does a witness's work for neighbours.

Blocking turns, made by a loop in a worker thread. A turn that finds the other side away changes
nothing; the next one brings what is then newest.

Units:   seconds.
Errors:  those of the call; LogForkError and others of the receiver arrive as its refusal.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from skerry.base.clock import Clock
from skerry.schema.audit_api import CheckpointPush, CheckpointReply, Proof
from skerry.trust.ledger import Ledger
from skerry.trust.ledger_desk import as_witness
from skerry.trust.ledger_witness import Witness

LOOK_S = 5.0
"""Time between two looks for a new checkpoint."""
WITNESS_S = 300.0
"""Time between two calls where there is none: a neighbour may wait for a signature."""
ROUNDS_MAX = 3

Call = Callable[[CheckpointPush], CheckpointReply]


@dataclass(slots=True)
class Sender:
    """One process's way to its witnesses."""

    ledger: Ledger
    witness: Witness | None
    clock: Clock
    call: Call
    on_checkpoint: Callable[[int, str], None] = lambda _size, _note: None
    """Told of each checkpoint that is about to be brought."""
    _known: int = 0
    _told: int = 0
    _called_s: float = float("-inf")
    _asked: dict[str, int] = field(default_factory=dict)
    _cosigned: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)

    def turn(self) -> bool:
        """Bring what is new, if anything is or the time has come; says whether it called."""
        newest = self.ledger.store.last_checkpoint()
        now_s = self.clock.monotonic_s()
        if newest is None or (newest[0] <= self._known and now_s < self._called_s + WITNESS_S):
            return False
        if newest[0] > self._told:
            self._told = newest[0]
            self.on_checkpoint(*newest)
        for _ in range(ROUNDS_MAX):  # a proof from elsewhere, then what neighbours wait for
            reply = self.call(self._push(*newest))
            again = self._take(newest[0], reply)
            if not again:
                break
        self._called_s = now_s
        return True

    def _push(self, size: int, note: str) -> CheckpointPush:
        seen = {one.chain: one.size for one in self.witness.all()} if self.witness else {}
        return CheckpointPush(
            note=note,
            key=self.ledger.store.first_key,
            proof=self._proof(self._known, size),
            for_witnesses={name: self._proof(old, size) for name, old in self._asked.items()},
            seen=seen,
            cosigned=self._cosigned,
            refused=self._refused,
        )

    def _proof(self, old_size: int, size: int) -> Proof:
        hashes = self.ledger.proof(old_size, size)
        return Proof(old_size=old_size, hashes=tuple(one.hex() for one in hashes))

    def _take(self, size: int, reply: CheckpointReply) -> bool:
        """Take a reply in; says whether to call once more at once."""
        behind = reply.known_size != size and reply.known_size != self._known
        self._known = reply.known_size
        if behind:
            return True
        self._cosigned, self._refused = {}, {}
        for line in reply.signatures:
            self.ledger.store.add_signature(size, line)
        if self.witness and reply.neighbours:
            self._cosigned, self._refused = as_witness(
                self.witness, reply.neighbours, now_unix_s=self.clock.unix_s()
            )
        news = bool(reply.witnesses) and reply.witnesses != self._asked
        self._asked = reply.witnesses
        return news or bool(self._cosigned or self._refused)
