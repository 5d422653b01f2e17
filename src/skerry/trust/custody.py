"""Is a machine's chain of custody whole, and if not, at which step did it break?

A chain is walked from the factory record on. Every entry has to follow the fixed graph below,
find the seals that the entry before left, name that entry's digest, and carry signatures of a
giver and a taker who may sign such a step. One wrong thing is one gap, named by its step; the
walk goes on as if the step had been right, so the next gap is found too.

    made -> shipped -> received -> installed -> window, visit, badge, seal
                          ^            |            opened -> repaired
                          '- shipped <-'                  scrapped ends all

Pure: entries and signers in, a verdict out.

Units:   unix seconds.
Errors:  none; what is wrong is a `Gap`.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from skerry.schema.custody import (
    ENTRIES_MAX,
    CustodyEntry,
    CustodyPolicy,
    SignedEntry,
    Signer,
    Step,
)
from skerry.trust.custody_errors import (
    CustodyConflictError,
    CustodyError,
    CustodyFileError,
    SignerError,
)
from skerry.trust.custody_sign import digest_of, entry_of, is_signed_by
from skerry.trust.residency import Refusal

CLOCKS_APART_S_MAX = 600
"""Two people's clocks may differ by this much before *earlier than the entry before* counts."""


class Where(StrEnum):
    """Where in its life a machine is."""

    UNKNOWN = "unknown"
    MADE = "made"
    ON_THE_WAY = "on-the-way"
    IN_STORE = "in-store"
    IN_SERVICE = "in-service"
    OPEN_IN_STORE = "open-in-store"
    OPEN_IN_SERVICE = "open-in-service"
    SCRAPPED = "scrapped"


GRAPH: dict[Where, dict[Step, Where]] = {
    Where.UNKNOWN: {Step.MADE: Where.MADE},
    Where.MADE: {Step.SHIPPED: Where.ON_THE_WAY, Step.SCRAPPED: Where.SCRAPPED},
    Where.ON_THE_WAY: {Step.RECEIVED: Where.IN_STORE},
    Where.IN_STORE: {
        Step.INSTALLED: Where.IN_SERVICE,
        Step.SHIPPED: Where.ON_THE_WAY,
        Step.SEAL: Where.IN_STORE,
        Step.OPENED: Where.OPEN_IN_STORE,
        Step.SCRAPPED: Where.SCRAPPED,
    },
    Where.IN_SERVICE: {
        Step.WINDOW: Where.IN_SERVICE,
        Step.VISIT: Where.IN_SERVICE,
        Step.BADGE: Where.IN_SERVICE,
        Step.SEAL: Where.IN_SERVICE,
        Step.OPENED: Where.OPEN_IN_SERVICE,
        Step.SHIPPED: Where.ON_THE_WAY,
        Step.SCRAPPED: Where.SCRAPPED,
    },
    Where.OPEN_IN_STORE: {Step.REPAIRED: Where.IN_STORE, Step.SCRAPPED: Where.SCRAPPED},
    Where.OPEN_IN_SERVICE: {Step.REPAIRED: Where.IN_SERVICE, Step.SCRAPPED: Where.SCRAPPED},
    Where.SCRAPPED: {},
}
"""What may follow, and where it leads."""

_NEW_SEALS = frozenset({Step.MADE, Step.SEAL, Step.OPENED, Step.REPAIRED, Step.SCRAPPED})
"""Steps that may leave other seals than they found; a visit may too, and says so."""
_ALONE = frozenset({Step.MADE})
"""Steps with one hand on both sides: the maker's."""
_SPANS = frozenset({Step.WINDOW, Step.VISIT})


class GapKind(StrEnum):
    """What sort of thing is wrong with an entry. Stable words."""

    UNREADABLE = "UNREADABLE"
    LINK = "LINK"
    """It names another entry before it, another number or another machine."""
    SIGNATURE = "SIGNATURE"
    STEP = "STEP"
    """Steps are missing before it, or nothing may follow."""
    SEAL = "SEAL"
    TIME = "TIME"


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing that is wrong, and at which entry."""

    number: int
    step: str
    kind: GapKind
    text: str

    def __str__(self) -> str:
        return f"entry {self.number} ({self.step}): {self.text} [{self.kind}]"


@dataclass(frozen=True, slots=True)
class Custody:
    """What a chain says: where the machine is, under which seals, and every gap."""

    machine: str
    where: Where
    place: str
    holder: str
    seals: tuple[str, ...]
    entries: tuple[CustodyEntry, ...]
    gaps: tuple[Gap, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong with it."""
        return bool(self.entries) and not self.gaps


