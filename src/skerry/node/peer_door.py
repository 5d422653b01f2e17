"""Who may stay on the peer door: nodes of this fleet, not banned, with a certificate that holds.

Asked when a connection is made, and again while it lives: a certificate that has ended, a ban
and an authority that was shut out cut it within a second, whatever is under way on it.

Units:   unix seconds.
Errors:  PeerRefusedError, PeerUnreachableError, CertificateError.
"""

import weakref
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.http_errors import PeerUnreachableError
from skerry.schema.desired import Peer
from skerry.trust.spiffe import Role, SpiffeId, node_id
from skerry.trust.tls import CertificateError, CertificateFault, peer_facts

RECHECK_S = 0.5


class PeerRefusedError(SkerryError):
    """Somebody with a certificate of this fleet, who is no node or is banned, called the peer door.

    Only nodes call each other. A banned node is cut off by every node of its region at once.
    """

    code = "E1007"
    http_status = 403

    def __init__(self, peer: str, why: str = "is no node of this fleet") -> None:
        super().__init__(peer, why)
        self.peer, self.why = peer, why

    def __str__(self) -> str:
        return f"{self.peer} {self.why}"


@dataclass(frozen=True, slots=True)
class _Peer:
    """What a certificate said when its connection was made."""

    id: SpiffeId
    ends_unix_s: float
    issuer_key_id: str


class PeerDoor:
    """Judges the connections of one door."""

    def __init__(self, domain: str, clock: Clock) -> None:
        self._domain, self._clock = domain, clock
        self._peers: weakref.WeakKeyDictionary[Any, _Peer] = weakref.WeakKeyDictionary()
        self._banned: AbstractSet[str] = frozenset()
        self._shut_out: AbstractSet[str] = frozenset()

    def refuse(self, ids: AbstractSet[str], key_ids: AbstractSet[str]) -> None:
        """Refuse these nodes, and whoever these authorities certified, from now on."""
        self._banned, self._shut_out = ids, key_ids

    def admit(self, connection: Any) -> str:
        """Return the site that a peer's requests come from, or raise why it may not be here."""
        peer = self._peers.get(connection)
        if peer is None:
            peer = self._peers[connection] = _Peer(*peer_facts(connection))
        if peer.id.role is not Role.NODE or peer.id.domain != self._domain:
            raise PeerRefusedError(str(peer.id))
        still_good(peer.ends_unix_s, self._clock.unix_s())
        if is_banned(str(peer.id), self._banned) or peer.issuer_key_id in self._shut_out:
            raise PeerRefusedError(str(peer.id), "is banned by its region")
        return peer.id.site

    def check(self, peer: Peer) -> None:
        """Raise `PeerUnreachableError` for a banned node: nothing is sent to it either."""
        number = int(peer.node.rpartition("/")[2])
        name = node_id(self._domain, peer.region, peer.site, number)
        if is_banned(str(name), self._banned):
            raise PeerUnreachableError(peer.url, "it is banned by its region")


def still_good(ends_unix_s: float, now_unix_s: float) -> None:
    """Raise `CertificateError` where a certificate of a live connection has ended."""
    if now_unix_s > ends_unix_s:
        what = f"the other side's certificate ended {now_unix_s - ends_unix_s:.0f} s ago"
        raise CertificateError(CertificateFault.EXPIRED, what)


def is_banned(name: str, banned: AbstractSet[str]) -> bool:
    """Tell whether a node is on its region's list."""
    return name in banned
