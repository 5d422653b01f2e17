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


class NodePapers:
    """Verdicts by node. Any thread may ask."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()
        self._policy = CustodyPolicy()
        self._known: dict[str, Verdict] = {}

    def of(self, node: str, policy: CustodyPolicy) -> Verdict:
        """Return what a node's papers say under this policy."""
        with self._turn:
            if policy != self._policy:
                self._policy, self._known = policy, {}
            if node not in self._known:
                self._known[node] = self._judged(node, policy)
            return self._known[node]

    def refused(self, nodes: Iterable[str], policy: CustodyPolicy) -> set[str]:
        """Return which of the nodes have to stay in quarantine."""
        if not policy.required and not policy.signers:
            return set()
        return {node for node in nodes if self.of(node, policy).quarantine}

    def forget(self) -> None:
        """An entry was added: judge anew."""
        with self._turn:
            self._known = {}

    def _judged(self, node: str, policy: CustodyPolicy) -> Verdict:
        entries = tuple(from_line(line) for line in self._store.custody_at(node))
        chain: list[SignedEntry] = []
        for signed in reversed(entries):
            entry = entry_of(signed)
            if entry.step is Step.INSTALLED:
                chain = [from_line(line) for line in self._store.custody(entry.machine)]
                break
        custody = judge(chain, signers_of(policy)) if chain else None
        refusal = quarantine_reason(custody, policy, node=node)
        return Verdict(entries, refusal.text if refusal else "")
