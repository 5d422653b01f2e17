"""Certificate authorities of a fleet, and the identities they issue.

    root (offline, 10 years) -> region (path length 1) -> site (path length 0) -> node, 1 hour
                             -> central (path length 0) -> central process and operators

Each intermediate carries critical name constraints on URI, DNS and IP, so what a stolen regional
key can forge ends at its region. Every key is P-256. A certificate never outlives its issuer.

Units:   seconds; times are unix seconds, given by the caller.
Errors:  IssueError, CsrError, KeyFileError.
Source:  SPIFFE X.509-SVID 1.0; RFC 5280 section 4.2.1.10.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)

from skerry.trust.spiffe import SpiffeId

ROOT_LIFE_S = 3650 * 86_400
REGION_LIFE_S = 800 * 86_400
SITE_LIFE_S = 400 * 86_400
LEAF_LIFE_S = 3600


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its issuers, and its key: what a process shows to its peers.

    `chain_pem` is leaf first, without the root. Saved as one private file (key, then chain), so
    that both change in one step; OpenSSL and nats-server read it as certificate file and as key
    file alike.
    """

    chain_pem: bytes
    key_pem: bytes

    @property
    def id(self) -> SpiffeId:
        """Who this is."""
        raise NotImplementedError

    @property
    def starts_unix_s(self) -> float:
        """First moment of validity."""
        raise NotImplementedError

    @property
    def ends_unix_s(self) -> float:
        """Last moment of validity."""
        raise NotImplementedError

    @property
    def serial(self) -> int:
        """Serial number of the leaf."""
        raise NotImplementedError

    def renew_at_unix_s(self, rng: random.Random) -> float:
        """Return when to renew: half the life, plus or minus 10 % of it."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write the one private file, whole or not at all."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises `KeyFileError`."""
        raise NotImplementedError


class Authority:
    """A certificate authority: its certificate, its key and its issuers (none for the root)."""

    @classmethod
    def create_root(cls, domain: str, *, now_unix_s: float, life_s: float = ROOT_LIFE_S) -> Self:
        """Make a fleet's root. Its key belongs on a machine that is off."""
        raise NotImplementedError

    def issue_region(
        self, region: str, *, now_unix_s: float, life_s: float = REGION_LIFE_S
    ) -> "Authority":
        """Issue a region's authority: path length 1, names in `<region>.<domain>` only."""
        raise NotImplementedError

    def issue_central(self, *, now_unix_s: float, life_s: float = REGION_LIFE_S) -> "Authority":
        """Issue central's authority: path length 0, the domain itself and nothing below it."""
        raise NotImplementedError

    def issue_site(
        self, site: str, *, now_unix_s: float, life_s: float = SITE_LIFE_S
    ) -> "Authority":
        """Issue a site's authority from its region's: path length 0, that site's names only."""
        raise NotImplementedError

    def issue_leaf(
        self,
        subject: bytes | EllipticCurvePublicKey,
        spiffe_id: SpiffeId,
        *,
        now_unix_s: float,
        life_s: float = LEAF_LIFE_S,
        loopback: bool = False,
    ) -> bytes:
        """Issue a certificate for a CSR (PEM, checked) or a public key; returns the chain as PEM.

        `loopback` adds 127.0.0.1 and ::1 as names, for peers that check the address they dial
        (nats-server's leaf links). No other address can be named.
        """
        raise NotImplementedError

    def issue_identity(
        self,
        spiffe_id: SpiffeId,
        *,
        now_unix_s: float,
        life_s: float = LEAF_LIFE_S,
        loopback: bool = False,
    ) -> Identity:
        """Make a key and issue for it: for the process that holds this authority."""
        raise NotImplementedError

    @property
    def certificate_pem(self) -> bytes:
        """This authority's own certificate: for the root, what everybody pins."""
        raise NotImplementedError

    @property
    def domain(self) -> str:
        """The fleet's domain."""
        raise NotImplementedError

    @property
    def ends_unix_s(self) -> float:
        """Last moment of validity."""
        raise NotImplementedError

    def save(self, path: Path, *, passphrase: str | None = None) -> None:
        """Write key and chain as one private file; with a passphrase the key is sealed."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path, *, passphrase: str | None = None) -> Self:
        """Read what `save` wrote; raises `KeyFileError`."""
        raise NotImplementedError


def new_key() -> EllipticCurvePrivateKey:
    """Make a P-256 key."""
    raise NotImplementedError


def create_csr(key: EllipticCurvePrivateKey, spiffe_id: SpiffeId) -> bytes:
    """Make a certificate request (PEM), signed by the key: the proof that its holder asks."""
    raise NotImplementedError


def verify_csr(csr_pem: bytes) -> tuple[EllipticCurvePublicKey, SpiffeId]:
    """Return the key and the id asked for; raises `CsrError`."""
    raise NotImplementedError


def key_to_pem(key: EllipticCurvePrivateKey) -> bytes:
    """Return a key as PKCS #8 PEM, not sealed."""
    raise NotImplementedError


def certificates_of(pem: bytes | Sequence[bytes]) -> list[x509.Certificate]:
    """Read certificates, leaf first."""
    raise NotImplementedError
