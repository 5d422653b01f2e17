"""Downloads over mutual TLS that resume, end by a deadline, and do not fall for a trickle.

Plain blocking calls, for a worker thread: TUF's client is blocking too, and `http.client`
costs the agent no memory. A certificate is checked against `server_hostname`, whatever
address the URL names. Redirects and compressed answers are refused.

A large file whose chunks are signed is checked chunk by chunk as it comes: what is good stays,
after a cut and after a bad source too, and the next try or the next source goes on from there.

Units:  seconds, bytes, bytes per second (averaged over `_RATE_WINDOW_S`).
Errors: BlobFetchError (BlobSlowError, BlobTooLongError), BlobMismatchError, BlobStoreFullError.
"""

import hashlib
import http.client
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from skerry.base.pace import Pace, PaceLimits
from skerry.spine.blobs import CHUNK_BYTES, BlobStore
from skerry.spine.errors import (
    BlobFetchError,
    BlobMismatchError,
    BlobSlowError,
    BlobTooLongError,
)

RATE_MIN_BYTES_PER_S = 4096.0
_RATE_WINDOW_S = 5.0
_GAP_S = 10.0


@dataclass(frozen=True, slots=True)
class Chunks:
    """The signed digests of a file's parts, each of `size_bytes` but the last."""

    size_bytes: int
    sha256: tuple[str, ...]

    def end(self, index: int, length: int) -> int:
        """Return where a chunk of a file of this length ends."""
        return min((index + 1) * self.size_bytes, length)


def fetch_blob(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None,
    sha256: str,
    length: int,
    into: BlobStore,
    chunks: Chunks | None = None,
    deadline_s: float = 600.0,
    rate_min_bytes_per_s: float = RATE_MIN_BYTES_PER_S,
) -> Path:
    """Fetch a blob and return where it is; at once if it is here, else from where it broke off.

    Bytes that do not hash to the name are deleted and refused, with `chunks` only from the
    first bad one on; a transfer that breaks off keeps what arrived. One caller per blob at a time.
    """
    if into.has(sha256):
        return into.path(sha256)
    partial = into.partial(sha256)
    have = _kept(partial, length, chunks)
    into.check_room(length - have)
    with partial.open("ab") as file:
        if have < length:
            answer = _get(url, ssl_context, server_hostname, have, deadline_s, rate_min_bytes_per_s)
            start = next(answer)
            if start != b"\x01" and have:  # the source does not resume: from the start, then
                file.truncate(0)
                have = 0
            if chunks is None:
                for data in answer:
                    have += len(data)
                    if have > length:
                        break
                    file.write(data)
            else:
                have = _write_chunks(answer, file, have, length, chunks, sha256)
        file.flush()
        os.fsync(file.fileno())
    if have < length:
        raise BlobFetchError(url, f"ended after {have} of {length} bytes")
    found = "more bytes" if have > length else _hash(partial)
    if found != sha256:
        partial.unlink()
        raise BlobMismatchError(sha256, found[:12], f"{length} bytes of its own hash")
    return into.adopt(partial, sha256)


def fetch_file(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None,
    length_max: int,
    deadline_s: float = 30.0,
    rate_min_bytes_per_s: float = RATE_MIN_BYTES_PER_S,
) -> Iterator[bytes]:
    """Yield a file's bytes as they come; raises `BlobTooLongError` past `length_max` of them."""
    chunks = _get(url, ssl_context, server_hostname, 0, deadline_s, rate_min_bytes_per_s)
    next(chunks)
    got = 0
    for chunk in chunks:
        got += len(chunk)
        if got > length_max:
            raise BlobTooLongError(url, f"more than {length_max} bytes")
        yield chunk


