"""A stream sealed with a passphrase: what a backup is kept in, of any length, in bounded memory.

    magic | salt (16) | nonce prefix (7) | chunk | chunk | ... | last chunk

Each chunk is 64 KiB of plain bytes under AES-256-GCM, its nonce prefix | number (4) | last (1): a
chunk that was changed, moved, repeated or cut off does not open, and a stream that ends early has
no last chunk. The key comes from the passphrase by scrypt.

Errors:  SealError.
Source:  STREAM: Hoang, Reyhanitabar, Rogaway, Vizar: "Online Authenticated-Encryption and its
         Nonce-Reuse Misuse-Resistance", CRYPTO 2015; RFC 7914 (scrypt).
"""

import io
import os
import struct
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from skerry.base.errors import Exit
from skerry.trust.errors import TrustError

MAGIC = b"skerry-sealed/1\n"
CHUNK_BYTES = 64 * 1024
_SALT_BYTES, _PREFIX_BYTES, _TAG_BYTES = 16, 7, 16
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 1  # 32 MiB and about 0.1 s for each guess


class SealError(TrustError):
    """A sealed file does not open: another passphrase, or bytes that were changed or cut off.

    Nothing of it was used. Try the passphrase again, then another copy of the file.
    """

    code = "E0206"
    exit_code = Exit.FILE_INVALID
    reason = "SEAL"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the sealed file does not open: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "check the passphrase, or take another copy of the file"


class SealedWriter(io.RawIOBase):
    """Seals what is written to it into `under`; only `close` makes the stream whole."""

    def __init__(self, under: BinaryIO, passphrase: str) -> None:
        self._under, self._number, self._waiting = under, 0, bytearray()
        salt, self._prefix = os.urandom(_SALT_BYTES), os.urandom(_PREFIX_BYTES)
        self._key = AESGCM(_derive(passphrase, salt))
        under.write(MAGIC + salt + self._prefix)

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, data: Any) -> int:
        """Take bytes; whole chunks are sealed at once, but never the last one."""
        self._waiting += data
        while len(self._waiting) > CHUNK_BYTES:
            self._seal(bytes(self._waiting[:CHUNK_BYTES]), last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(data)

    def close(self) -> None:
        """Seal the last chunk; the file below stays open."""
        if not self.closed:
            self._seal(bytes(self._waiting), last=True)
        super().close()

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        nonce = _nonce(self._prefix, self._number, last=last)
        self._under.write(self._key.encrypt(nonce, chunk, None))
        self._number += 1


class SealedReader(io.RawIOBase):
    """Gives the bytes of a sealed stream, each chunk only after it was found to be genuine."""

    def __init__(self, under: BinaryIO, passphrase: str) -> None:
        head = under.read(len(MAGIC) + _SALT_BYTES + _PREFIX_BYTES)
        if not head.startswith(MAGIC) or len(head) < len(MAGIC) + _SALT_BYTES + _PREFIX_BYTES:
            raise SealError("it does not begin as one")
        salt = head[len(MAGIC) : len(MAGIC) + _SALT_BYTES]
        self._prefix = head[-_PREFIX_BYTES:]
        self._key = AESGCM(_derive(passphrase, salt))
        self._under, self._number, self._open = under, 0, b""
        self._next = under.read(CHUNK_BYTES + _TAG_BYTES)
        self._ended = False

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; 0 at the end. Raises `SealError` at a chunk that is not genuine."""
        while not self._open and not self._ended:
            self._open_next()
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._open))
        view[:count] = self._open[:count]
        self._open = self._open[count:]
        return count

    def _open_next(self) -> None:
        chunk, self._next = self._next, self._under.read(CHUNK_BYTES + _TAG_BYTES)
        self._ended = not self._next
        nonce = _nonce(self._prefix, self._number, last=self._ended)
        try:
            self._open = self._key.decrypt(nonce, chunk, None)
        except InvalidTag as error:
            why = "wrong passphrase, or changed" if self._number == 0 else "changed or cut off"
            raise SealError(f"{why} at byte {self._number * CHUNK_BYTES}") from error
        self._number += 1


def is_sealed(head: bytes) -> bool:
    """Say whether a file that begins with these bytes is a sealed stream."""
    return head.startswith(MAGIC)


def _derive(passphrase: str, salt: bytes) -> bytes:
    kdf = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
    return kdf.derive(passphrase.encode())


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + struct.pack(">IB", number, last)
