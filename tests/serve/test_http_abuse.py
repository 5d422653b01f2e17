"""The HTTP door under abuse: smuggling, floods, clients that stall; each attack has its name.

Everything is bytes on a socket. The door's handler writes down what it was given, and
httptools (llhttp) is the reference for where one request ends and the next begins.
"""

import contextlib
import logging
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio.from_thread
import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skerry.base.clock import SystemClock
from skerry.serve.http_door import HttpDoor
from skerry.serve.http_message import HttpLimits, HttpReply, HttpRequest
from skerry.serve.listening import Listener

LIMITS = HttpLimits(
    head_bytes_max=2048,
    body_bytes_max=65_536,
    head_s=0.3,
    body_pause_s=0.3,
    body_s=0.6,
    idle_s=0.5,
    write_s=0.3,
    linger_s=0.05,
)
PLANTED = b"GET /planted HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"


@dataclass
class Target:
    """A door on a loop of its own, and what its handler was given."""

    port: int = 0
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    answer: list[bytes] = field(default_factory=lambda: [b"ok"])

    async def handle(self, request: HttpRequest) -> HttpReply:
        self.seen.append((request.method, request.path, bytes(request.body)))
        return HttpReply(body=list(self.answer))

    def connect(self, **options: int) -> socket.socket:
        line = socket.socket()
        for name, size in options.items():
            line.setsockopt(socket.SOL_SOCKET, getattr(socket, name), size)
        line.settimeout(10)
        line.connect(("127.0.0.1", self.port))
        return line

    def tell(self, data: bytes) -> bytes:
        """Send everything, say that no more comes, and return all that is answered."""
        with self.connect() as line:
            with contextlib.suppress(ConnectionError):
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)
            return everything(line)


