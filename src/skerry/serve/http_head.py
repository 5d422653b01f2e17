"""Request heads: bytes to a judged `Head`, by httptools (llhttp).

A head that arrives byte for byte as before is not parsed again: `Heads` keeps a bounded
number of them, and what a handler settled about a head (its route, its facts) stays with it
in `plan`. What could be read in two ways (two lengths, a length beside an encoding) is
refused, as RFC 9112 section 6.3 wants.

Units:   bytes.
Errors:  HttpError, with the status that the client gets.
"""

from dataclasses import dataclass, field
from typing import Any

import httptools

from skerry.serve.compression import REPLY_CODINGS, REQUEST_CODINGS, accepted
from skerry.serve.errors import HttpError
from skerry.serve.http_message import HttpLimits

END = b"\r\n\r\n"
HEADS_MAX = 512
HEAD_KEPT_BYTES_MAX = 2048

_ONCE = frozenset(
    {
        "accept-encoding",
        "content-length",
        "content-encoding",
        "expect",
        "host",
        "inference-header-content-length",
        "transfer-encoding",
    }
)


@dataclass(slots=True, kw_only=True)
class Head:
    """One request's head, shared by every request that has the same bytes: nobody changes it."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    length: int = 0
    """Bytes of the body; 0 where it is chunked."""
    chunked: bool = False
    keep_alive: bool = True
    expects_continue: bool = False
    coding: str = ""
    """The body's content coding; empty for none."""
    reply_coding: str = ""
    """The content coding that the client would like best; empty for none."""
    streams: bool = True
    """Whether the reply may be chunked: HTTP/1.1."""
    ends_with_client: bool = False
    """Whether a client that sends no more has left: set by handlers whose answers are dear."""
    plan: Any = field(default=None, repr=False)
    """What the handler settled about this head."""


class HeadReader:
    """Reads one head as it arrives; httptools calls the `on_` methods."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self.bytes_fed = self._lines = 0
        self._fault: HttpError | None = None
        self._head: Head | None = None

    def feed(self, data: bytes) -> None:
        """Take a part of the head; raises `HttpError` as soon as it cannot be one."""
        self.bytes_fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # an offer, passed over as RFC 9110 section 7.8 has it: Java's client makes it
        except httptools.HttpParserError as error:
            self._blame(400, f"not an HTTP request: {error}")
        if self.bytes_fed > self._limits.head_bytes_max:
            self._blame(431, f"a head of more than {self._limits.head_bytes_max} bytes")
        if self._fault is not None:
            raise self._fault

    def head(self) -> Head:
        """Return the head; its last byte was fed."""
        if self._head is None:
            raise HttpError(400, "not an HTTP request: the head is not complete")
        return self._head

    def on_url(self, url: bytes) -> None:
        """Take the target, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line."""
        key = name.decode("latin-1").lower()
        if key in self._headers and (key in _ONCE or key.startswith("skerry-")):
            self._blame(400, f"header {key} appears twice")
        self._lines += 1
        if self._lines > self._limits.headers_max:
            self._blame(431, f"more than {self._limits.headers_max} headers")
            return
        self._headers[key] = value.decode("latin-1").rstrip(" \t")

    def on_headers_complete(self) -> None:
        """Judge the head before any byte of the body is taken."""
        headers, version = self._headers, self._parser.get_http_version()
        if "host" not in headers and version == "1.1":
            self._blame(400, "a request without a Host header")
        if not self._url.startswith(b"/"):
            self._blame(400, "the request target is not a path")
        coding = headers.get("transfer-encoding")
        if coding is not None:
            if "content-length" in headers:
                self._blame(400, "both Content-Length and Transfer-Encoding")
            if coding.strip().lower() != "chunked":
                self._blame(501, "a Transfer-Encoding other than chunked")
            if version != "1.1":
                self._blame(400, "a Transfer-Encoding in HTTP/1.0")
        content = headers.get("content-encoding", "identity").strip().lower()
        if content not in REQUEST_CODINGS:
            self._blame(415, f"a body coded other than {', '.join(REQUEST_CODINGS)}")
        expects = headers.get("expect")
        if expects is not None and expects.lower() != "100-continue":
            self._blame(417, "an expectation other than 100-continue")
        length = self._length(headers.get("content-length", "0"))
        self._head = Head(
            method=self._parser.get_method().decode("latin-1"),
            path=self._url.partition(b"?")[0].decode("latin-1"),
            headers=headers,
            length=length,
            chunked=coding is not None,
            keep_alive=self._parser.should_keep_alive(),
            expects_continue=expects is not None,
            coding="" if content == "identity" else content,
            reply_coding=accepted(headers.get("accept-encoding", ""), REPLY_CODINGS),
            streams=version == "1.1",
        )

    def _length(self, text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            self._blame(400, "Content-Length is not a number")
            return 0
        length = int(text[:20])
        if length > self._limits.body_bytes_max:
            self._blame(413, f"a body of more than {self._limits.body_bytes_max} bytes")
        return length

    def _blame(self, status: int, what: str) -> None:
        self._fault = self._fault or HttpError(status, what)


class Heads:
    """The heads that one door has seen lately."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._known: dict[bytes, Head] = {}

    def read(self, data: bytes) -> Head:
        """Return the head that these bytes, up to and with the empty line, are."""
        head = self._known.get(data)
        if head is None:
            reader = HeadReader(self._limits)
            reader.feed(data)
            head = reader.head()
            if len(data) <= HEAD_KEPT_BYTES_MAX:
                if len(self._known) >= HEADS_MAX:
                    self._known.clear()
                self._known[data] = head
        return head
