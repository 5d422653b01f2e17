"""Calls to one upstream server: its address, its headers, its errors as ours.

A header's secret is read when a call needs it, so a file that changed counts from the next
call on; it is never part of an error or a log line.

Errors:  UpstreamRefusedError, UpstreamFailedError, UpstreamDownError; those of HttpClient.
"""

import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.base.http_client import Address, Answer, HttpClient, Piece
from skerry.base.http_stream import StreamedAnswer, open_stream
from skerry.schema.openai import error_text
from skerry.schema.upstream import Secret, Upstream, base_of
from skerry.serve.upstream_errors import (
    UpstreamDownError,
    UpstreamFailedError,
    UpstreamRefusedError,
)

Document = TypeVar("Document")
Headers = list[tuple[str, str]]

PROBE_S_MAX = 5.0
SECRET_BYTES_MAX = 8 * 1024
ERROR_BYTES_MAX = 64 * 1024
_BUSY = (429, 503)
_OUR_FAULT = (401, 403, 407)  # the key is ours, so no client can mend it


class UpstreamCalls:
    """One server, as one model's file describes it."""

    def __init__(
        self,
        name: str,
        settings: Upstream,
        *,
        tls: ssl.SSLContext | None,
        secrets: Path | None,
        port: int | None = None,
    ) -> None:
        self.settings = settings
        self._name = name
        host, stated, over_tls, self._base = base_of(settings.url)
        self._address = Address(host, port or stated, over_tls)
        self._tls, self._secrets = tls, secrets
        self._client = HttpClient(tls)

    async def look(self, path: str) -> None:
        """Raise unless the server answers 2xx at an absolute path of its."""
        answer = await self._client.call(
            self._address, "GET", path, headers=self._headers(), deadline_s=PROBE_S_MAX
        )
        if not 200 <= answer.status < 300:
            raise UpstreamDownError(self._name, f"{path} answered {answer.status}")

    async def ask(
        self, method: str, path: str, headers: Headers, body: Sequence[Piece], left_s: float
    ) -> Answer:
        """Send one request below the base address and return the whole answer, status 200."""
        answer = await self._client.call(
            self._address,
            method,
            self._base + path,
            headers=[*headers, *self._headers()],
            body=body,
            deadline_s=left_s,
        )
        if answer.status != 200:
            raise self._error(answer.status, answer.headers, bytes(answer.body))
        return answer

    async def begin(
        self, path: str, headers: Headers, body: Sequence[Piece], left_s: float
    ) -> StreamedAnswer:
        """Send one request and return its answer as it begins, status 200."""
        answer = await open_stream(
            self._address,
            "POST",
            self._base + path,
            headers=[*headers, *self._headers()],
            body=body,
            tls=self._tls,
            begin_s_max=left_s,
        )
        if answer.status != 200:
            text = await answer.read(ERROR_BYTES_MAX)
            raise self._error(answer.status, answer.headers, text)
        return answer

    def decoded(self, body: bytes | bytearray, kind: type[Document]) -> Document:
        """Read a JSON document that the server sent."""
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamFailedError(self._name, f"not what was asked for ({error})") from error

    def close(self) -> None:
        """Close every kept connection."""
        self._client.close()

    def _headers(self) -> Headers:
        return [(name, self._value(secret)) for name, secret in self.settings.headers.items()]

    def _value(self, secret: Secret) -> str:
        if secret.env:
            value = os.environ.get(secret.env, "")
            where = f"environment variable {secret.env}"
        else:
            value, where = "", f"secret {secret.file}"
            if self._secrets is not None:
                try:
                    with (self._secrets / secret.file).open("rb") as file:
                        value = file.read(SECRET_BYTES_MAX).decode("latin-1").strip()
                except OSError as error:
                    raise UpstreamDownError(self._name, f"{where}: {error.strerror}") from error
        if not value or "\r" in value or "\n" in value:
            raise UpstreamDownError(self._name, f"{where} holds no single line")
        return secret.prefix + value

    def _error(self, status: int, headers: dict[str, str], body: bytes) -> Exception:
        text = error_text(body)
        if status in _BUSY:
            after = headers.get("retry-after", "")
            wait_s = float(after) if after.isascii() and after.isdigit() and len(after) < 5 else 1.0
            return UpstreamDownError(self._name, f"it answered {status}: {text}", wait_s)
        if 400 <= status < 500 and status not in _OUR_FAULT:
            return UpstreamRefusedError(self._name, status, text)
        return UpstreamFailedError(self._name, f"it answered {status}: {text}")
