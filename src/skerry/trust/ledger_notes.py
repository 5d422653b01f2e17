"""Signed checkpoints: what a ledger was, said in a few lines that anybody can check.

    <origin>                       whose ledger
    <size>                         entries in it
    <root, base64>                 over all of them
    <further lines>                `key <vkey>`: the ledger signs with this key from here on

    — <name> <base64: key id || signature>

A witness adds a line of its own with the time at which it saw the checkpoint.

Errors:  CheckpointError.
Source:  C2SP signed-note, tlog-checkpoint and tlog-cosignature; Ed25519 (RFC 8032).
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skerry.trust.ledger_errors import CheckpointError
from skerry.trust.ledger_tree import HASH_BYTES

NOTE_CHARS_MAX = 8192
_DASH = "— "
_SIGNATURE, _COSIGNATURE = 1, 4
_KEY_BYTES, _ID_BYTES, _TIME_BYTES, _SIGNATURE_BYTES = 32, 4, 8, 64
_NAME_CHARS_MAX = 300


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key with the name of its holder."""

    name: str
    public: bytes
    kind: int = _SIGNATURE

    @property
    def id(self) -> bytes:
        """Return the four bytes that say which key a signature is by."""
        typed = bytes([self.kind]) + self.public
        return hashlib.sha256(self.name.encode() + b"\n" + typed).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> "NoteKey":
        """Read a key as it is written; raises `CheckpointError`."""
        try:
            rest, _, encoded = text.partition("+")[2].partition("+")
            typed = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise CheckpointError("a ledger's key", f"it is not base64: {error}") from None
        name = text.partition("+")[0]
        if not _good_name(name) or len(typed) != _KEY_BYTES + 1 or typed[0] not in (1, 4):
            raise CheckpointError("a ledger's key", "wanted NAME+ID+KEY with an Ed25519 key")
        key = cls(name, typed[1:], typed[0])
        if key.id.hex() != rest:
            raise CheckpointError("a ledger's key", "its id does not fit the key")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a ledger was at one size."""

    origin: str
    size: int
    root: bytes
    next_key: NoteKey | None = None
    """The key that signs from here on, where this checkpoint changes it."""

    def text(self) -> str:
        """Return the lines that are signed."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode()]
        if self.next_key is not None:
            lines.append(f"key {self.next_key}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A checkpoint and the signature lines below it, unchecked until `signed_by` is asked."""

    checkpoint: Checkpoint
    text: str
    signatures: tuple[tuple[str, bytes], ...]
    """Name and blob of each line: key id, then what that kind of key signs with."""

    def signed_by(self, key: NoteKey) -> bool:
        """Say whether this very key signed."""
        blobs = (blob for name, blob in self.signatures if name == key.name)
        return any(_good_signature(key, self.text, blob) for blob in blobs)

    def seen_unix_s(self, witness: NoteKey) -> int | None:
        """Return when a witness signed, or None if it did not."""
        if not self.signed_by(witness):
            return None
        blob = next(blob for _, blob in self.signatures if blob[:_ID_BYTES] == witness.id)
        return int(struct.unpack(">Q", blob[_ID_BYTES : _ID_BYTES + _TIME_BYTES])[0])


def note_key(name: str, private: Ed25519PrivateKey, *, witness: bool = False) -> NoteKey:
    """Return the public side of a key, for checkpoints or for cosignatures."""
    public = private.public_key().public_bytes_raw()
    return NoteKey(name, public, _COSIGNATURE if witness else _SIGNATURE)


def sign(checkpoint: Checkpoint, *keys: tuple[str, Ed25519PrivateKey]) -> str:
    """Return a checkpoint signed by each key, as text."""
    text = checkpoint.text()
    lines = [
        _line(name, note_key(name, private).id + private.sign(text.encode()))
        for name, private in keys
    ]
    return text + "\n" + "".join(lines)


def cosign(note: SignedNote, name: str, private: Ed25519PrivateKey, *, now_unix_s: int) -> str:
    """Return a witness's signature line for a note that it has checked."""
    signature = private.sign(_cosigned(note.text, now_unix_s))
    key = note_key(name, private, witness=True)
    return _line(name, key.id + struct.pack(">Q", now_unix_s) + signature)


def read_note(text: str) -> SignedNote:
    """Read a signed checkpoint; raises `CheckpointError`. No signature is checked here."""
    if len(text) > NOTE_CHARS_MAX:
        raise CheckpointError("a checkpoint", f"it is longer than {NOTE_CHARS_MAX} characters")
    body, middle, below = text.partition("\n\n")
    if not middle or not below.endswith("\n"):
        raise CheckpointError("a checkpoint", "it has no signatures below an empty line")
    signatures = tuple(_read_line(line) for line in below[:-1].split("\n"))
    return SignedNote(_read_checkpoint(body), body + "\n", signatures)


def _read_checkpoint(body: str) -> Checkpoint:
    origin, *rest = body.split("\n")
    if len(rest) < 2 or not _good_name(origin):
        raise CheckpointError("a checkpoint", "wanted the lines origin, size and root")
    size, root, *further = rest
    if not (size.isascii() and size.isdigit() and len(size) < 20 and str(int(size)) == size):
        raise CheckpointError(origin, f"its size is {size[:20]!r}")
    digest = _decode(origin, root)
    if len(digest) != HASH_BYTES:
        raise CheckpointError(origin, "its root is no SHA-256")
    keys = [NoteKey.parse(line[4:]) for line in further if line.startswith("key ")]
    if len(keys) > 1 or len(further) != len(keys):
        raise CheckpointError(origin, "it has lines that this version does not know")
    return Checkpoint(origin, int(size), digest, keys[0] if keys else None)


def _read_line(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _good_name(name):
        raise CheckpointError("a checkpoint", "a signature line has no name")
    return name, _decode(name, encoded)


def _decode(what: str, encoded: str) -> bytes:
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise CheckpointError(what, "it is not base64") from None
    if base64.b64encode(data).decode() != encoded:  # one text for one value
        raise CheckpointError(what, "its base64 is not canonical")
    return data


def _good_name(name: str) -> bool:
    return 0 < len(name) <= _NAME_CHARS_MAX and name.isprintable() and not set(name) & {" ", "+"}


def _good_signature(key: NoteKey, text: str, blob: bytes) -> bool:
    if blob[:_ID_BYTES] != key.id:
        return False
    rest, message = blob[_ID_BYTES:], text.encode()
    if key.kind == _COSIGNATURE:
        if len(rest) != _TIME_BYTES + _SIGNATURE_BYTES:
            return False
        message = _cosigned(text, struct.unpack(">Q", rest[:_TIME_BYTES])[0])
        rest = rest[_TIME_BYTES:]
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(rest, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _cosigned(text: str, at_unix_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_unix_s}\n{text}".encode()


def _line(name: str, blob: bytes) -> str:
    return f"{_DASH}{name} {base64.b64encode(blob).decode()}\n"