def judge(chain: Sequence[SignedEntry], signers: Mapping[str, Signer]) -> Custody:
    """Walk a chain and return what it says."""
    gaps: list[Gap] = []
    entries: list[CustodyEntry] = []
    where, place, previous = Where.UNKNOWN, "", ""
    seals: tuple[str, ...] = ()
    before: CustodyEntry | None = None
    for number, signed in enumerate(chain):
        try:
            entry = entry_of(signed)
        except CustodyError as error:
            gaps.append(Gap(number, "?", GapKind.UNREADABLE, str(error)))
            previous = digest_of(signed)
            continue
        missing, after = missing_steps(where, entry.step)
        found = (
            (GapKind.LINK, wrong_link(entry, number, previous, entries)),
            (GapKind.SIGNATURE, wrong_signature(signed, entry, signers)),
            (GapKind.STEP, missing),
            (GapKind.SEAL, wrong_seals(entry, seals)),
            (GapKind.TIME, wrong_time(entry, before)),
        )
        gaps += [Gap(number, entry.step.value, kind, text) for kind, text in found if text]
        entries.append(entry)
        where, seals, previous = after, entry.seals_left, digest_of(signed)
        place, before = entry.place or place, entry
    return Custody(
        machine=entries[0].machine if entries else "",
        where=where,
        place=place,
        holder=_holder(entries),
        seals=seals,
        entries=tuple(entries),
        gaps=tuple(gaps),
    )


def missing_steps(where: Where, step: Step) -> tuple[str, Where]:
    """Name the steps that are missing before this one, and say where it leads.

    The shortest way through the graph is what is taken to be missing.
    """
    if step in GRAPH[where]:
        return "", GRAPH[where][step]
    waiting: deque[tuple[Where, tuple[Step, ...]]] = deque([(where, ())])
    seen = {where}
    while waiting:
        at, path = waiting.popleft()
        if path and step in GRAPH[at]:
            names = ", ".join(path)
            return f"{names} {'is' if len(path) == 1 else 'are'} missing before it", GRAPH[at][step]
        for passed, following in GRAPH[at].items():
            if following not in seen:
                seen.add(following)
                waiting.append((following, (*path, passed)))
    return f"nothing of the kind follows where the machine is {where}", where


def wrong_seals(entry: CustodyEntry, seals: tuple[str, ...]) -> str:
    """Compare the seals that were found with those that were left before."""
    if len(set(entry.seals_left)) != len(entry.seals_left):
        return "leaves one seal number twice"
    if set(entry.seals_found) != set(seals):
        return f"found seals {_numbers(entry.seals_found)}, wanted {_numbers(seals)}"
    if entry.step is Step.OPENED and seals and set(seals) <= set(entry.seals_left):
        return "opened with every seal still on"
    same = set(entry.seals_found) == set(entry.seals_left)
    if entry.step is Step.VISIT or entry.step in _NEW_SEALS or same:
        return ""
    return f"leaves seals {_numbers(entry.seals_left)}, and such a step leaves them as they were"


def wrong_signature(signed: SignedEntry, entry: CustodyEntry, signers: Mapping[str, Signer]) -> str:
    """Say whose signature is missing, false, or not good for such a step."""
    if entry.giver == entry.taker and entry.step not in _ALONE:
        return f"{entry.giver} is giver and taker, wanted two people"
    for name in (entry.giver, entry.taker):
        signer = signers.get(name)
        if signer is None:
            return f"{name} is nobody whose signature counts"
        if entry.step not in signer.may:
            return f"{name} may not sign such a step"
        try:
            if not is_signed_by(signed, signer):
                return f"not signed by {name}"
        except CustodyError as error:  # the fleet file's key of this name is no key
            return str(error)
    return ""


def wrong_link(
    entry: CustodyEntry, number: int, previous: str, before: Sequence[CustodyEntry]
) -> str:
    """Say why an entry does not belong behind the one before it."""
    if before and entry.machine != before[0].machine:
        return f"is about {entry.machine}"
    if entry.number != number:
        return f"calls itself entry {entry.number}"
    return "" if entry.previous == previous else "names another entry as the one before it"


def wrong_time(entry: CustodyEntry, before: CustodyEntry | None) -> str:
    """Say why its times cannot be."""
    if before is not None and entry.at_unix_s < before.at_unix_s - CLOCKS_APART_S_MAX:
        return f"{before.at_unix_s - entry.at_unix_s} s earlier than the entry before"
    if entry.step in _SPANS and not entry.starts_unix_s < entry.ends_unix_s:
        return "ends before it starts"
    return ""


