"""Certificate authorities of a fleet, and the identities they issue.

    root (offline, 10 years) -> region (path length 1) -> site (path length 0) -> node, 1 hour
                             -> central (path length 0) -> central process and operators

Each intermediate carries critical name constraints on URI, DNS and IP, so what a stolen regional
key can forge ends at its region. Every key is P-256, which every TLS stack in the house takes. A
certificate never outlives its issuer.

Units:   seconds; times are unix seconds, given by the caller.
Errors:  IssueError, CsrError, KeyFileError.
Source:  SPIFFE X.509-SVID 1.0; RFC 5280 section 4.2.1.10.
"""

import ipaddress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skerry.base.files import write_private
from skerry.base.ids import token
from skerry.trust.errors import TrustError
from skerry.trust.identity import (
    Identity,
    certificates_of,
    chain_to_pem,
    key_to_pem,
    new_key,
    read_key_and_chain,
    verify_csr,
)
from skerry.trust.spiffe import Role, SpiffeId

ROOT_LIFE_S = 3650 * 86_400
REGION_LIFE_S = 800 * 86_400  # covers a site authority made on its last renewable day
SITE_LIFE_S = 400 * 86_400
LEAF_LIFE_S = 3600
BACKDATE_S = 60  # clocks within a minute of each other agree on a fresh certificate
BACKDATE_RATIO_MAX = 0.1
"""A short life is backdated by no more of it: half of it must not have passed at its start."""

_LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
_LOOPBACK_NETS = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class IssueError(TrustError):
    """An authority was asked for a certificate that it may not issue, or it has expired itself.

    A region's authority issues for its own region only, a site's for its own site; central's for
    central and operators; the root issues authorities and nothing else.
    """

    code = "E0203"
    reason = "NOT_ISSUED"

    def __init__(self, wanted: str, issuer: str, why: str) -> None:
        super().__init__(wanted, issuer, why)
        self.wanted, self.issuer, self.why = wanted, issuer, why

    def __str__(self) -> str:
        return f"the authority {self.issuer} does not issue {self.wanted}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "ask the authority of that region or site, or renew this authority"


class _Scope(StrEnum):
    """What an authority is for; written into its own subject."""

    ROOT = "root"
    REGION = "region"
    SITE = "site"
    CENTRAL = "central"


