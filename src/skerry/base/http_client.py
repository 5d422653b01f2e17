"""A thin HTTP/1.1 client: pooled keep-alive connections, a deadline and a size limit on each call.

One request at a time per connection, as HTTP/1.1 has it; a call that is cancelled or
late closes its connection. A kept connection may have died unseen: if it breaks before
a single byte of the answer, the call is sent once more on a fresh one (inference and
health questions are idempotent).

Units:   seconds, bytes.
Errors:  PeerUnreachableError, PeerBrokenError; TimeoutError when the deadline passes.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import httptools

from skerry.base.http_errors import PeerBrokenError, PeerUnreachableError

CONNECT_S_MAX: Final = 1.0
IDLE_S_MAX: Final = 20.0
"""Kept connections older than this are closed: doors close theirs after a while too."""
IDLE_MAX: Final = 32
"""Kept connections per address."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
HEAD_BYTES_MAX: Final = 64 * 1024

Piece = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Address:
    """Where to dial. With TLS, `server_name` is the name that the certificate must carry.

    `socket` is the path of a Unix socket, which is dialled in place of host and port.
    """

    host: str
    port: int
    tls: bool = False
    server_name: str = ""
    socket: str = ""

    def __str__(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


@dataclass(slots=True)
class Answer:
    """One HTTP answer; header names are lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


class _Connection(asyncio.Protocol):
    """One connection; also the callbacks of httptools' parser."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer(0)
        self._head_bytes = 0
        self.closed = False
        self.answered = False
        """Whether a byte of the answer under way has come."""
        self.idle_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What uvloop makes for TLS has the methods and not the base class: do not ask for it.
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, head: bytes, body: Sequence[Piece], deadline_s: float) -> Answer:
        assert self._transport is not None  # noqa: S101 - the connection was made
        self._answer, self._head_bytes, self.answered = Answer(0), 0, False
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        self._transport.writelines((head, *body))
        timer = loop.call_later(deadline_s, self._late)  # asyncio.timeout costs several times that
        try:
            return await self._waiting
        finally:
            timer.cancel()
            if self._waiting is None or not self._waiting.done() or self._waiting.cancelled():
                self.closed = True
                hang_up(self._transport)
            self._waiting = None

    def _late(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(TimeoutError())
            self.closed = True
            if self._transport is not None:
                hang_up(self._transport)

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:  # nobody asked: not a connection to trust
            self.close()
            return
        self.answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(PeerBrokenError(self._where, f"not HTTP: {error}"))
        except httptools.HttpParserUpgrade:
            self._fail(PeerBrokenError(self._where, "an upgrade nobody asked for"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._fail(PeerUnreachableError(self._where, "the connection broke before the answer"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._fail(PeerBrokenError(self._where, f"a head of over {HEAD_BYTES_MAX} bytes"))
            return
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        if len(self._answer.body) + len(body) > ANSWER_BYTES_MAX:
            self._fail(PeerBrokenError(self._where, f"an answer of over {ANSWER_BYTES_MAX} bytes"))
            return
        self._answer.body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 100-continue and its like: the answer is still to come
            self._answer = Answer(0)
            return
        self._answer.status = status
        if not self._parser.should_keep_alive():
            self.closed = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._answer)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self.close()


class HttpClient:
    """Connections to any number of addresses. `tls` may be replaced while calls run."""

    def __init__(
        self, tls: ssl.SSLContext | None = None, *, connect_s_max: float = CONNECT_S_MAX
    ) -> None:
        self.tls = tls
        self._connect_s_max = connect_s_max
        self._idle: dict[Address, deque[_Connection]] = {}

    async def call(
        self,
        address: Address,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: Sequence[Piece] = (),
        deadline_s: float,
    ) -> Answer:
        """Send one request and return the whole answer, whatever its status."""
        head = request_head(address, method, path, headers, sum(len(piece) for piece in body))
        ends_s = time.monotonic() + deadline_s
        connection = self._kept(address)
        if connection is not None:
            try:
                return await self._ask(address, connection, head, body, deadline_s)
            except PeerUnreachableError:
                if connection.answered:
                    raise
        async with asyncio.timeout(ends_s - time.monotonic()):
            connection = await self._connect(address)
        return await self._ask(address, connection, head, body, ends_s - time.monotonic())

    def close(self) -> None:
        """Close every kept connection."""
        for kept in self._idle.values():
            for connection in kept:
                connection.close()
        self._idle.clear()

    async def _ask(
        self,
        address: Address,
        connection: _Connection,
        head: bytes,
        body: Sequence[Piece],
        deadline_s: float,
    ) -> Answer:
        answer = await connection.ask(head, body, deadline_s)
        kept = self._idle.setdefault(address, deque())
        if connection.closed or len(kept) >= IDLE_MAX:
            connection.close()
        else:
            connection.idle_since_s = time.monotonic()
            kept.append(connection)
        return answer

    def _kept(self, address: Address) -> _Connection | None:
        """Return the kept connection used last, if one still lives."""
        kept = self._idle.get(address)
        oldest_s = time.monotonic() - IDLE_S_MAX
        while kept:
            connection = kept.pop()
            if not connection.closed and connection.idle_since_s >= oldest_s:
                return connection
            connection.close()
        return None

    async def _connect(self, address: Address) -> _Connection:
        where = str(address)
        if address.tls and self.tls is None:
            raise PeerUnreachableError(where, "it wants TLS, and no roots to trust were given")
        try:
            async with asyncio.timeout(self._connect_s_max):
                loop = asyncio.get_running_loop()
                if address.socket:
                    _, connection = await loop.create_unix_connection(
                        lambda: _Connection(where), address.socket
                    )
                    return connection
                _, connection = await loop.create_connection(
                    lambda: _Connection(where),
                    address.host,
                    address.port,
                    ssl=self.tls if address.tls else None,
                    server_hostname=(address.server_name or address.host) if address.tls else None,
                )
        except TimeoutError as error:
            why = f"no connection in {self._connect_s_max:g} s"
            raise PeerUnreachableError(where, why) from error
        except ssl.SSLError as error:
            raise PeerUnreachableError(where, f"TLS: {error.reason or error}") from error
        except OSError as error:
            raise PeerUnreachableError(where, error.strerror or str(error)) from error
        return connection


def hang_up(transport: asyncio.Transport) -> None:
    """Close so that the other side learns at once that nobody waits for its answer.

    A plain close says only that nothing more is sent, and a server may well go on working.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        with contextlib.suppress(OSError):  # closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def request_head(
    address: Address, method: str, path: str, headers: Sequence[tuple[str, str]], length: int
) -> bytes:
    """Return a request's head; raises `ValueError` for a line break in a header."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}:{address.port}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if method != "GET":
        lines.append(f"content-length: {length}")
    text = "\r\n".join(lines)
    if text.count("\n") >= len(lines) or text.count("\r") >= len(lines):
        raise ValueError("a header may not hold a line break")
    return (text + "\r\n\r\n").encode("latin-1")
