"""The key with which a region signs its nodes' NATS logins, and its successor.

A successor is made here, and its seed stays here. It signs once the region's own server takes
its logins beside those of the key before; nodes move over as they renew.

Errors:  NatsKeyError, AccountPushError.
"""

from pathlib import Path

import msgspec

from skerry.base.files import write_private
from skerry.spine.nats_change import HeldKit
from skerry.spine.nats_jwt import new_signer_seed, public_of


class NodeSigner(HeldKit):
    """The kit of one region, whose node signer can change."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._next = path.with_name(f"{path.stem}.signer")

    def successor(self) -> str:
        """Return the public key of the next signer, made at the first call."""
        if not self._next.exists():
            write_private(self._next, new_signer_seed().encode())
        return public_of(self._next.read_text())

    def switch(self, account_jwt: str) -> None:
        """Sign with the successor from now on; the server takes it already."""
        seed = self._next.read_text() if self._next.exists() else self.kit.node_signer_seed
        self.kit = msgspec.structs.replace(self.kit, account_jwt=account_jwt, node_signer_seed=seed)
        self.keep()
        self._next.unlink(missing_ok=True)
