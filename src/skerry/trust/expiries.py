"""Reading ends out of what a process holds: signed roles, certificate chains, NATS logins.

Cheap enough for every look at the fleet: of a role with ten thousand targets only its end is read.

Errors:  TrustError for a chain or token that is torn; it never comes from a network here.
"""

import base64
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from skerry.schema.expiry import Expiry
from skerry.trust.bins import DESIRED
from skerry.trust.errors import TrustError
from skerry.trust.roles import LIFE_S, ONLINE, PATHS


class _Named(msgspec.Struct):
    keyids: list[str]
    threshold: int
    name: str = ""


class _Delegations(msgspec.Struct):
    roles: list[_Named] = []


class _Delegator(msgspec.Struct):
    roles: dict[str, _Named] = {}
    delegations: _Delegations = msgspec.field(default_factory=_Delegations)


class _SignedDelegator(msgspec.Struct):
    signed: _Delegator


class _Ends(msgspec.Struct):
    expires: datetime
    version: int


class _Signed(msgspec.Struct):
    signed: _Ends


class _Claims(msgspec.Struct):
    exp: float = 0.0
    iat: float = 0.0


_ends = msgspec.json.Decoder(_Signed)
_delegator = msgspec.json.Decoder(_SignedDelegator)


def of_roles(role_bytes: Callable[[str], bytes]) -> list[Expiry]:
    """Return the end of every role, with its version and who may sign it.

    Hash bins are told of with the role that delegates to them, by the first of them that ends.
    """
    root = _delegator.decode(role_bytes("root")).signed
    targets = _delegator.decode(role_bytes("targets")).signed
    named = root.roles | {role.name: role for role in targets.delegations.roles}
    found = []
    for role in ("root", "targets", *PATHS, "snapshot", "timestamp"):
        data = role_bytes(role)
        signed = _ends.decode(data).signed
        bins = _delegator.decode(data).signed.delegations.roles if role == DESIRED else []
        ends = [signed, *(_ends.decode(role_bytes(one.name)).signed for one in bins)]
        keys = named[role]
        text = f"version {signed.version}, {keys.threshold} of {len(keys.keyids)} keys"
        found.append(
            Expiry(
                kind="role",
                name=role,
                ends_unix_s=min(one.expires.timestamp() for one in ends),
                life_s=LIFE_S[role],
                renews_itself=role in ONLINE,
                text=f"{text}, {len(bins)} bins" if bins else text,
            )
        )
    return found


def of_certificates(pem: bytes, *, renews_itself: bool = False) -> list[Expiry]:
    """Return the end of each certificate: root, authority, or somebody's own."""
    try:
        certificates = x509.load_pem_x509_certificates(pem) if pem.strip() else []
        return [_of_certificate(one, renews_itself) for one in certificates]
    except ValueError as error:
        raise TrustError(f"a certificate held here cannot be read: {error}") from error


def of_login(jwt: str, name: str, *, renews_itself: bool = False) -> Expiry:
    """Return the end of a NATS login, account or operator, from its token's claims."""
    try:
        part = jwt.split(".")[1]
        claims = msgspec.json.decode(
            base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=_Claims
        )
    except (IndexError, ValueError, msgspec.DecodeError) as error:
        raise TrustError(f"the NATS token of {name} cannot be read: {error}") from error
    return Expiry(
        kind="login",
        name=name,
        ends_unix_s=claims.exp,
        life_s=claims.exp - claims.iat if claims.exp else 0.0,
        renews_itself=renews_itself,
    )


def unique(expiries: Iterable[Expiry]) -> list[Expiry]:
    """Return each thing once, what ends first to the front and what never ends to the back."""
    first: dict[tuple[str, str, float], Expiry] = {}
    for one in expiries:
        first.setdefault((one.kind, one.name, one.ends_unix_s), one)
    return sorted(first.values(), key=lambda one: (one.ends_unix_s or float("inf"), one.name))


def _of_certificate(certificate: x509.Certificate, renews_itself: bool) -> Expiry:
    ends = certificate.not_valid_after_utc.timestamp()
    issues = _may_issue(certificate)
    own_root = certificate.issuer == certificate.subject and issues
    return Expiry(
        kind="root" if own_root else "authority" if issues else "certificate",
        name=_name(certificate),
        ends_unix_s=ends,
        life_s=ends - certificate.not_valid_before_utc.timestamp(),
        # What an authority issues renews itself; an authority is changed by people.
        renews_itself=renews_itself and not issues,
    )


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return bool(found.value.ca)


def _name(certificate: x509.Certificate) -> str:
    """Return the SPIFFE id of a certificate, or its subject's common name."""
    try:
        names = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ).value
        if isinstance(names, x509.SubjectAlternativeName):
            uris = names.get_values_for_type(x509.UniformResourceIdentifier)
            if uris:
                return str(uris[0])
    except x509.ExtensionNotFound:
        pass
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else f"serial {certificate.serial_number:x}"
