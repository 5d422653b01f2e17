"""A machine's custody papers as people with keys would sign them, for tests and trials.

The keys are made anew in every process and stand for nobody.

Units: unix seconds.
"""

from dataclasses import dataclass, field

from skerry.schema.custody import CustodyEntry, CustodyPolicy, SignedEntry, Signer, Step
from skerry.trust.custody_sign import digest_of, draft, new_key, public_text, signed_by

MAY: dict[str, tuple[Step, ...]] = {
    "maker": (Step.MADE, Step.SHIPPED),
    "carrier": (Step.SHIPPED, Step.RECEIVED),
    "store": (Step.SHIPPED, Step.RECEIVED, Step.INSTALLED, Step.OPENED, Step.REPAIRED),
    "site": tuple(step for step in Step if step not in (Step.MADE, Step.RECEIVED)),
    "anna": tuple(step for step in Step if step is not Step.MADE),
}
KEYS = {name: new_key() for name in MAY}
SIGNERS = {
    name: Signer(name=name, key=public_text(key), may=MAY[name]) for name, key in KEYS.items()
}
POLICY = CustodyPolicy(required=True, signers=tuple(SIGNERS.values()))
START_UNIX_S = 1_790_000_000
MACHINE = "SN-0042"
NODE = "oslo/1"


@dataclass
class Papers:
    """A chain that grows by signed entries, each right unless told otherwise."""

    chain: list[SignedEntry] = field(default_factory=list)
    seals: tuple[str, ...] = ()
    at_unix_s: int = START_UNIX_S

    def add(self, step: Step, giver: str, taker: str, **other: object) -> "Papers":
        """Add an entry; `other` replaces any of its fields."""
        self.at_unix_s += 3600
        facts: dict[str, object] = {
            "machine": MACHINE,
            "number": len(self.chain),
            "previous": digest_of(self.chain[-1]) if self.chain else "",
            "at_unix_s": self.at_unix_s,
            "seals_found": self.seals,
            "seals_left": self.seals,
            **other,
        }
        entry = CustodyEntry(step=step, giver=giver, taker=taker, **facts)  # type: ignore[arg-type]
        signed = draft(entry)
        for name in (giver, taker):
            if name in KEYS:
                signed = signed_by(signed, name, KEYS[name])
        self.chain.append(signed)
        self.seals = entry.seals_left
        return self

    def window(self, starts_unix_s: int, ends_unix_s: int, **other: object) -> "Papers":
        """Add a maintenance window."""
        span = {"starts_unix_s": starts_unix_s, "ends_unix_s": ends_unix_s}
        return self.add(Step.WINDOW, "site", "anna", place=NODE, **{**span, **other})


def delivered() -> Papers:
    """Return the papers of a machine that has reached the store."""
    return (
        Papers()
        .add(Step.MADE, "maker", "maker", seals_left=("S1", "S2"), facts={"ek_sha256": "ab" * 32})
        .add(Step.SHIPPED, "maker", "carrier")
        .add(Step.RECEIVED, "carrier", "store", place="oslo")
    )


def installed() -> Papers:
    """Return the papers of a machine in service."""
    return delivered().add(Step.INSTALLED, "store", "site", place=NODE)
