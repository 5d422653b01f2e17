"""Central's book of custody, as `skerry.trust.custody_book.Book`."""

from skerry.client.operator import Operator
from skerry.schema.custody import SignedEntry
from skerry.trust.custody_book import serial


class CentralBook:
    """A book that central keeps; it checks what is added, and so does whoever reads."""

    def __init__(self, central: Operator) -> None:
        self._central = central

    def machines(self) -> list[str]:
        """Return every machine that has papers, by name."""
        return self._central.custody_machines()

    def chain(self, machine: str) -> list[SignedEntry]:
        """Return a machine's entries in order; none for one that has no papers."""
        return self._central.custody(serial(machine))

    def add(self, machine: str, signed: SignedEntry) -> None:
        """Keep an entry on top of the chain."""
        self._central.add_custody(serial(machine), signed)
