"""What central makes of nodes' papers: judged once, remembered until something is added.

A node's machine is the one that was last installed as it; the whole chain of that machine
counts. Blocking: the store is asked and signatures are checked (0.2 ms an entry).
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from skerry.central.store import Store
from skerry.schema.custody import CustodyPolicy, SignedEntry, Step
from skerry.trust.custody import judge, quarantine_reason, signers_of
from skerry.trust.custody_sign import entry_of, from_line


@dataclass(frozen=True, slots=True)
class Verdict:
    """The newest entries that name a node, and why it has to stay in quarantine, or nothing."""

    entries: tuple[SignedEntry, ...]
    quarantine: str
    ek_sha256: str = ""
    """The TPM that the machine had shown when this was judged."""


class NodePapers:
    """Verdicts by node. Any thread may ask."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()
        self._policy = CustodyPolicy()
        self._known: dict[str, Verdict] = {}

    def of(self, node: str, policy: CustodyPolicy) -> Verdict:
        """Return what a node's papers say under this policy."""
        return self._of(node, policy, self._tpms().get(node, ""))

    def refused(self, nodes: Iterable[str], policy: CustodyPolicy) -> set[str]:
        """Return which of the nodes have to stay in quarantine."""
        if not policy.required and not policy.signers:
            return set()
        tpms = self._tpms()
        return {node for node in nodes if self._of(node, policy, tpms.get(node, "")).quarantine}

    def _of(self, node: str, policy: CustodyPolicy, ek_sha256: str) -> Verdict:
        with self._turn:
            if policy != self._policy:
                self._policy, self._known = policy, {}
            known = self._known.get(node)
            if known is None or known.ek_sha256 != ek_sha256:
                known = self._known[node] = self._judged(node, policy, ek_sha256)
            return known

    def _tpms(self) -> dict[str, str]:
        """Return the TPM that each node attested with, by its EK certificate."""
        return {one.node: one.attestation.ek_sha256 for one in self._store.nodes()}

    def forget(self) -> None:
        """An entry was added: judge anew."""
        with self._turn:
            self._known = {}

    def _judged(self, node: str, policy: CustodyPolicy, ek_sha256: str) -> Verdict:
        entries = tuple(from_line(line) for line in self._store.custody_at(node))
        chain: list[SignedEntry] = []
        for signed in reversed(entries):
            entry = entry_of(signed)
            if entry.step is Step.INSTALLED:
                chain = [from_line(line) for line in self._store.custody(entry.machine)]
                break
        custody = judge(chain, signers_of(policy)) if chain else None
        refusal = quarantine_reason(custody, policy, node=node, ek_sha256=ek_sha256)
        return Verdict(entries, refusal.text if refusal else "", ek_sha256)
