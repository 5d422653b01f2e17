"""The access policy as it travels: a signed target, verified, and kept for times without a link.

A newer set is taken whole or not at all; on any fault, and when the target is gone, the one before
stays. A process that never saw one goes by the shipped policies alone.

Errors:  UpdateRefused subclasses and PolicyInvalidError from `AccessChannel.accept`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.base.files import write_private
from skerry.schema.access import AccessPolicy, access_target
from skerry.trust.access import check_publishable
from skerry.trust.access_errors import PolicyInvalidError
from skerry.trust.errors import ReleaseBelowFloor

if TYPE_CHECKING:  # a node's worker reads what was accepted, and updates nothing
    from skerry.trust.update_client import Fetch, UpdateClient

CHUNK_BYTES = 1 << 16


class AccessChannel:
    """The access policy of one fleet as one process has accepted it, in one file.

    `check` prepares a newer one to see whether it can be used; a node's agent, which has 60 MB,
    leaves that to its worker.
    """

    def __init__(
        self,
        kept: Path,
        fleet: str,
        *,
        check: Callable[[AccessPolicy], object] = check_publishable,
    ) -> None:
        self._kept, self._fleet, self._check = kept, fleet, check
        self.document: AccessPolicy | None = self._read()

    def accept(self, client: "UpdateClient") -> bool:
        """Take a newer policy, once `client` has refreshed; says whether there was one."""
        path = access_target(self._fleet)
        if client.target_sha256(path) is None:
            return False
        document = read_policy(client.target_bytes(path), self._fleet)
        held = self.document.generation if self.document else 0
        floor = max(held, client.generation_floor(path))
        if document.generation < floor:
            why = f"generation {document.generation}, and {floor} was accepted before"
            raise ReleaseBelowFloor(path, why)
        if document == self.document:
            return False
        self._check(document)
        client.raise_floor(path, document.generation)
        write_private(self._kept, msgspec.json.encode(document))
        self.document = document
        return True

    def _read(self) -> AccessPolicy | None:
        try:
            return read_policy(self._kept.read_bytes(), self._fleet)
        except (OSError, PolicyInvalidError):
            return None


def read_policy(data: bytes, fleet: str) -> AccessPolicy:
    """Read an access policy; raises `PolicyInvalidError` for anything else, or another fleet's."""
    try:
        document = msgspec.json.decode(data, type=AccessPolicy)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyInvalidError(f"it is no access policy: {error}") from error
    if document.fleet != fleet:
        raise PolicyInvalidError(f"it is for the fleet {document.fleet!r}, wanted {fleet!r}")
    return document


def policies_on_disk(state: Path) -> Iterator[AccessPolicy]:
    """Yield the newest access policy that a process's state folder holds, if any.

    A region and a node keep the one in force, central all that it publishes.
    """
    held = [state / "access.json", *state.glob("repository/targets/prod/policy/*.access.json")]
    found = []
    for path in held:
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            found.append(msgspec.json.decode(path.read_bytes(), type=AccessPolicy))
    if found:
        yield max(found, key=lambda one: one.generation)


def fetch_from(folder: Path) -> "Fetch":
    """Return a way to read a mirror that lies on this machine's own disk."""

    def fetch(name: str, max_length: int) -> Iterator[bytes]:
        with (folder / name).open("rb") as file:
            if os.fstat(file.fileno()).st_size > max_length:
                raise OverflowError(name)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    return fetch
