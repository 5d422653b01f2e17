"""Calls to the HTTP API of region and central: plain, blocking, standard library only.

What the other side refuses comes back as `RemoteError` with its own code, text, hint and
exit code, so a person at the command line reads what the server meant.

Units:   seconds.
Errors:  RemoteError where it answered with a refusal, CallFailedError where it did not answer.
"""

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from skerry.base.errors import Exit
from skerry.schema.api import ApiError, ErrorReply
from skerry.spine.errors import SpineError
from skerry.trust.tls import explain_tls_error

CALL_S_MAX = 30.0
REPLY_BYTES_MAX = 64 * 1024 * 1024

T = TypeVar("T", bound=msgspec.Struct)


class CallFailedError(SpineError):
    """Region or central could not be asked: nothing listens, the name is wrong, or TLS failed."""

    code = "E0344"
    exit_code = Exit.UNREACHABLE

    def __init__(self, url: str, why: str) -> None:
        super().__init__(url, why)
        self.url, self.why = url, why

    def __str__(self) -> str:
        return f"{self.url} did not answer: {self.why}"

    @property
    def hint(self) -> str:
        """Name the usual reasons."""
        return "check that the process runs and that this machine can reach it"


class RemoteError(SpineError):
    """Region or central refused the call, for the reason it gives.

    The code in brackets is the other side's own; `skerry help` explains it.
    """

    code = "E0345"

    def __init__(self, url: str, status: int, error: ApiError) -> None:
        super().__init__(url, status, error)
        self.url, self.status, self.error = url, status, error
        with_exit = error.exit_code in Exit.__members__.values()
        self.exit_code = Exit(error.exit_code) if with_exit else Exit.BAD_OUTCOME  # type: ignore[misc]  # as told

    def __str__(self) -> str:
        return f"{self.error.text} [{self.error.code}]"

    @property
    def hint(self) -> str:
        """Repeat the other side's advice."""
        return self.error.hint


class _NamedConnection(http.client.HTTPSConnection):
    """Dials one address and checks the certificate against another name."""

    def __init__(self, address: tuple[str, int], name: str, tls: ssl.SSLContext, timeout_s: float):
        super().__init__(*address, timeout=timeout_s, context=tls)
        self._name, self._tls = name, tls

    def connect(self) -> None:
        """Dial, then shake hands under the name that the certificate must carry."""
        http.client.HTTPConnection.connect(self)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


class ApiClient:
    """One API to call. `tls` is asked at every call, so that a renewed certificate is shown."""

    def __init__(
        self, url: str, *, host: str, tls: Callable[[], ssl.SSLContext], call_s: float = CALL_S_MAX
    ) -> None:
        self.url, self.host = url.rstrip("/"), host
        self._tls, self._call_s = tls, call_s

    def get(self, path: str, kind: type[T], **query: str | int) -> T:
        """Ask for a document."""
        return msgspec.json.decode(
            self._call("GET", f"{path}?{urlencode(query)}" if query else path, None), type=kind
        )

    def send(self, method: str, path: str, body: msgspec.Struct, kind: type[T]) -> T:
        """Send a document and return the one that comes back."""
        return msgspec.json.decode(self._call(method, path, msgspec.json.encode(body)), type=kind)

    def tell(self, method: str, path: str, body: msgspec.Struct) -> None:
        """Send a document to a call that answers with nothing."""
        self._call(method, path, msgspec.json.encode(body))

    def bytes_of(self, path: str) -> bytes:
        """Fetch a small file."""
        return self._call("GET", path, None)

    def upload(self, path: str, file: Path) -> None:
        """Send a file's bytes."""
        with file.open("rb") as body:
            headers = {"content-length": str(file.stat().st_size)}
            self._call("PUT", path, body, headers=headers, timeout_s=600.0)

    def _call(
        self,
        method: str,
        path: str,
        body: object,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        parts = urlsplit(self.url)
        address = (parts.hostname or "", parts.port or 443)
        connection = _NamedConnection(address, self.host, self._tls(), timeout_s or self._call_s)
        headers = headers or {"content-type": "application/json"}
        try:
            status, content = _exchange(connection, method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            why = explain_tls_error(error)
            raise CallFailedError(
                f"{method} {self.url}{path}", str(why) or type(why).__name__
            ) from error
        finally:
            connection.close()
        if len(content) > REPLY_BYTES_MAX:
            raise CallFailedError(f"{method} {self.url}{path}", "the reply is too large")
        if status >= 400:
            raise RemoteError(self.url, status, _said(status, content))
        return content


def _exchange(
    connection: http.client.HTTPSConnection,
    method: str,
    path: str,
    body: object,
    headers: dict[str, str],
) -> tuple[int, bytes]:
    refused: OSError | None = None
    try:
        connection.request(method, path, body, headers)  # type: ignore[arg-type]  # bytes, file or None
    except (BrokenPipeError, ConnectionResetError) as error:
        # A server that refuses a long body answers and closes before it has read all of it.
        refused = error
    try:
        response = connection.getresponse()
        return response.status, response.read(REPLY_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException):
        if refused is not None:
            raise refused from None
        raise


def _said(status: int, content: bytes) -> ApiError:
    try:
        return msgspec.json.decode(content, type=ErrorReply).error
    except msgspec.DecodeError:
        return ApiError(
            code="E0345", kind="", text=f"status {status}", hint="", exit_code=Exit.BAD_OUTCOME
        )
