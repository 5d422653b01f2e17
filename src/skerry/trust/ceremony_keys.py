"""A holder's key folder: one private key per role, sealed in a file or held on a token.

    holder.json         name and public keys; travels to whoever founds or rotates
    <role>.pem          the key now in use, sealed with a passphrase
    <role>.token.json   or where it is on a token
    <role>.<id>.pem     (or .token.json) a retired key, kept to sign its own successor in
    root.json           the newest fleet root this holder has seen and signed under

A passphrase is stretched with scrypt (64 MiB, a tenth of a second) before it seals the PEM, whose
own stretching is 2048 rounds and no match for a stolen USB stick.

Errors:  KeyFileError, TokenKeyError.
Source:  RFC 7914 (scrypt), RFC 5958 (PKCS#8).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from tuf.api.exceptions import UnsignedMetadataError

from skerry.base.files import private_folder, write_atomic, write_private
from skerry.base.ids import IdError, token
from skerry.trust._tuf import CryptoSigner, Key, Metadata, Signer, SSlibKey
from skerry.trust.errors import KeyFileError, TrustError
from skerry.trust.hsm import TokenKey, TokenSigner, create_token_key

HOLDER_FILE, ANCHOR_FILE = "holder.json", "root.json"
HOLDER_FIELD = "x-skerry-holder"
"""Names a key's holder inside metadata; beside the key, so it does not change the key's id."""
PASSPHRASE_LENGTH_MIN = 12
KEY_ID_SHOWN = 16
"""Digits of a key's id that people compare: 64 bits, for 32 can be found by trying."""
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**16, 8, 1  # 64 MiB
_STRETCHED = b"skerry-scrypt: "
_PEM, _TOKEN = ".pem", ".token.json"


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A key holder's public half: who it is, and one public key (PEM) for each role held."""

    schema: Literal["skerry.holder/1"] = "skerry.holder/1"
    name: str
    keys: dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """A token on which keys are to be made, in the place of files."""

    module: str
    token: str


@dataclass(slots=True)
class Seal:
    """What opens a folder's keys: a passphrase, or a token's PIN; None for unsealed files."""

    secret: str | None
    _stretched: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    def password(self, salt: bytes) -> bytes | None:
        """Return the PEM password for a salt; scrypt runs once per salt."""
        if not self.secret:
            return None
        if salt not in self._stretched:
            kdf = Scrypt(salt=salt, length=32, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P)
            self._stretched[salt] = kdf.derive(self.secret.encode()).hex().encode()
        return self._stretched[salt]

    def plain(self) -> bytes | None:
        """Return the passphrase itself, for files that were sealed with it unstretched."""
        return self.secret.encode() if self.secret else None


def create_keys(
    folder: Path, roles: Sequence[str], seal: Seal, *, place: TokenPlace | None = None
) -> None:
    """Make a key for each role that has none."""
    private_folder(folder)
    salt = secrets.token_bytes(16)
    for role in roles:
        if any((folder / f"{role}{kind}").exists() for kind in (_PEM, _TOKEN)):
            continue
        if place is not None:
            # The label is random: a second key for a role must not collide with the first.
            label = f"skerry-{role}-{secrets.token_hex(4)}"
            made = create_token_key(place.module, place.token, label, seal.secret or "")
            write_private(folder / f"{role}{_TOKEN}", msgspec.json.encode(made))
        else:
            write_private(folder / f"{role}{_PEM}", _new_pem(seal, salt))


def retire_key(folder: Path, role: str, key_id: str) -> None:
    """Set a role's key aside under its id: it is still needed, to sign its successor in."""
    for kind in (_PEM, _TOKEN):
        current = folder / f"{role}{kind}"
        if current.exists():
            current.rename(folder / f"{role}.{key_id[:12]}{kind}")


def read_keys(folder: Path, roles: Sequence[str], seal: Seal) -> dict[str, Signer]:
    """Return the keys in use, by role, of those roles that the folder has a key for."""
    return {
        role: signer
        for role in roles
        for kind in (_PEM, _TOKEN)
        if (signer := read_key(folder / f"{role}{kind}", seal)) is not None
    }


def read_retired(folder: Path, seal: Seal) -> list[Signer]:
    """Return the keys that were set aside."""
    files = sorted(p for kind in (_PEM, _TOKEN) for p in folder.glob(f"*.*{kind}"))
    retired = [p for p in files if not p.name.endswith((f".next{_PEM}",)) and _is_retired(p)]
    return [signer for path in retired if (signer := read_key(path, seal)) is not None]