def _kept(partial: Path, length: int, chunks: Chunks | None) -> int:
    """Return how much of an earlier try is good, and cut off the rest."""
    have = partial.stat().st_size if partial.exists() else 0
    if have > length:
        partial.unlink()
        return 0
    if not have or chunks is None:
        return have
    good = 0
    with partial.open("r+b") as file:
        for index, wanted in enumerate(chunks.sha256):
            end = chunks.end(index, length)
            if end > have or hashlib.sha256(file.read(end - good)).hexdigest() != wanted:
                break
            good = end
        file.truncate(good)
    return good


def _write_chunks(
    answer: Iterator[bytes],
    file: BinaryIO,
    have: int,
    length: int,
    chunks: Chunks,
    sha256: str,
) -> int:
    """Write what comes, from a chunk's start on; a chunk with other bytes is cut off again."""
    index, digest = have // chunks.size_bytes, hashlib.sha256()
    for data in answer:
        rest = memoryview(data)
        while rest and have < length:
            start, end = index * chunks.size_bytes, chunks.end(index, length)
            part = rest[: end - have]
            file.write(part)
            digest.update(part)
            have, rest = have + len(part), rest[len(part) :]
            if have < end:
                continue
            if digest.hexdigest() != chunks.sha256[index]:
                file.flush()
                file.truncate(start)
                raise BlobMismatchError(sha256, f"chunk {index} of other bytes", "those signed")
            index, digest = index + 1, hashlib.sha256()
        if rest:
            return have + len(rest)  # more than the file may have: the caller refuses it
    return have


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Connection(http.client.HTTPSConnection):
    """HTTPS to any address, with the certificate checked against the name that we want."""

    def __init__(
        self, host: str, port: int, *, context: ssl.SSLContext, name: str, timeout: float
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._skerry_context, self._name = context, name

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._skerry_context.wrap_socket(plain, server_hostname=self._name)
        except BaseException:
            plain.close()
            raise


@contextmanager
def _words(url: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise BlobFetchError(url, f"TLS: {error.reason or error}") from error
    except TimeoutError as error:
        raise BlobSlowError(url, "no bytes came in time") from error
    except (OSError, http.client.HTTPException) as error:
        raise BlobFetchError(url, f"{type(error).__name__}: {error}") from error


def _get(
    url: str,
    context: ssl.SSLContext | None,
    name: str | None,
    offset: int,
    deadline_s: float,
    rate_min: float,
) -> Iterator[bytes]:
    r"""Yield b"\x01" if the answer starts at `offset` (else b"\x00"), then its bytes."""
    parts = urlsplit(url)
    host, gap_s = parts.hostname or "", min(_GAP_S, deadline_s)
    limits = PaceLimits(
        deadline_s=deadline_s,
        gap_s=_GAP_S,
        rate_min_bytes_per_s=rate_min,
        window_s=_RATE_WINDOW_S,
    )
    pace = Pace(limits, time.monotonic())
    secure = parts.scheme == "https"
    if secure != (context is not None) or parts.scheme not in ("https", "http"):
        raise BlobFetchError(url, "https needs a TLS context, http takes none")
    port = parts.port or (443 if secure else 80)
    connection = (
        _Connection(host, port, context=context, name=name or host, timeout=gap_s)
        if context is not None
        else http.client.HTTPConnection(host, port, timeout=gap_s)
    )
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        with _words(url):
            connection.request("GET", target or "/", headers=headers)
            answer = connection.getresponse()
        if answer.status not in (200, 206):
            raise BlobFetchError(url, f"HTTP status {answer.status}", status=answer.status)
        resumed = answer.status == 206
        if resumed and not (answer.headers["Content-Range"] or "").startswith(f"bytes {offset}-"):
            raise BlobFetchError(url, "resumed at another place than asked", status=206)
        yield b"\x01" if resumed else b"\x00"
        while True:
            with _words(url):
                chunk = answer.read1(CHUNK_BYTES)
            if not chunk:
                return
            slow = pace.too_slow(len(chunk), time.monotonic())
            if slow:
                raise BlobSlowError(url, slow)
            yield chunk
    finally:
        connection.close()
