"""One HTTP/1.1 call whose answer is read as it comes: for answers that take their time.

A connection of its own, closed when the answer has been read, or when nobody wants the
rest: the other side then sees its client leave. Reading is paused while more than
`WAITING_BYTES_MAX` lie unread, so a slow reader slows the server and fills no memory.

Units:   seconds, bytes.
Errors:  PeerUnreachableError, PeerBrokenError; TimeoutError where no answer begins in time.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final, cast

import httptools

from skerry.base.http_client import (
    CONNECT_S_MAX,
    HEAD_BYTES_MAX,
    Address,
    Piece,
    hang_up,
    request_head,
)
from skerry.base.http_errors import PeerBrokenError, PeerUnreachableError

WAITING_BYTES_MAX: Final = 256 * 1024


class StreamedAnswer(asyncio.Protocol, AsyncIterator[bytes]):
    """Status and headers (lower case) at once, the body piece by piece."""

    def __init__(self, where: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._where = where
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = self._head_bytes = 0
        self._paused = self._begun = self._complete = False
        self._error: Exception | None = None
        self._moved = asyncio.Event()

    async def begin(self) -> None:
        """Wait for the head of the answer."""
        while not self._begun and self._error is None:
            await self._wait()
        if self._error is not None and not self._begun:
            raise self._error

    async def __anext__(self) -> bytes:
        """Return the next piece of the body."""
        while not self._pieces:
            if self._complete:
                self.close()
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            await self._wait()
        piece = self._pieces.popleft()
        self._waiting_bytes -= len(piece)
        if self._paused and self._waiting_bytes <= WAITING_BYTES_MAX and self._transport:
            self._paused = False
            self._transport.resume_reading()
        return piece

    async def read(self, bytes_max: int) -> bytes:
        """Return the rest of the body, up to a limit, and close."""
        body = bytearray()
        async for piece in self:
            body += piece
            if len(body) > bytes_max:
                break
        self.close()
        return bytes(body[:bytes_max])

    def close(self) -> None:
        """Close the connection, whatever was read."""
        if self._transport is not None:
            hang_up(self._transport)

    # What the event loop and the parser call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def send(self, head: bytes, body: Sequence[Piece]) -> None:
        """Send the request."""
        assert self._transport is not None  # noqa: S101 - the connection was made
        self._transport.writelines((head, *body))

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(PeerBrokenError(self._where, f"not HTTP: {error}"))
        if self._waiting_bytes > WAITING_BYTES_MAX and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()
        self._moved.set()

    def eof_received(self) -> None:
        """Let a body without a length end here."""
        if self._begun and not self._complete and not self._framed():
            self._complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the reader, unless all has come."""
        if not self._complete:
            self._fail(PeerUnreachableError(self._where, "the connection broke within the answer"))
        self._moved.set()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._fail(PeerBrokenError(self._where, f"a head of over {HEAD_BYTES_MAX} bytes"))
            return
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Let the caller have status and headers."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status, self._begun = status, True

    def on_body(self, body: bytes) -> None:
        """Queue a piece."""
        self._pieces.append(body)
        self._waiting_bytes += len(body)

    def on_message_complete(self) -> None:
        """Note the end, unless an interim answer ended."""
        self._complete = self._begun

    def _framed(self) -> bool:
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self.close()

    async def _wait(self) -> None:
        self._moved.clear()
        await self._moved.wait()


async def open_stream(
    address: Address,
    method: str,
    path: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: Sequence[Piece] = (),
    tls: ssl.SSLContext | None = None,
    begin_s_max: float,
) -> StreamedAnswer:
    """Send one request and return once the head of its answer is there."""
    where = str(address)
    if address.tls and tls is None:
        raise PeerUnreachableError(where, "it wants TLS, and no roots to trust were given")
    head = request_head(address, method, path, headers, sum(len(piece) for piece in body))
    async with asyncio.timeout(begin_s_max):
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                loop = asyncio.get_running_loop()
                if address.socket:
                    _, answer = await loop.create_unix_connection(
                        lambda: StreamedAnswer(where), address.socket
                    )
                else:
                    name = address.server_name or address.host
                    _, answer = await loop.create_connection(
                        lambda: StreamedAnswer(where),
                        address.host,
                        address.port,
                        ssl=tls if address.tls else None,
                        server_hostname=name if address.tls else None,
                    )
        except TimeoutError as error:
            raise PeerUnreachableError(where, f"no connection in {CONNECT_S_MAX:g} s") from error
        except ssl.SSLError as error:
            raise PeerUnreachableError(where, f"TLS: {error.reason or error}") from error
        except OSError as error:
            raise PeerUnreachableError(where, error.strerror or str(error)) from error
        try:
            answer.send(head, body)
            await answer.begin()
        except BaseException:
            answer.close()
            raise
    return answer
