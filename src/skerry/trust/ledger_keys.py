"""The key that signs a ledger's checkpoints: made on first use, replaced every 90 days.

A new key is named in a checkpoint that both keys sign, so whoever knows the first key can
follow. Old public keys stay in those checkpoints for ever; old private keys are overwritten.

Units:   unix seconds. Errors: KeyFileError.
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skerry.base.files import write_private
from skerry.base.units import SECONDS_PER_DAY
from skerry.trust.errors import KeyFileError
from skerry.trust.ledger_notes import NoteKey, note_key

KEY_LIFE_S = 90 * SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, and since when it signs."""

    private: Ed25519PrivateKey
    since_unix_s: int

    def public(self, name: str, *, witness: bool = False) -> NoteKey:
        """Return the public side under its holder's name."""
        return note_key(name, self.private, witness=witness)

    def is_old(self, now_unix_s: float) -> bool:
        """Say whether it has signed for long enough."""
        return now_unix_s - self.since_unix_s >= KEY_LIFE_S

    def save(self, path: Path) -> None:
        """Write it, readable by this user only."""
        raw = self.private.private_bytes_raw().hex()
        write_private(path, f"{self.since_unix_s}\n{raw}\n".encode())


def make_key(now_unix_s: float) -> SigningKey:
    """Return a new key."""
    return SigningKey(Ed25519PrivateKey.generate(), int(now_unix_s))


def load_key(path: Path) -> SigningKey | None:
    """Read a key, or None where there is none yet; raises `KeyFileError`."""
    try:
        lines = path.read_text("ascii").split()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(str(path), f"cannot be read: {error}") from error
    try:
        since, raw = lines
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(raw))
        return SigningKey(private, int(since))
    except ValueError as error:
        raise KeyFileError(str(path), f"holds no checkpoint key: {error}") from error


def load_or_make_key(path: Path, now_unix_s: float) -> SigningKey:
    """Read the key, or make the first one."""
    key = load_key(path)
    if key is None:
        key = make_key(now_unix_s)
        key.save(path)
    return key