def read_key(path: Path, seal: Seal) -> Signer | None:
    """Read one key file or token reference; None where there is none."""
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeyFileError(str(path), f"cannot be read: {error.strerror}") from error
    if path.name.endswith(_TOKEN):
        try:
            place = msgspec.json.decode(data, type=TokenKey)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise KeyFileError(str(path), f"names no token: {error}") from error
        return TokenSigner(place, public_key(str(path), place.public_pem), seal.secret or "")
    key = _open_pem(path, data, seal)
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))


def public_key(where: str, pem: bytes, holder: str = "") -> SSlibKey:
    """Return a public key as metadata holds it, with its holder's name; raises `KeyFileError`."""
    try:
        key = SSlibKey.from_crypto(serialization.load_pem_public_key(pem))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(where, "holds no public key that can be used") from error
    if key.scheme not in ("ed25519", "ecdsa-sha2-nistp256"):
        raise KeyFileError(where, f"holds a key for {key.scheme}, wanted Ed25519 or P-256")
    if holder:
        key.unrecognized_fields[HOLDER_FIELD] = holder
    return key


def add_signature(metadata: Metadata[Any], signer: Signer, *, append: bool) -> None:
    """Sign metadata; python-tuf wraps what a token says, and its own words come out here."""
    try:
        metadata.sign(signer, append=append)
    except UnsignedMetadataError as error:
        if isinstance(error.__cause__, TrustError):
            raise error.__cause__ from error
        raise KeyFileError(signer.public_key.keyid, f"did not sign: {error}") from error


def holder_of(key: Key) -> str:
    """Return who holds a key, as its metadata says; the start of its id where no name is there.

    A name that could not be a holder's, and might move a cursor, counts as none.
    """
    name = key.unrecognized_fields.get(HOLDER_FIELD)
    try:
        return token("holder", name) if isinstance(name, str) else key.keyid[:KEY_ID_SHOWN]
    except IdError:
        return key.keyid[:KEY_ID_SHOWN]


def public_pem(signer: Signer) -> bytes:
    """Return a signer's public half."""
    key = signer.public_key
    assert isinstance(key, SSlibKey)  # noqa: S101 - this module makes no other
    # securesystemslib keeps PEM text for ECDSA and bare hex for Ed25519
    return key._crypto_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def sealed_by(folder: Path) -> str:
    """Return what a folder's keys ask for: `passphrase`, `PIN`, or nothing."""
    if any(folder.glob(f"*{_TOKEN}")):
        return "PIN"
    sealed = any(b"ENCRYPTED" in path.read_bytes() for path in folder.glob(f"*{_PEM}"))
    return "passphrase" if sealed else ""


def read_anchor(folder: Path) -> bytes | None:
    """Return the newest fleet root that this holder has signed under; None before the first."""
    path = folder / ANCHOR_FILE
    return path.read_bytes() if path.exists() else None


def write_anchor(folder: Path, root: bytes) -> None:
    """Remember a fleet root: from now on nothing older and no other is signed upon."""
    write_private(folder / ANCHOR_FILE, root)


def read_holder(path: Path) -> Holder:
    """Read a holder's public file; raises `KeyFileError`."""
    try:
        holder = msgspec.json.decode(path.read_bytes(), type=Holder)
        token("holder", holder.name)  # it becomes a folder's name, and is shown to people
    except OSError as error:
        raise KeyFileError(str(path), f"cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IdError) as error:
        raise KeyFileError(str(path), f"is no holder's file: {error}") from error
    for pem in holder.keys.values():
        public_key(str(path), pem)
    return holder


def write_holder(path: Path, holder: Holder) -> None:
    """Write a holder's public file."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(holder), indent=2) + b"\n")


def _is_retired(path: Path) -> bool:
    middle = path.name.removesuffix(_PEM).removesuffix(_TOKEN).partition(".")[2]
    return len(middle) == 12 and all(letter in "0123456789abcdef" for letter in middle)


def _new_pem(seal: Seal, salt: bytes) -> bytes:
    password = seal.password(salt)
    sealing: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        sealing = serialization.BestAvailableEncryption(password)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing
    )
    return _STRETCHED + salt.hex().encode() + b"\n" + pem if password else pem


def _open_pem(path: Path, data: bytes, seal: Seal) -> Ed25519PrivateKey:
    torn = KeyFileError(str(path), "holds a torn key, or the passphrase is another")
    password = seal.plain()
    if data.startswith(_STRETCHED):
        line, _, data = data.partition(b"\n")
        try:
            password = seal.password(bytes.fromhex(line.removeprefix(_STRETCHED).decode()))
        except ValueError as error:
            raise torn from error
    try:
        key = serialization.load_pem_private_key(data, password)
    except TypeError as error:  # sealed and no passphrase, or the other way round
        raise KeyFileError(str(path), f"was opened the wrong way: {error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise torn from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(str(path), "holds a key that is not Ed25519")
    return key
