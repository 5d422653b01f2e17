"""Changing an authority while it works: a request leaves, a chain comes back, a check decides.

    current key or a new one -> request -> root, or a command of yours -> chain -> check -> in use

The key never leaves its machine. Whoever signed, the chain is tried out before it is used: it
must lead to a root that is trusted here, name what this authority has to name, and be refused by
OpenSSL for what it must not. Until then the authority of before goes on.

Units:   seconds; times are unix seconds from the clock given.
Errors:  AuthorityRefused, KeyFileError.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from skerry.base.clock import Clock
from skerry.base.files import write_private
from skerry.trust.anchors import AnchorStore
from skerry.trust.authority import Authority
from skerry.trust.errors import TrustError
from skerry.trust.identity import UNREADABLE, certificates_of, key_from_pem, key_to_pem
from skerry.trust.spiffe import SpiffeId, central_id, node_id, region_id
from skerry.trust.tls import CertificateError, CertificateFault, verify_identity

CHAIN_BYTES_MAX = 64 * 1024
COMMAND_S_MAX = 120.0
PROBE_LIFE_S = 60.0
LIFE_S_MIN = 3600.0


class AuthorityRefused(TrustError):  # noqa: N818 - a refusal is a verdict, and reads as one
    """A certificate for this process's authority was refused; the authority of before goes on.

    It must be for the key and the subject of the request, lead to a root of this fleet, live for
    an hour at least, and be constrained to this region's (or central's) names by a critical
    extension.
    """

    code = "E0261"
    reason = "AUTHORITY_REFUSED"

    def __init__(self, host: str, why: str) -> None:
        super().__init__(host, why)
        self.host, self.why = host, why

    def __str__(self) -> str:
        return f"the new certificate for the authority {self.host} is refused: {self.why}"

    @property
    def hint(self) -> str:
        """Name the page to read."""
        return "docs/how-to/use-your-own-ca.md says what such a certificate must have"


class AuthorityKeeper:
    """The authority of one process: the one in use, and a key that waits for its certificate."""

    def __init__(self, path: Path, store: AnchorStore, clock: Clock) -> None:
        self._path, self._store, self._clock = path, store, clock
        self._next = path.with_name(f"{path.stem}.next.pem")
        self.authority = Authority.load(path)
        """The authority in use."""

    def request(self, *, new_key: bool) -> bytes:
        """Return a certificate request (PEM); asked again, it is for the same key."""
        if not new_key:
            return self.authority.request(new_key=False)[0]
        if self._next.exists():
            key = key_from_pem(self._next.read_bytes(), None, str(self._next))
            return self.authority.request_for(key)
        csr_pem, key = self.authority.request(new_key=True)
        write_private(self._next, key_to_pem(key))
        return csr_pem

    def install(self, chain_pem: bytes) -> Authority:
        """Check a chain for either key, and use it from now on; raises `AuthorityRefused`."""
        keys = [self.authority.key]
        if self._next.exists():
            keys.append(key_from_pem(self._next.read_bytes(), None, str(self._next)))
        authority = check_authority(
            chain_pem,
            keys,
            like=self.authority,
            roots_pem=self._store.roots_pem,
            now_unix_s=self._clock.unix_s(),
        )
        authority.save(self._path)
        if authority.key is not keys[0]:
            self._next.unlink(missing_ok=True)
        self.authority = authority
        return authority


class AuthorityHook:
    """A command that certifies an authority, asked again at half the life of what it gave."""

    def __init__(self, keeper: AuthorityKeeper, command: Sequence[str], told: Path) -> None:
        self._keeper, self._command, self._told = keeper, list(command), told

    def ask_if_due(self, now_unix_s: float) -> bool:
        """Ask where another issuer certified this authority, or half its life is over. Blocking.

        Raises `AuthorityRefused`; the authority of before then goes on.
        """
        authority, name = self._keeper.authority, "\0".join(self._command).encode()
        half_s = (authority.starts_unix_s + authority.ends_unix_s) / 2
        known = self._told.read_bytes() if self._told.exists() else b""
        if known == name and now_unix_s < half_s:
            return False
        csr_pem = self._keeper.request(new_key=True)
        self._keeper.install(ask_command(self._command, csr_pem, authority.host))
        write_private(self._told, name)
        return True


def check_authority(
    chain_pem: bytes,
    keys: Sequence[EllipticCurvePrivateKey],
    *,
    like: Authority,
    roots_pem: bytes,
    now_unix_s: float,
) -> Authority:
    """Return the authority that a chain makes of one of these keys, or raise `AuthorityRefused`."""
    if len(chain_pem) > CHAIN_BYTES_MAX:
        raise AuthorityRefused(like.host, f"the chain has {len(chain_pem)} bytes")
    try:
        return _checked(certificates_of(chain_pem), keys, like, roots_pem, now_unix_s)
    except x509.ExtensionNotFound as error:
        raise AuthorityRefused(like.host, "it has no name constraints") from error
    except UNREADABLE as error:
        raise AuthorityRefused(like.host, f"it cannot be read: {error}") from error


def _checked(
    chain: list[x509.Certificate],
    keys: Sequence[EllipticCurvePrivateKey],
    like: Authority,
    roots_pem: bytes,
    now_unix_s: float,
) -> Authority:
    key = next((one for one in keys if one.public_key() == chain[0].public_key()), None)
    if key is None:
        raise AuthorityRefused(like.host, "it is for another key than was asked for")
    if chain[0].subject != like.subject:
        raise AuthorityRefused(like.host, "its subject is not that of the request")
    if not chain[0].extensions.get_extension_for_class(x509.NameConstraints).critical:
        raise AuthorityRefused(like.host, "its name constraints are not marked critical")
    authority = Authority(chain, key)
    if authority.ends_unix_s - now_unix_s < LIFE_S_MIN:
        raise AuthorityRefused(like.host, f"it lives for less than {LIFE_S_MIN:g} s")
    _try_out(authority, roots_pem, now_unix_s)
    return authority


def _try_out(authority: Authority, roots_pem: bytes, now_unix_s: float) -> None:
    """See that peers take what it has to name, and refuse what it must not."""
    own, foreign = _probes(authority)
    for name in own:
        identity = authority.probe(name, now_unix_s=now_unix_s, life_s=PROBE_LIFE_S)
        try:
            verify_identity(identity, roots_pem, now_unix_s=now_unix_s)
        except CertificateError as error:
            raise AuthorityRefused(authority.host, f"peers refuse {name}: {error}") from error
    if not authority.is_central:
        try:
            site = authority.issue_site("probe", now_unix_s=now_unix_s, life_s=PROBE_LIFE_S)
            node = site.probe(own[-1], now_unix_s=now_unix_s, life_s=PROBE_LIFE_S)
            verify_identity(node, roots_pem, now_unix_s=now_unix_s)
        except CertificateError as error:
            why = f"peers refuse the authorities of its sites: {error}"
            raise AuthorityRefused(authority.host, why) from error
    for name in foreign:
        identity = authority.probe(name, now_unix_s=now_unix_s, life_s=PROBE_LIFE_S)
        try:
            verify_identity(identity, roots_pem, now_unix_s=now_unix_s)
        except CertificateError as error:
            if error.fault is CertificateFault.OUT_OF_SCOPE:
                continue
            raise AuthorityRefused(authority.host, str(error)) from error
        raise AuthorityRefused(authority.host, f"it could name {name}")


def _probes(authority: Authority) -> tuple[list[SpiffeId], list[SpiffeId]]:
    """Return ids that an authority has to be able to name, and ids that it must not."""
    domain, host = authority.domain, authority.host
    if authority.is_central:
        return [central_id(domain)], [region_id(domain, "probe"), central_id(f"x{domain}")]
    region = host.split(".")[0]
    return (
        [region_id(domain, region), node_id(domain, region, "probe", 1)],
        [
            central_id(domain),
            region_id(domain, f"x{region}"),
            node_id(domain, f"x{region}", "probe", 1),
            region_id(f"x{domain}", region),
        ],
    )


def ask_command(command: Sequence[str], csr_pem: bytes, host: str) -> bytes:
    """Run a command that reads the request and writes a chain; raises `AuthorityRefused`."""
    try:
        ended = subprocess.run(
            list(command),
            input=csr_pem,
            capture_output=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AuthorityRefused(host, f"{command[0]} could not be run: {error}") from error
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip()[-200:]
        raise AuthorityRefused(host, f"{command[0]} ended with {ended.returncode}: {said}")
    return ended.stdout
