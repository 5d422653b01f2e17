"""One small HTTPS call that checks a name while it dials an address.

Certificates of a fleet carry the host of an identity, not the address it happens to
have, so the name to check and the address to dial are two arguments. Blocking; for
control calls of a few kilobytes, not for the request path and not for large files.

Errors:  `OSError` and `http.client.HTTPException` as the standard library raises them.
"""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

CALL_S_MAX = 10.0
REPLY_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back."""

    status: int
    body: bytes


def https_call(
    method: str,
    url: str,
    path: str,
    *,
    tls: ssl.SSLContext,
    name: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = CALL_S_MAX,
    reply_bytes_max: int = REPLY_BYTES_MAX,
) -> HttpReply:
    """Make one call to `url`'s address; its certificate must be valid for `name` (if not empty)."""
    parts = urlsplit(url)
    connection = _NamedConnection(
        parts.hostname or "", parts.port or 443, name=name, tls=tls, timeout_s=timeout_s
    )
    try:
        connection.request(
            method, path, body, {"content-type": "application/json", **(headers or {})}
        )
        response = connection.getresponse()
        return HttpReply(response.status, response.read(reply_bytes_max))
    finally:
        connection.close()


class _NamedConnection(http.client.HTTPSConnection):
    def __init__(
        self, address: str, port: int, *, name: str, tls: ssl.SSLContext, timeout_s: float
    ) -> None:
        super().__init__(address, port, timeout=timeout_s, context=tls)
        self._name, self._tls = name, tls

    def connect(self) -> None:
        """Dial, then shake hands under the name that the certificate must carry."""
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name or None)