class Authority:
    """A certificate authority: its certificate, its key and its issuers (none for the root)."""

    def __init__(self, chain: list[x509.Certificate], key: EllipticCurvePrivateKey) -> None:
        self._chain, self._key = chain, key
        subject = chain[0].subject
        self._host = str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        self._scope = _Scope(
            str(subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value)
        )

    @classmethod
    def create_root(cls, domain: str, *, now_unix_s: float, life_s: float = ROOT_LIFE_S) -> Self:
        """Make a fleet's root. Its key belongs on a machine that is off."""
        SpiffeId(domain, "central")  # the domain must be able to be a host
        key = new_key()
        name = _subject(domain, _Scope.ROOT)
        builder = _builder(name, name, key.public_key(), now_unix_s, now_unix_s + life_s)
        certificate = _as_authority(builder, key.public_key(), key, path_length=2).sign(
            key, hashes.SHA256()
        )
        return cls([certificate], key)

    def issue_region(
        self, region: str, *, now_unix_s: float, life_s: float = REGION_LIFE_S
    ) -> "Authority":
        """Issue a region's authority: path length 1, names in `<region>.<domain>` only."""
        host = f"{token('region', region)}.{self._host}"
        permitted = (host, f".{host}")  # RFC 5280: without the dot the host alone, with it below
        return self._issue_authority(
            _Scope.REGION, host, _constraints(permitted, host), 1, now_unix_s, life_s
        )

    def issue_central(self, *, now_unix_s: float, life_s: float = REGION_LIFE_S) -> "Authority":
        """Issue central's authority: path length 0, the domain itself and nothing below it."""
        below = f".{self._host}"
        names = _constraints(
            (self._host,),
            self._host,
            # DNS constraints, and Go's reading of URI ones, take in what lies below: cut it off.
            excluded=(x509.UniformResourceIdentifier(below), x509.DNSName(below)),
        )
        return self._issue_authority(_Scope.CENTRAL, self._host, names, 0, now_unix_s, life_s)

    def issue_site(
        self, site: str, *, now_unix_s: float, life_s: float = SITE_LIFE_S
    ) -> "Authority":
        """Issue a site's authority from its region's: path length 0, that site's names only."""
        host = f"{token('site', site)}.{self._host}"
        return self._issue_authority(
            _Scope.SITE, host, _constraints((host,), host), 0, now_unix_s, life_s
        )

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
        (nats-server's leaf links). No other address can be named: the constraints forbid it.
        """
        if not self._may_name(spiffe_id):
            raise IssueError(str(spiffe_id), self.host, f"it is the authority of a {self._scope}")
        if isinstance(subject, bytes):
            public, asked = verify_csr(subject)
            if asked != spiffe_id:
                raise IssueError(str(asked), self.host, f"{spiffe_id} may be issued here")
        else:
            public = subject
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(str(spiffe_id)),
            x509.DNSName(spiffe_id.host),
        ]
        if loopback:
            names += [x509.IPAddress(address) for address in _LOOPBACK]
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if spiffe_id.role is not Role.OPERATOR:  # a person has central's host, and is no server
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        ends = self._end_of(now_unix_s, life_s, str(spiffe_id))
        certificate = (
            _builder(x509.Name([]), self._chain[0].subject, public, now_unix_s, ends)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(_issuer_key_id(self._key), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return chain_to_pem([certificate, *self._shown()])

    def issue_identity(
        self,
        spiffe_id: SpiffeId,
        *,
        now_unix_s: float,
        life_s: float = LEAF_LIFE_S,
        loopback: bool = False,
    ) -> Identity:
        """Make a key and issue for it: for the process that holds this authority."""
        key = new_key()
        chain = self.issue_leaf(
            key.public_key(), spiffe_id, now_unix_s=now_unix_s, life_s=life_s, loopback=loopback
        )
        return Identity(chain, key_to_pem(key))

    @property
    def certificate_pem(self) -> bytes:
        """This authority's own certificate: for the root, what everybody pins."""
        return chain_to_pem(self._chain[:1])

    @property
    def host(self) -> str:
        """The host at the top of what this authority may name."""
        return self._host

    @property
    def domain(self) -> str:
        """The fleet's domain."""
        skip = {_Scope.REGION: 1, _Scope.SITE: 2}.get(self._scope, 0)
        return ".".join(self._host.split(".")[skip:])

    @property
    def ends_unix_s(self) -> float:
        """Last moment of validity."""
        return self._chain[0].not_valid_after_utc.timestamp()

    def save(self, path: Path, *, passphrase: str | None = None) -> None:
        """Write key and chain as one private file; with a passphrase the key is sealed."""
        write_private(path, key_to_pem(self._key, passphrase) + chain_to_pem(self._chain))

    @classmethod
    def load(cls, path: Path, *, passphrase: str | None = None) -> Self:
        """Read what `save` wrote; raises `KeyFileError`."""
        key, chain_pem = read_key_and_chain(path, passphrase)
        return cls(certificates_of(chain_pem), key)

    def _shown(self) -> list[x509.Certificate]:
        """Certificates that travel with a leaf: all but the root, which peers pin."""
        return [
            certificate for certificate in self._chain if certificate.subject != certificate.issuer
        ]

    def _may_name(self, spiffe_id: SpiffeId) -> bool:
        match self._scope:
            case _Scope.REGION:
                return spiffe_id.host == self._host or spiffe_id.host.endswith(f".{self._host}")
            case _Scope.SITE:
                return spiffe_id.host == self._host and spiffe_id.role is Role.NODE
            case _Scope.CENTRAL:
                return spiffe_id.host == self._host and spiffe_id.role in (
                    Role.CENTRAL,
                    Role.OPERATOR,
                )
            case _Scope.ROOT:
                return False

    def _end_of(self, now_unix_s: float, life_s: float, wanted: str) -> float:
        """Return when a certificate issued now ends: never after this authority itself."""
        if now_unix_s >= self.ends_unix_s:
            ended = datetime.fromtimestamp(self.ends_unix_s, UTC)
            raise IssueError(
                wanted, self._host, f"it expired itself, on {ended:%Y-%m-%d %H:%M} UTC"
            )
        return min(now_unix_s + life_s, self.ends_unix_s)

    def _issue_authority(
        self,
        scope: _Scope,
        host: str,
        names: x509.NameConstraints,
        path_length: int,
        now_unix_s: float,
        life_s: float,
    ) -> "Authority":
        above = _Scope.REGION if scope is _Scope.SITE else _Scope.ROOT
        if self._scope is not above:
            raise IssueError(f"a {scope} authority", self._host, f"only a {above} does")
        key = new_key()
        ends = self._end_of(now_unix_s, life_s, f"a {scope} authority")
        builder = _builder(
            _subject(host, scope), self._chain[0].subject, key.public_key(), now_unix_s, ends
        ).add_extension(names, critical=True)
        certificate = _as_authority(
            builder, key.public_key(), self._key, path_length=path_length
        ).sign(self._key, hashes.SHA256())
        return Authority([certificate, *self._chain], key)


def _subject(host: str, scope: _Scope) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "skerry"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, scope.value),
            # X.520 limits a common name to 64 characters; OpenSSL and Go do not.
            x509.NameAttribute(NameOID.COMMON_NAME, host, _validate=len(host) <= 64),
        ]
    )


def _constraints(
    uri_hosts: tuple[str, ...], dns_host: str, *, excluded: tuple[x509.GeneralName, ...] = ()
) -> x509.NameConstraints:
    permitted: list[x509.GeneralName] = [x509.UniformResourceIdentifier(h) for h in uri_hosts]
    permitted.append(x509.DNSName(dns_host))
    permitted += [x509.IPAddress(network) for network in _LOOPBACK_NETS]
    return x509.NameConstraints(permitted, list(excluded) or None)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: EllipticCurvePublicKey,
    now_unix_s: float,
    ends_unix_s: float,
) -> x509.CertificateBuilder:
    backdate_s = min(BACKDATE_S, BACKDATE_RATIO_MAX * (ends_unix_s - now_unix_s))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(now_unix_s - backdate_s), UTC))
        .not_valid_after(datetime.fromtimestamp(int(ends_unix_s), UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _as_authority(
    builder: x509.CertificateBuilder,
    public: EllipticCurvePublicKey,
    issuer_key: EllipticCurvePrivateKey,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=path_length), critical=True
        )
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(_issuer_key_id(issuer_key), critical=False)
    )


def _issuer_key_id(key: EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
