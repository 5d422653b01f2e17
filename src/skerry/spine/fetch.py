"""Downloads over mutual TLS that resume, end by a deadline, and do not fall for a trickle.

Plain blocking calls, for a worker thread: TUF's client is blocking too, and `http.client`
costs the agent no memory. A certificate is checked against `server_hostname`, whatever
address the URL names. Redirects and compressed answers are refused.

Units:  seconds, bytes, bytes per second (averaged over `_RATE_WINDOW_S`).
Errors: BlobFetchError, BlobMismatchError, BlobStoreFullError.
"""

import hashlib
import http.client
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from skerry.spine.blobs import CHUNK_BYTES, BlobStore
from skerry.spine.errors import BlobFetchError, BlobMismatchError

RATE_MIN_BYTES_PER_S = 4096.0
_RATE_WINDOW_S = 5.0
_GAP_S = 10.0


def fetch_blob(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None,
    sha256: str,
    length: int,
    into: BlobStore,
    deadline_s: float = 600.0,
    rate_min_bytes_per_s: float = RATE_MIN_BYTES_PER_S,
) -> Path:
    """Fetch a blob and return where it is; at once if it is here, else from where it broke off.

    Bytes that do not hash to the name are deleted and refused; a transfer that breaks off
    keeps what arrived. One caller per blob at a time.
    """
    if into.has(sha256):
        return into.path(sha256)
    partial = into.partial(sha256)
    have = partial.stat().st_size if partial.exists() else 0
    if have > length:
        partial.unlink()
        have = 0
    into.check_room(length - have)
    with partial.open("ab") as file:
        if have < length:
            chunks = _get(url, ssl_context, server_hostname, have, deadline_s, rate_min_bytes_per_s)
            start = next(chunks)
            if start != b"\x01" and have:  # the source does not resume: from the start, then
                file.truncate(0)
                have = 0
            for chunk in chunks:
                have += len(chunk)
                if have > length:
                    break
                file.write(chunk)
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
    """Yield a file's bytes as they come, at most `length_max` of them."""
    chunks = _get(url, ssl_context, server_hostname, 0, deadline_s, rate_min_bytes_per_s)
    next(chunks)
    got = 0
    for chunk in chunks:
        got += len(chunk)
        if got > length_max:
            raise BlobFetchError(url, f"more than {length_max} bytes")
        yield chunk


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
        raise BlobFetchError(url, "no bytes came in time") from error
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
    until_s = time.monotonic() + deadline_s
    parts = urlsplit(url)
    host, gap_s = parts.hostname or "", min(_GAP_S, deadline_s)
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
        window_s, window_bytes = time.monotonic(), 0
        while True:
            with _words(url):
                chunk = answer.read1(CHUNK_BYTES)
            now_s = time.monotonic()
            if not chunk:
                return
            if now_s > until_s:
                raise BlobFetchError(url, f"not done within {deadline_s:g} s")
            window_bytes += len(chunk)
            if now_s - window_s >= _RATE_WINDOW_S:
                rate = window_bytes / (now_s - window_s)
                if rate < rate_min:
                    raise BlobFetchError(
                        url, f"only {rate:.0f} bytes per second, wanted {rate_min:g}"
                    )
                window_s, window_bytes = now_s, 0
            yield chunk
    finally:
        connection.close()