def everything(line: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := line.recv(65_536):
            got += piece
    return got


def statuses(got: bytes) -> list[int]:
    return [int(part[:3]) for part in got.split(b"HTTP/1.1 ")[1:]]


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        found = Target()
        door = HttpDoor(found.handle, clock=SystemClock(), limits=LIMITS)
        found.port = portal.call(door.listen, Listener())
        yield found
        portal.call(door.stop, 1.0)


@pytest.fixture(autouse=True)
def still_well(target: Target, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After every attack: the door serves, at once, and nothing went wrong unheard."""
    target.seen.clear()
    target.answer = [b"ok"]
    with caplog.at_level(logging.WARNING):
        yield
    started_s = time.perf_counter()
    assert statuses(target.tell(PLANTED)) == [200]
    assert time.perf_counter() - started_s < 2
    assert [record for record in caplog.records if record.exc_info] == []


SMUGGLING = {
    "content length, then a coding": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding, then content length": CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde",
    "two equal lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nabcde",
    "a signed length": POST + b"Content-Length: +5\r\n\r\nabcde",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nabcde",
    "a length with a space inside": POST + b"Content-Length: 1 0\r\n\r\nabcde",
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551621\r\n\r\nabcde",
    "an underscore in a length": POST + b"Content-Length: 0_5\r\n\r\nabcde",
    "a space before the colon": POST + b"Content-Length : 5\r\n\r\nabcde",
    "a tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": POST + b"A: b\r\n Content-Length: 5\r\n\r\nabcde",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a first line that is folded": b"POST /a HTTP/1.1\r\n Host: x\r\n\r\n",
    "a coding that is hidden": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked before another coding": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and identity": CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a coding with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET /a HTTP/1.1\nHost: x\n\n",
    "a bare line feed in a head": GET + b"A: b\nContent-Length: 5\r\n\r\nabcde",
    "a bare carriage return in a head": GET + b"A: b\rContent-Length: 5\r\n\r\nabcde",
    "a head that ends in line feeds": GET + b"A: b\r\n\n",
    "a chunk that ends in a line feed": CHUNKED + b"\r\n5\nabcde\r\n0\r\n\r\n",
    "a chunk without its end": CHUNKED + b"\r\n5\r\nabcde0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"\r\n3\r\nabcde\r\n0\r\n\r\n",
    "a chunk size in 0x": CHUNKED + b"\r\n0x5\r\nabcde\r\n0\r\n\r\n",
    "a signed chunk size": CHUNKED + b"\r\n+5\r\nabcde\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"\r\n-1\r\nabcde\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\n\r\nabcde\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"\r\n1" + b"0" * 16 + b"5\r\nabcde\r\n0\r\n\r\n",
    "a line feed in a chunk extension": CHUNKED + b"\r\n5;a\nbb\r\nabcde\r\n0\r\n\r\n",
    "nothing before the colon": GET + b": b\r\n\r\n",
    "no colon": GET + b"Content-Length 5\r\n\r\nabcde",
    "a zero byte in a name": GET + b"A\0: b\r\n\r\n",
    "a zero byte in a value": GET + b"A: \0\r\n\r\n",
    "a zero byte in the target": b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a zero byte first": b"\0" + GET + b"\r\n",
    "a control character in a name": GET + b"A\x01B: c\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target": b"GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "an authority as target": b"CONNECT y:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target with no slash": b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
    "an asterisk as target": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2 in clear": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET /a HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/11": b"GET /a HTTP/11\r\nHost: x\r\n\r\n",
    "a version in lower case": b"GET /a http/1.1\r\nHost: x\r\n\r\n",
    "a method that is none": b"G@T /a HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /a HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: y\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "garbage": b"\xff\xfe\xfd" * 50 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_smuggling_is_refused_and_nothing_after_it_is_read(target: Target, name: str) -> None:
    got = target.tell(SMUGGLING[name] + PLANTED)
    assert "/planted" not in [path for _, path, _ in target.seen], target.seen
    assert len(statuses(got)) == 1, got
    assert statuses(got)[0] in (400, 405, 413, 431, 501, 505), got
    assert b"connection: close" in got.lower()


@pytest.mark.parametrize("name", SMUGGLING)
def test_smuggling_after_a_good_request_ends_the_connection_after_its_answer(
    target: Target, name: str
) -> None:
    got = target.tell(GET + b"\r\n" + SMUGGLING[name] + PLANTED)
    assert statuses(got)[0] == 200
    assert len(statuses(got)) == 2, got
    assert "/planted" not in [path for _, path, _ in target.seen]


LEGAL = {
    "an empty line first": (b"\r\n" + GET + b"\r\n", b""),
    "a length of leading zeros": (POST + b"Content-Length: 0005\r\n\r\nabcde", b"abcde"),
    "spaces around a value": (POST + b"Content-Length:   5  \r\n\r\nabcde", b"abcde"),
    "no space after the colon": (POST + b"content-length:5\r\n\r\nabcde", b"abcde"),
    "a coding in upper case": (
        POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        b"abcde",
    ),
    "many small chunks": (CHUNKED + b"\r\n" + b"1\r\na\r\n" * 500 + b"0\r\n\r\n", b"a" * 500),
    "a chunk size of leading zeros": (CHUNKED + b"\r\n005\r\nabcde\r\n000\r\n\r\n", b"abcde"),
    "a chunk extension": (CHUNKED + b'\r\n5;a=b;c="d"\r\nabcde\r\n0\r\n\r\n', b"abcde"),
    "a trailer": (CHUNKED + b"\r\n5\r\nabcde\r\n0\r\nA: b\r\n\r\n", b"abcde"),
    "an empty value": (GET + b"A:\r\n\r\n", b""),
    "a value beyond ASCII": (GET + b"A: \xc3\xa6\xff\r\n\r\n", b""),
    "a body with a GET": (GET + b"Content-Length: 5\r\n\r\nabcde", b"abcde"),
    "a body that reads like a request": (
        POST + b"Content-Length: %d\r\n\r\n" % len(PLANTED) + PLANTED,
        PLANTED,
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_is_odd_but_legal_is_taken_and_the_next_request_is_found(
    target: Target, name: str
) -> None:
    data, body = LEGAL[name]
    assert statuses(target.tell(data + PLANTED)) == [200, 200]
    assert [one[1:] for one in target.seen] == [("/a", body), ("/planted", b"")]


OLD = {
    "HTTP/0.9": b"GET /a\r\n\r\n",
    "HTTP/1.0": b"GET /a HTTP/1.0\r\n\r\n",
    "HTTP/1.0 with a coding": b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", OLD)
def test_a_request_of_an_old_version_is_the_last_of_its_connection(
    target: Target, name: str
) -> None:
    assert len(statuses(target.tell(OLD[name] + PLANTED))) == 1
    assert "/planted" not in [path for _, path, _ in target.seen]


@pytest.mark.parametrize("wanted", [b"websocket", b"h2c"])
def test_an_offered_upgrade_is_never_taken(target: Target, wanted: bytes) -> None:
    """It is passed over, and what follows it is HTTP/1.1: Java's client offers h2c each time."""
    got = target.tell(GET + b"Connection: Upgrade\r\nUpgrade: %s\r\n\r\n" % wanted + PLANTED)
    assert statuses(got) == [200, 200], got


def test_a_trailer_cannot_change_what_the_head_said(target: Target) -> None:
    trailers = b"Content-Length: 50\r\nHost: y\r\nTransfer-Encoding: gzip\r\n"
    got = target.tell(CHUNKED + b"\r\n1\r\na\r\n0\r\n" + trailers + b"\r\n" + PLANTED)
    assert statuses(got) in ([200, 200], [400])


class Reference:
    """llhttp's reading of the same bytes: what was complete, up to the first fault."""

    def __init__(self, data: bytes) -> None:
        self.found: list[tuple[str, str, bytes]] = []
        self.parser = httptools.HttpRequestParser(self)
        self.on_message_begin()
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.url, self.body = b"", b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        path = self.url.partition(b"?")[0].decode("latin-1")
        self.found.append((self.parser.get_method().decode(), path, self.body))


WHOLE = [data for data, _ in LEGAL.values()] + list(SMUGGLING.values())
TOKENS = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\0", b"0", b"5", b"chunked"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"a" * 3000),
]


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """A few requests, good and bad, with tokens put in, doubled, or taken out."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(WHOLE), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(("put", "cut", "flip")))
        if kind == "put":
            data[at:at] = draw(st.sampled_from(TOKENS) | st.binary(max_size=4))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


@settings(max_examples=150, deadline=None)
@given(conversations(), st.lists(st.integers(1, 200), max_size=4))
@example(CHUNKED + b"\r\n5\r\nabcde\r\n0\r\n\r\n" + PLANTED, [70, 71])
def test_the_door_never_sees_a_request_that_the_reference_does_not(
    target: Target, data: bytes, cuts: list[int]
) -> None:
    """However the bytes are cut into segments; refusing more than the reference is allowed."""
    target.seen.clear()
    with target.connect() as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            at = 0
            for size in cuts:
                line.sendall(data[at : at + size])
                at += size
            line.sendall(data[at:])
            line.shutdown(socket.SHUT_WR)
        got = everything(line)
    wanted = Reference(data).found
    assert target.seen == wanted[: len(target.seen)]
    answered = statuses(got)
    assert [status for status in answered if status >= 500 and status not in (501, 505)] == []
    assert all(status == 200 for status in answered[:-1])


FLOODS: dict[str, tuple[Callable[[], bytes], int]] = {
    "a target without end": (lambda: b"GET /" + b"a" * 300_000, 431),
    "a method without end": (lambda: b"A" * 300_000, 400),
    "a header name without end": (lambda: GET + b"A" * 300_000, 431),
    "a header value without end": (lambda: GET + b"A: " + b"b" * 300_000, 431),
    "header lines without end": (lambda: GET + b"A: b\r\n" * 50_000, 431),
    "different header lines without end": (
        lambda: GET + b"".join(b"A%d: b\r\n" % number for number in range(30_000)),
        431,
    ),
    "empty lines without end": (lambda: b"\r\n" * 200_000 + b"x", 400),
    "a chunk size without end": (lambda: CHUNKED + b"\r\n" + b"0" * 300_000 + b"g", 400),
    "trailers without end": (lambda: CHUNKED + b"\r\n0\r\n" + b"A: b\r\n" * 50_000, 431),
    "a trailer without end": (lambda: CHUNKED + b"\r\n0\r\nA: " + b"b" * 300_000, 400),
    "chunks without end": (lambda: CHUNKED + b"\r\n" + b"1\r\na\r\n" * 100_000, 413),
    "a body beyond the limit": (lambda: POST + b"Content-Length: 99999999\r\n\r\na", 413),
    "garbage without end": (lambda: random.Random(7).randbytes(300_000), 400),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_cut_off_with_its_reason(target: Target, name: str) -> None:
    """Long before a time limit would end it; all but what the sockets hold stays unsent."""
    make, status = FLOODS[name]
    with target.connect() as line:
        with contextlib.suppress(ConnectionError):
            line.sendall(make())
        got = everything(line)
    assert target.seen == []
    # A reset may overtake the answer where the client is still sending.
    assert statuses(got) in ([], [status]), got[:300]


def test_a_chunk_extension_without_end_is_cut_off(target: Target) -> None:
    with target.connect() as line:
        line.sendall(CHUNKED + b"\r\n5;")
        started_s = time.perf_counter()
        with contextlib.suppress(ConnectionError, TimeoutError):
            while time.perf_counter() - started_s < 5:
                line.sendall(b"a" * 1000)
                time.sleep(0.01)
        assert time.perf_counter() - started_s < 4
    assert target.seen == []


def test_a_slow_head_is_let_go_however_steadily_it_comes(target: Target) -> None:
    """Slowloris: each byte is progress, the head as a whole is not."""
    with target.connect() as line:
        got, started_s = b"", time.perf_counter()
        with contextlib.suppress(ConnectionError):
            for byte in GET + b"A: b\r\n" * 500:
                line.sendall(bytes([byte]))
                time.sleep(0.02)
                if time.perf_counter() - started_s > 5:
                    break
        assert time.perf_counter() - started_s < 3
        got = everything(line)
    assert statuses(got) in ([408], [])


def test_a_slow_body_is_let_go_however_steadily_it_comes(target: Target) -> None:
    with target.connect() as line:
        line.sendall(POST + b"Content-Length: 60000\r\n\r\n")
        started_s = time.perf_counter()
        with contextlib.suppress(ConnectionError):
            while time.perf_counter() - started_s < 5:
                line.sendall(b"a")
                time.sleep(0.02)
        assert time.perf_counter() - started_s < 3
    assert target.seen == []


def test_slow_clients_do_not_slow_the_others(target: Target) -> None:
    """Two hundred half-sent heads are open; a good client is answered as if alone."""
    with contextlib.ExitStack() as lines:
        for _ in range(200):
            lines.enter_context(target.connect()).sendall(b"GET /a HT")
        started_s = time.perf_counter()
        assert statuses(target.tell(PLANTED)) == [200]
        assert time.perf_counter() - started_s < 2


def test_an_idle_connection_is_closed_in_silence(target: Target) -> None:
    with target.connect() as line:
        started_s = time.perf_counter()
        assert everything(line) == b""
        assert 0.3 < time.perf_counter() - started_s < 3


def test_who_does_not_read_the_answers_is_let_go(target: Target) -> None:
    """Slow read: a large answer, a tiny window, and a client that takes nothing."""
    target.answer = [b"a" * 4_000_000]
    with target.connect(SO_RCVBUF=2048) as line:
        line.sendall((GET + b"\r\n") * 8)
        time.sleep(1.0)
        got = 0
        with contextlib.suppress(ConnectionError):
            while piece := line.recv(65_536):
                got += len(piece)
    assert got < 8_000_000
    assert len(target.seen) <= 2  # nothing is computed for somebody who does not listen


def test_who_reads_slowly_but_reads_gets_everything(target: Target) -> None:
    target.answer = [b"a" * 300_000]
    with target.connect(SO_RCVBUF=8192) as line:
        line.sendall(PLANTED)
        got = b""
        while piece := line.recv(16_384):
            got += piece
            time.sleep(0.002)
    assert got.endswith(b"a" * 300_000)


def test_a_reset_at_any_point_harms_nobody(target: Target) -> None:
    whole = POST + b"Content-Length: 5\r\n\r\nabcde" + GET + b"\r\n"
    target.answer = [b"a" * 100_000]
    for cut in range(1, len(whole) + 1, 5):
        line = target.connect()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.sendall(whole[:cut])
        line.close()


def test_connections_that_come_and_go_leave_nothing_behind(target: Target) -> None:
    """More of them than the door may hold at once, each ended in another way."""
    ends: list[Any] = [b"", b"GET", PLANTED, POST + b"Content-Length: 9\r\n\r\na", b"\0"]
    for number in range(LIMITS.connections_max + 50):
        with target.connect() as line:
            line.sendall(ends[number % len(ends)])
