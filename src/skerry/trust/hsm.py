"""Signing keys that live on a PKCS#11 token: made there, used there, never read out.

Ed25519 where the token makes it, else ECDSA on P-256; python-tuf verifies both. A token is found
by its module (the maker's library, `/usr/lib/softhsm/libsofthsm2.so`) and its label, a key by a
label of its own. Needs the extra `hsm`; nothing here is imported without it.

Errors:  TokenKeyError.
Source:  PKCS#11 v3.1; RFC 8410 and RFC 5480 for the public keys.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from skerry.trust._tuf import Signature, Signer, SSlibKey
from skerry.trust.ceremony_errors import TokenKeyError

ED25519_OID, P256_NAME = "1.3.101.112", "secp256r1"


class TokenKey(msgspec.Struct, frozen=True, kw_only=True):
    """Where a key is: what a key folder holds in the place of a key file. Not secret."""

    module: str
    """Path of the PKCS#11 library."""
    token: str
    """Label of the token."""
    label: str
    """Label of the key pair on it."""
    public_pem: bytes


def create_token_key(module: str, token: str, label: str, pin: str) -> TokenKey:
    """Make a key pair on a token: Ed25519, or P-256 where the token has no Ed25519."""
    import pkcs11
    from pkcs11 import Attribute, KeyType, Mechanism
    from pkcs11.util.ec import encode_named_curve_parameters

    with _session(module, token, pin, rw=True) as session:
        able = mechanisms(session.token.slot)
        edwards = able >= {Mechanism.EC_EDWARDS_KEY_PAIR_GEN, Mechanism.EDDSA}
        kind, curve, making = (
            (KeyType.EC_EDWARDS, ED25519_OID, Mechanism.EC_EDWARDS_KEY_PAIR_GEN)
            if edwards
            else (KeyType.EC, P256_NAME, Mechanism.EC_KEY_PAIR_GEN)
        )
        held = {Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY, Attribute.LABEL: label}
        if any(True for _ in session.get_objects(held)):
            raise TokenKeyError(token, f"it has a key labelled {label} already")
        parameters = session.create_domain_parameters(
            kind, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
        )
        public, _ = parameters.generate_keypair(
            mechanism=making,
            store=True,
            label=label,
            id=hashlib.sha256(label.encode()).digest()[:16],
        )
        point = bytes(public[Attribute.EC_POINT])
    return TokenKey(
        module=module, token=token, label=label, public_pem=_public_pem(token, point, edwards)
    )


def mechanisms(slot: Any) -> set[Any]:
    """Return what a token can do."""
    return set(slot.get_mechanisms())


class TokenSigner(Signer):
    """Signs on the token; the PIN opens one session per signature."""

    def __init__(self, key: TokenKey, public: SSlibKey, pin: str) -> None:
        self._key, self._public, self._pin = key, public, pin

    @property
    def public_key(self) -> SSlibKey:
        """The public half."""
        return self._public

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Any, secrets_handler: Any = None
    ) -> "TokenSigner":
        """Refuse: a token is named by a `TokenKey`, never by a text."""
        raise TokenKeyError(priv_key_uri, "tokens are not named by URI here")

    def sign(self, payload: bytes) -> Signature:
        """Sign, and check the token's answer before anybody relies on it."""
        from pkcs11 import Mechanism
        from pkcs11.util.ec import encode_ecdsa_signature

        with _session(self._key.module, self._key.token, self._pin) as session:
            private = _private(session, self._key)
            if self._public.keytype == "ed25519":
                raw = bytes(private.sign(payload, mechanism=Mechanism.EDDSA))
            else:
                digest = hashlib.sha256(payload).digest()
                raw = encode_ecdsa_signature(private.sign(digest, mechanism=Mechanism.ECDSA))
        signature = Signature(self._public.keyid, raw.hex())
        try:
            self._public.verify_signature(signature, payload)
        except Exception as error:  # whatever it is, this signature is worth nothing
            raise TokenKeyError(self._key.token, "it signed with another key") from error
        return signature


def _private(session: Any, key: TokenKey) -> Any:
    from pkcs11 import ObjectClass

    return session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=key.label)


@contextmanager
def _session(module: str, token: str, pin: str, *, rw: bool = False) -> Iterator[Any]:
    import pkcs11
    from pkcs11 import exceptions as refused

    try:
        found = pkcs11.lib(module).get_token(token_label=token)
        with found.open(rw=rw, user_pin=pin) as session:
            yield session
    except (refused.PinIncorrect, refused.PinLenRange, refused.PinInvalid) as error:
        raise TokenKeyError(token, "the PIN is another") from error
    except refused.PinLocked as error:
        raise TokenKeyError(token, "its PIN is locked after too many tries") from error
    except refused.NoSuchToken as error:
        raise TokenKeyError(token, f"{module} sees no token of this label") from error
    except refused.MultipleTokensReturned as error:
        raise TokenKeyError(token, "several tokens have this label") from error
    except (refused.NoSuchKey, refused.MultipleObjectsReturned) as error:
        raise TokenKeyError(token, "it has no such key, or several") from error
    except (refused.PKCS11Error, RuntimeError, OSError) as error:
        raise TokenKeyError(token, f"{module}: {error or type(error).__name__}") from error


def _public_pem(token: str, point: bytes, edwards: bool) -> bytes:
    """Return a public key from a token's EC_POINT, which is a DER octet string, or raw on some."""
    size = 32 if edwards else 65
    raw = point[-size:]
    try:
        key = (
            Ed25519PublicKey.from_public_bytes(raw)
            if edwards
            else EllipticCurvePublicKey.from_encoded_point(SECP256R1(), raw)
        )
    except ValueError as error:
        raise TokenKeyError(token, "it gave a public key of no known form") from error
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