def is_window(
    signed: SignedEntry, signers: Mapping[str, Signer], *, node: str, unix_s: float
) -> bool:
    """Tell whether this is a window of that node, well signed, and open at that time.

    A node asks this of single entries: it needs no chain, and no network.
    """
    try:
        entry = entry_of(signed)
    except CustodyError:
        return False
    right = entry.step is Step.WINDOW and entry.place == node
    spans = entry.starts_unix_s <= unix_s < entry.ends_unix_s
    return right and spans and not wrong_signature(signed, entry, signers)


_LOOKED_AT = frozenset({Step.VISIT, Step.SEAL, Step.REPAIRED})
"""Steps by which two people say how they left a machine."""


def is_clearance(
    signed: SignedEntry, signers: Mapping[str, Signer], *, node: str, since_unix_s: float
) -> bool:
    """Tell whether two people, by this entry, vouch for a node after some moment."""
    try:
        entry = entry_of(signed)
    except CustodyError:
        return False
    right = entry.step in _LOOKED_AT and entry.place == node and entry.at_unix_s > since_unix_s
    return right and not wrong_signature(signed, entry, signers)


def quarantine_reason(
    custody: Custody | None, policy: CustodyPolicy, *, node: str, ek_sha256: str = ""
) -> Refusal | None:
    """Say why a machine may enrol into quarantine only; None where its papers are in order.

    `ek_sha256` is the digest of the TPM's certificate that the machine showed, where it has one:
    the factory record has to name the same.
    """
    if custody is None or not custody.entries:
        if not policy.required:
            return None
        return Refusal("CUSTODY_BROKEN", f"{node}: no chain of custody, and this fleet wants one")
    if custody.gaps:
        more = f", and {len(custody.gaps) - 1} more" if len(custody.gaps) > 1 else ""
        return Refusal("CUSTODY_BROKEN", f"{custody.machine}: {custody.gaps[0]}{more}")
    if custody.where is not Where.IN_SERVICE or custody.place != node:
        at = f"{custody.where} at {custody.place or 'no place'}"
        return Refusal("CUSTODY_BROKEN", f"{custody.machine} is {at}, not installed as {node}")
    stated = custody.entries[0].facts.get("ek_sha256", "")
    if ek_sha256 and stated and ek_sha256.lower() != stated.lower():
        return Refusal(
            "CUSTODY_BROKEN", f"{custody.machine} shows another TPM than it was made with"
        )
    return None


def _numbers(seals: Sequence[str]) -> str:
    return ", ".join(sorted(seals)) or "none"


def _holder(entries: Sequence[CustodyEntry]) -> str:
    """Return who has the machine: the last one who took it, not one who only came to it."""
    visits = {Step.WINDOW, Step.VISIT, Step.BADGE, Step.SEAL, Step.OPENED, Step.REPAIRED}
    taken = [entry.taker for entry in entries if entry.step not in visits]
    return taken[-1] if taken else ""


def check_next(
    signed: SignedEntry,
    machine: str,
    chain: Sequence[SignedEntry],
    signers: Mapping[str, Signer] | None,
) -> CustodyEntry:
    """Check that an entry may be kept on top of a chain, and return it.

    A step that is missing or a seal that differs is kept: it is evidence. What is not kept is an
    entry of another machine, one that does not follow, or (where signers are known) one that is
    not signed by two people who may. Raises `CustodyConflictError`, `CustodyFileError`,
    `SignerError`.
    """
    entry = entry_of(signed)
    if entry.machine != machine:
        raise CustodyFileError("the entry", f"is about {entry.machine[:80]!r}, wanted {machine!r}")
    previous = digest_of(chain[-1]) if chain else ""
    if entry.number != len(chain) or entry.previous != previous:
        raise CustodyConflictError(machine, entry.number, len(chain))
    if len(chain) >= ENTRIES_MAX:
        raise CustodyFileError(machine, f"has {ENTRIES_MAX} entries, and no more are kept")
    if signers is not None:
        wrong = wrong_signature(signed, entry, signers)
        if wrong:
            raise SignerError(f"entry {entry.number} ({entry.step})", f"is not kept: {wrong}")
    return entry


def signers_of(policy: CustodyPolicy) -> dict[str, Signer]:
    """Return a fleet's signers by name."""
    return {signer.name: signer for signer in policy.signers}
