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
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skerry.base.files import write_private
from skerry.base.ids import token
from skerry.trust.anchors import key_id
from skerry.trust.errors import TrustError
from skerry.trust.identity import (
    Identity,
    certificates_of,
    chain_to_pem,
    create_authority_csr,
    key_to_pem,
    read_csr,
    read_key_and_chain,
    verify_csr,
)
from skerry.trust.identity import new_key as make_key
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
        self._host, self._scope = _host_of(chain[0].subject), _scope_of(chain[0].subject)

    @classmethod
    def create_root(cls, domain: str, *, now_unix_s: float, life_s: float = ROOT_LIFE_S) -> Self:
        """Make a fleet's root. Its key belongs on a machine that is off."""
        SpiffeId(domain, "central")  # the domain must be able to be a host
        key = make_key()
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
        return self._issue_authority(_Scope.REGION, host, now_unix_s, life_s)

    def issue_central(self, *, now_unix_s: float, life_s: float = REGION_LIFE_S) -> "Authority":
        """Issue central's authority: path length 0, the domain itself and nothing below it."""
        return self._issue_authority(_Scope.CENTRAL, self._host, now_unix_s, life_s)

    def issue_site(
        self, site: str, *, now_unix_s: float, life_s: float = SITE_LIFE_S
    ) -> "Authority":
        """Issue a site's authority from its region's: path length 0, that site's names only."""
        host = f"{token('site', site)}.{self._host}"
        return self._issue_authority(_Scope.SITE, host, now_unix_s, life_s)

    def issue_requested(
        self, csr_pem: bytes, *, now_unix_s: float, life_s: float = REGION_LIFE_S
    ) -> bytes:
        """Issue a region's or central's authority for a key that stays where it is.

        `csr_pem` is what `request` made there; only its key and its subject are taken from it.
        Returns the chain, this root's certificate last.
        """
        public, subject = read_csr(csr_pem)
        host, scope = _host_of(subject), _scope_of(subject)
        region, _, domain = host.partition(".")
        if scope is _Scope.REGION and domain == self._host:
            token("region", region)
        elif scope is not _Scope.CENTRAL or host != self._host:
            raise IssueError(f"an authority for {host}", self._host, "it is not of this fleet")
        certificate = self._certify(scope, host, public, now_unix_s, life_s)
        return chain_to_pem([certificate, *self._chain])

    def request(self, *, new_key: bool) -> tuple[bytes, EllipticCurvePrivateKey]:
        """Make a request for this authority's next certificate, and the key that it is for."""
        key = make_key() if new_key else self._key
        return self.request_for(key), key

    def request_for(self, key: EllipticCurvePrivateKey) -> bytes:
        """Make a request for this authority's next certificate, for a key made before."""
        return create_authority_csr(key, self.subject)

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
        return self._sign_leaf(public, spiffe_id, now_unix_s, life_s, loopback=loopback)

    def _sign_leaf(
        self,
        public: EllipticCurvePublicKey,
        spiffe_id: SpiffeId,
        now_unix_s: float,
        life_s: float,
        *,
        loopback: bool,
    ) -> bytes:
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
        key = make_key()
        chain = self.issue_leaf(
            key.public_key(), spiffe_id, now_unix_s=now_unix_s, life_s=life_s, loopback=loopback
        )
        return Identity(chain, key_to_pem(key))

    def probe(self, spiffe_id: SpiffeId, *, now_unix_s: float, life_s: float) -> Identity:
        """Issue for any id, allowed or not, to see what peers make of it; use it for nothing."""
        key = make_key()
        chain = self._sign_leaf(key.public_key(), spiffe_id, now_unix_s, life_s, loopback=False)
        return Identity(chain, key_to_pem(key))

    @property
    def key(self) -> EllipticCurvePrivateKey:
        """The private key; it stays with its holder."""
        return self._key

    @property
    def subject(self) -> x509.Name:
        """What the authority is called in its certificate."""
        return self._chain[0].subject

    @property
    def is_central(self) -> bool:
        """Whether this is central's authority."""
        return self._scope is _Scope.CENTRAL

    @property
    def certificate_pem(self) -> bytes:
        """This authority's own certificate: for the root, what everybody pins."""
        return chain_to_pem(self._chain[:1])

    @property
    def chain_pem(self) -> bytes:
        """This authority's certificate and those of its issuers, the root's last."""
        return chain_to_pem(self._chain)

    @property
    def key_id(self) -> str:
        """The id of this authority's key."""
        return key_id(self._chain[0])

    def sign(self, data: bytes) -> bytes:
        """Sign data with this authority's key: for statements about whom to trust."""
        return self._key.sign(data, ECDSA(hashes.SHA256()))

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
    def starts_unix_s(self) -> float:
        """First moment of validity."""
        return self._chain[0].not_valid_before_utc.timestamp()

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
        self, scope: _Scope, host: str, now_unix_s: float, life_s: float
    ) -> "Authority":
        key = make_key()
        certificate = self._certify(scope, host, key.public_key(), now_unix_s, life_s)
        return Authority([certificate, *self._chain], key)

    def _certify(
        self,
        scope: _Scope,
        host: str,
        public: EllipticCurvePublicKey,
        now_unix_s: float,
        life_s: float,
    ) -> x509.Certificate:
        """Sign an authority's certificate, with the constraints of what it is for."""
        above = _Scope.REGION if scope is _Scope.SITE else _Scope.ROOT
        if self._scope is not above:
            raise IssueError(f"a {scope} authority", self._host, f"only a {above} does")
        ends = self._end_of(now_unix_s, life_s, f"a {scope} authority")
        builder = _builder(
            _subject(host, scope), self._chain[0].subject, public, now_unix_s, ends
        ).add_extension(_constraints(scope, host), critical=True)
        path_length = 1 if scope is _Scope.REGION else 0
        return _as_authority(builder, public, self._key, path_length=path_length).sign(
            self._key, hashes.SHA256()
        )


def _host_of(subject: x509.Name) -> str:
    return _part(subject, NameOID.COMMON_NAME)


def _scope_of(subject: x509.Name) -> _Scope:
    text = _part(subject, NameOID.ORGANIZATIONAL_UNIT_NAME)
    try:
        return _Scope(text)
    except ValueError as error:
        raise IssueError(f"an authority for {text[:40]!r}", "skerry", "there is none") from error


def _part(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = subject.get_attributes_for_oid(oid)
    if len(found) != 1:
        raise IssueError("an authority without one name", "skerry", "its subject is not of ours")
    return str(found[0].value)


def _subject(host: str, scope: _Scope) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "skerry"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, scope.value),
            # X.520 limits a common name to 64 characters; OpenSSL and Go do not.
            x509.NameAttribute(NameOID.COMMON_NAME, host, _validate=len(host) <= 64),
        ]
    )


def _constraints(scope: _Scope, host: str) -> x509.NameConstraints:
    """Return what an authority may name: its own host; a region also what lies below."""
    below = f".{host}"
    # RFC 5280: a URI host without the dot is that host alone, with it what lies below.
    uris = (host, below) if scope is _Scope.REGION else (host,)
    permitted: list[x509.GeneralName] = [x509.UniformResourceIdentifier(one) for one in uris]
    permitted.append(x509.DNSName(host))
    permitted += [x509.IPAddress(network) for network in _LOOPBACK_NETS]
    if scope is not _Scope.CENTRAL:
        return x509.NameConstraints(permitted, None)
    # DNS constraints, and Go's reading of URI ones, take in what lies below: cut it off.
    return x509.NameConstraints(
        permitted, [x509.UniformResourceIdentifier(below), x509.DNSName(below)]
    )


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
