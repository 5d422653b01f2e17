"""Where chains of custody are kept: a book, in a folder or at central.

A folder holds one file per machine, `<serial>.jsonl`; it needs no fleet and no network, so it is
what a factory, a repair shop and an air-gapped site use. Copied, it is an export.

Errors:  CustodyFileError, CustodyConflictError, SignerError.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from skerry.base.files import PRIVATE_FILE_MODE, private_folder, write_private
from skerry.schema.custody import SignedEntry, Signer
from skerry.trust.custody import check_next
from skerry.trust.custody_errors import CustodyFileError
from skerry.trust.custody_sign import read_chain, to_lines

SUFFIX = ".jsonl"
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class Book(Protocol):
    """A place that keeps chains of custody."""

    def machines(self) -> list[str]:
        """Return every machine that has papers, by name."""
        ...

    def chain(self, machine: str) -> list[SignedEntry]:
        """Return a machine's entries in order; none for one that has no papers."""
        ...

    def add(self, machine: str, signed: SignedEntry) -> None:
        """Keep an entry on top of the chain."""
        ...


def serial(machine: str) -> str:
    """Return a machine's serial number if it can name a file, else raise `CustodyFileError`."""
    if not _SERIAL.fullmatch(machine):
        wanted = "1 to 63 of A-Z, a-z, 0-9, '_', '-' and '.', and no dot first"
        raise CustodyFileError(f"{machine[:80]!r}", f"cannot name a machine: wanted {wanted}")
    return machine


class FolderBook:
    """A book in a folder. With signers, only what they signed is added."""

    def __init__(self, folder: Path, signers: Mapping[str, Signer] | None = None) -> None:
        self._folder, self._signers = folder, signers

    def machines(self) -> list[str]:
        """Return every machine that has papers, by name."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self._folder.glob(f"*{SUFFIX}"))

    def chain(self, machine: str) -> list[SignedEntry]:
        """Return a machine's entries in order; none for one that has no papers."""
        path = self._folder / f"{serial(machine)}{SUFFIX}"
        return read_chain(path) if path.exists() else []

    def add(self, machine: str, signed: SignedEntry) -> None:
        """Keep an entry on top of the chain."""
        path = private_folder(self._folder) / f"{serial(machine)}{SUFFIX}"
        with self._alone():
            chain = self.chain(machine)
            if signed in chain:
                return
            check_next(signed, machine, chain, self._signers)
            write_private(path, to_lines([*chain, signed]))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder: two people may write at once, and a chain has one next entry."""
        handle = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE_MODE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
