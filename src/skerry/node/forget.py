"""Forgetting keys: overwritten, then removed, and whatever fails, the next one is tried.

A file is overwritten where it lies. A flash drive may keep an old block for a while; keys that
must not survive that belong into a TPM, where forgetting is one command (`Sealer`).

Errors:  none; what could not be forgotten is named in what comes back.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from skerry.base.errors import SkerryError
from skerry.base.files import sync_folder
from skerry.node.identity import IdentityFiles

_PIECE_BYTES = 64 * 1024


class Sealer(Protocol):
    """Whoever keeps a key that is sealed to this machine and its boot."""

    def forget(self, why: str) -> None:
        """Make the sealed key unusable until people have sealed it anew."""
        ...


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is gone, and what could not be made to go."""

    gone: tuple[str, ...]
    failed: tuple[str, ...]

    def __str__(self) -> str:
        text = f"gone: {', '.join(self.gone) or 'nothing'}"
        return f"{text}; NOT gone: {', '.join(self.failed)}" if self.failed else text


def forget_keys(
    files: IdentityFiles, *, enrolment: bool, sealers: Sequence[Sealer] = (), why: str = ""
) -> Forgotten:
    """Overwrite and remove the keys of a node, and have its sealers forget theirs."""
    paths = [files.identity, files.site_authority, files.login]
    if enrolment:
        paths.append(files.enrolment_key)
    gone, failed = [], []
    for path in paths:
        try:
            if wipe(path):
                gone.append(path.name)
        except OSError as error:
            failed.append(f"{path.name} ({error.strerror})")
    for sealer in sealers:
        try:
            sealer.forget(why)
            gone.append("data key")
        except (SkerryError, OSError) as error:
            failed.append(f"data key ({error})")
    return Forgotten(tuple(gone), tuple(failed))


def wipe(path: Path) -> bool:
    """Overwrite a file with zeros, on the disk, and remove it; False where there is none."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        left = os.fstat(handle).st_size
        while left > 0:
            left -= os.write(handle, bytes(min(left, _PIECE_BYTES)))
        os.fsync(handle)
    finally:
        os.close(handle)
        path.unlink()
        sync_folder(path.parent)
    return True
