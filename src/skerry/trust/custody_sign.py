"""Signing custody entries, and the lines that a chain is kept as.

An entry gets a signature of its giver and one of its taker, over the same bytes, at different
times and on different machines if need be: an entry with one signature is a draft that travels.

Errors:  CustodyFileError, SignerError.
Source:  DSSE 1.0 (pre-authentication encoding); RFC 8032 (Ed25519).
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skerry.base.files import write_private
from skerry.schema.custody import (
    ENTRIES_MAX,
    ENTRY_BYTES_MAX,
    PAYLOAD_TYPE,
    CustodyEntry,
    EntrySignature,
    SignedEntry,
    Signer,
)
from skerry.trust.custody_errors import CustodyFileError, SignerError
from skerry.trust.errors import KeyFileError

PUBLIC_KEY_BYTES = 32
SIGNATURES_MAX = 4
_signed = msgspec.json.Decoder(SignedEntry)
_entry = msgspec.json.Decoder(CustodyEntry)


def draft(entry: CustodyEntry) -> SignedEntry:
    """Return an entry that nobody has signed yet."""
    return SignedEntry(payload=msgspec.json.encode(entry))


def signed_by(signed: SignedEntry, name: str, key: Ed25519PrivateKey) -> SignedEntry:
    """Return the entry with a signature more; an earlier one of the same name is replaced."""
    others = tuple(one for one in signed.signatures if one.keyid != name)
    own = EntrySignature(name, key.sign(_pre_authentication(signed)))
    return msgspec.structs.replace(signed, signatures=(*others, own))


def is_signed_by(signed: SignedEntry, signer: Signer) -> bool:
    """Tell whether an entry carries a signature of this signer that verifies."""
    key = public_key(signer)
    for one in signed.signatures[:SIGNATURES_MAX]:
        if one.keyid == signer.name:
            try:
                key.verify(one.sig, _pre_authentication(signed))
            except InvalidSignature:
                continue
            return True
    return False


def entry_of(signed: SignedEntry, where: str = "an entry") -> CustodyEntry:
    """Return what was signed; raises `CustodyFileError`."""
    if signed.payload_type != PAYLOAD_TYPE:
        raise CustodyFileError(where, f"its type is {signed.payload_type[:80]!r}")
    try:
        return _entry.decode(signed.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CustodyFileError(where, f"no custody entry: {error}") from error


def digest_of(signed: SignedEntry) -> str:
    """Return the digest that the next entry names as `previous`."""
    return hashlib.sha256(signed.payload).hexdigest()


# --- lines ----------------------------------------------------------------------------


def to_line(signed: SignedEntry) -> bytes:
    """Return an entry as one line of a custody file."""
    return msgspec.json.encode(signed) + b"\n"


def from_line(line: bytes, where: str = "an entry") -> SignedEntry:
    """Read one line; raises `CustodyFileError`."""
    if len(line) > ENTRY_BYTES_MAX:
        raise CustodyFileError(where, f"{len(line)} bytes, wanted at most {ENTRY_BYTES_MAX}")
    try:
        return _signed.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CustodyFileError(where, f"no signed custody entry: {error}") from error


def from_lines(data: bytes, where: str) -> list[SignedEntry]:
    """Read a custody file; raises `CustodyFileError` that names the line."""
    lines = data.split(b"\n", ENTRIES_MAX + 1)
    found = [
        from_line(line, f"{where}:{number}")
        for number, line in enumerate(lines[: ENTRIES_MAX + 1], start=1)
        if line.strip()
    ]
    if len(lines) > ENTRIES_MAX and (len(found) > ENTRIES_MAX or lines[-1].strip()):
        raise CustodyFileError(where, f"more than {ENTRIES_MAX} entries")
    return found


def read_chain(path: Path) -> list[SignedEntry]:
    """Read a custody file of bounded size; raises `CustodyFileError`."""
    most = ENTRIES_MAX * ENTRY_BYTES_MAX
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise CustodyFileError(str(path), error.strerror or str(error)) from error
    if len(data) > most:
        raise CustodyFileError(str(path), f"more than {most} bytes")
    return from_lines(data, str(path))


def to_lines(chain: Iterable[SignedEntry]) -> bytes:
    """Return a chain as a custody file."""
    return b"".join(to_line(signed) for signed in chain)


# --- keys -----------------------------------------------------------------------------


def new_key() -> Ed25519PrivateKey:
    """Make a key."""
    return Ed25519PrivateKey.generate()


def new_signing_key(path: Path, passphrase: str | None) -> str:
    """Make a signer's key as a private file and return its public half, as the fleet file has it.

    Raises `KeyFileError` where the file is there already: a key is never overwritten.
    """
    if path.exists():
        raise KeyFileError(str(path), "is there already")
    key = new_key()
    sealing: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        sealing = serialization.BestAvailableEncryption(passphrase.encode())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing)
    write_private(path, pem)
    return public_text(key)


def read_signing_key(path: Path, passphrase: str | None = None) -> Ed25519PrivateKey:
    """Read a signer's key; raises `KeyFileError`."""
    try:
        key = serialization.load_pem_private_key(
            path.read_bytes(), passphrase.encode() if passphrase else None
        )
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(str(path), f"cannot be read: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(str(path), "holds no Ed25519 key")
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public half as the fleet file has it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def public_key(signer: Signer) -> Ed25519PublicKey:
    """Return a signer's public key; raises `SignerError`."""
    try:
        raw = base64.b64decode(signer.key, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignerError(signer.name, f"has a key that is no base64: {error}") from error
    if len(raw) != PUBLIC_KEY_BYTES:
        raise SignerError(signer.name, f"has a key of {len(raw)} bytes, wanted {PUBLIC_KEY_BYTES}")
    return Ed25519PublicKey.from_public_bytes(raw)


def _pre_authentication(signed: SignedEntry) -> bytes:
    kind = signed.payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(signed.payload), signed.payload)
