"""Link emulator: TCP through a proxy that delays, limits, cuts or swallows, all on one machine.

Each link is a listening port that leads to one target. Bytes keep their order: a chunk leaves
`delay + jitter` after it came, but never before the one ahead of it, and no faster than the
bandwidth. What it shows is *emulated*: no loss, no slow start, no competing traffic.

    open         carries
    cut          connections are reset, new ones are refused with a reset
    black-hole   connections stay and are accepted; nothing passes, and nobody is told

Run it as a process: `python -m skerry.spine.link CONFIG.json` (a `LinksConfig`).

Units:  ms one way, bits per second, bytes.
Errors: LinkError.
"""

import asyncio
import os
import random
import socket
import struct
import sys
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from skerry.base.processes import end_with_parent
from skerry.base.units import MS_PER_SECOND
from skerry.spine.errors import LinkError

_CHUNK_BYTES = 1 << 14
_IN_FLIGHT_BYTES_MAX = 1 << 20
_LINE_BYTES_MAX = 1 << 12
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: closing sends RST
_STATES = ("open", "cut", "black-hole")


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One link: dialed at `listen_port`, ending at the target. Bandwidth 0 is no limit."""

    name: str
    listen_port: int
    target_host: str
    target_port: int
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    bandwidth_bit_per_s: float = 0.0
    listen_host: str = "127.0.0.1"


class LinksConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All links of one process, and the path of the Unix socket that controls them."""

    links: tuple[LinkSpec, ...]
    control: str
    seed: int = 0


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One link now. `up` runs from the dialing side to the target."""

    name: str
    state: str
    delay_ms: float
    connections: int
    up_bytes: int
    down_bytes: int


class LinkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One line to the control socket. `link` may be `*` for all of them."""

    link: str
    state: str = ""
    delay_ms: float | None = None


class LinkAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The line that comes back."""

    error: str = ""
    links: tuple[LinkStatus, ...] = ()


class _Link:
    """One emulated link and its live connections."""

    def __init__(self, spec: LinkSpec, rng: random.Random) -> None:
        self.spec, self.rng = spec, rng
        self.delay_ms = spec.delay_ms
        self.state = "open"
        self.moved = [0, 0]  # bytes up, bytes down
        self.free_s = [0.0, 0.0]  # when the shared wire is free again, each way
        self.pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter | None]] = set()
        self.flowing = asyncio.Event()
        self.flowing.set()

    def turn(self, state: str) -> None:
        self.state = state
        if state == "black-hole":
            self.flowing.clear()
        else:
            self.flowing.set()
        if state == "cut":
            for pair in self.pairs:
                for end in pair:
                    _reset(end)

    def status(self) -> LinkStatus:
        return LinkStatus(
            name=self.spec.name,
            state=self.state,
            delay_ms=self.delay_ms,
            connections=len(self.pairs),
            up_bytes=self.moved[0],
            down_bytes=self.moved[1],
        )

    def due_s(self, now_s: float, size: int, way: int, after_s: float) -> float:
        """Return when a chunk that came now leaves at the other end."""
        start_s = now_s
        if self.spec.bandwidth_bit_per_s:
            start_s = max(now_s, self.free_s[way])
            self.free_s[way] = start_s + size * 8 / self.spec.bandwidth_bit_per_s
            start_s = self.free_s[way]
        jitter_ms = self.rng.uniform(0, self.spec.jitter_ms) if self.spec.jitter_ms else 0.0
        return max(after_s, start_s + (self.delay_ms + jitter_ms) / MS_PER_SECOND)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.state == "cut":
            _reset(writer)
            return
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter | None] = (writer, None)
        self.pairs.add(pair)
        try:
            await self.flowing.wait()  # a black hole accepts, and dials nobody
            far_reader, far_writer = await asyncio.open_connection(
                self.spec.target_host, self.spec.target_port
            )
            self.pairs.discard(pair)
            pair = (writer, far_writer)
            self.pairs.add(pair)
            _prompt(writer)
            _prompt(far_writer)
            ways = [
                asyncio.ensure_future(self.carry(reader, far_writer, 0)),
                asyncio.ensure_future(self.carry(far_reader, writer, 1)),
            ]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
        except OSError:
            pass  # an end went away; the other is told below
        finally:
            self.pairs.discard(pair)
            for end in pair:
                _reset(end)

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: int
    ) -> None:
        """Carry one direction until its end: read ahead up to a bound, hand on when due."""
        loop = asyncio.get_running_loop()
        waiting: deque[tuple[float, bytes]] = deque()
        held, due_s, more, room = 0, 0.0, asyncio.Event(), asyncio.Event()

        async def fill() -> None:
            nonlocal held, due_s
            try:
                while True:
                    chunk = await reader.read(_CHUNK_BYTES)
                    due_s = self.due_s(loop.time(), len(chunk), way, due_s)
                    waiting.append((due_s, chunk))
                    held += len(chunk)
                    more.set()
                    if not chunk:
                        return
                    while held > _IN_FLIGHT_BYTES_MAX:  # then TCP itself slows the sender
                        room.clear()
                        await room.wait()
            finally:
                more.set()  # also where reading failed: nobody waits for what will not come

        filling = asyncio.ensure_future(fill())
        try:
            while True:
                while not waiting:
                    if filling.done():
                        filling.result()
                    more.clear()
                    await more.wait()
                at_s, chunk = waiting.popleft()
                if at_s > loop.time():
                    await asyncio.sleep(at_s - loop.time())
                await self.flowing.wait()
                held -= len(chunk)
                room.set()
                if not chunk:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                self.moved[way] += len(chunk)
                writer.write(chunk)
                await writer.drain()
        finally:
            filling.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await filling


def _prompt(writer: asyncio.StreamWriter) -> None:
    plain = writer.get_extra_info("socket")
    if plain is not None:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reset(writer: asyncio.StreamWriter | None) -> None:
    if writer is None or writer.is_closing():
        return
    plain = writer.get_extra_info("socket")
    if plain is not None:
        with suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def run_links(config: LinksConfig, *, ready: asyncio.Event | None = None) -> None:
    """Carry until cancelled. `ready` is set once every port listens."""
    links = {
        spec.name: _Link(spec, random.Random(f"{config.seed}:{spec.name}"))  # noqa: S311
        for spec in config.links
    }
    servers: list[asyncio.Server] = []
    path = Path(config.control)
    try:
        for link in links.values():
            servers.append(
                await asyncio.start_server(
                    link.serve, link.spec.listen_host, link.spec.listen_port, limit=_CHUNK_BYTES
                )
            )
        path.unlink(missing_ok=True)
        servers.append(
            await asyncio.start_unix_server(
                partial(_obey, links), path=str(path), limit=_LINE_BYTES_MAX
            )
        )
        path.chmod(0o600)
        if ready is not None:
            ready.set()
        await asyncio.get_running_loop().create_future()
    finally:
        for server in servers:
            server.close()
        for link in links.values():
            link.turn("cut")
        path.unlink(missing_ok=True)


async def _obey(
    links: dict[str, _Link], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        line = await asyncio.wait_for(reader.readline(), 5)
        writer.write(msgspec.json.encode(_carry_out(links, line)) + b"\n")
        await writer.drain()
    except (OSError, ValueError, TimeoutError):
        pass  # a client that went away or sent no line; the links do not care
    finally:
        writer.close()


def _carry_out(links: dict[str, _Link], line: bytes) -> LinkAnswer:
    try:
        order = msgspec.json.decode(line, type=LinkOrder)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return LinkAnswer(error=f"no order: {error}")
    chosen = list(links.values()) if order.link == "*" else [links.get(order.link)]
    for link in chosen:
        if link is None:
            return LinkAnswer(error=f"no link is named {order.link}")
        if order.state and order.state not in _STATES:
            return LinkAnswer(error=f"{order.state} is not a state, wanted one of {_STATES}")
        if order.delay_ms is not None:
            link.delay_ms = min(60_000.0, max(0.0, order.delay_ms))
        if order.state:
            link.turn(order.state)
    return LinkAnswer(links=tuple(link.status() for link in chosen if link is not None))


class LinkControl:
    """Blocking client of the control socket: one short exchange per call. Raises `LinkError`."""

    def __init__(self, control: Path) -> None:
        self._control = control

    def cut(self, name: str) -> None:
        """Reset what is open, refuse what comes. `*` is every link."""
        self._order(LinkOrder(link=name, state="cut"))

    def black_hole(self, name: str) -> None:
        """Keep and accept connections, carry nothing."""
        self._order(LinkOrder(link=name, state="black-hole"))

    def heal(self, name: str) -> None:
        """Carry again; what a black hole held goes on its way."""
        self._order(LinkOrder(link=name, state="open"))

    def set_delay(self, name: str, delay_ms: float) -> None:
        """Change the one-way delay, for chunks that come from now on."""
        self._order(LinkOrder(link=name, delay_ms=delay_ms))

    def status(self) -> dict[str, LinkStatus]:
        """Return all links as they are now."""
        return {link.name: link for link in self._order(LinkOrder(link="*")).links}

    def _order(self, order: LinkOrder) -> LinkAnswer:
        try:
            with socket.socket(socket.AF_UNIX) as plain:
                plain.settimeout(5)
                plain.connect(str(self._control))
                plain.sendall(msgspec.json.encode(order) + b"\n")
                with plain.makefile("rb") as lines:
                    answer = msgspec.json.decode(lines.readline(1 << 20), type=LinkAnswer)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LinkError(f"link control {self._control}", str(error)) from error
        if answer.error:
            raise LinkError(f"link {order.link}", answer.error)
        return answer


def main() -> int:
    """Run the links of a configuration file until the parent ends or a signal comes."""
    end_with_parent(os.getppid())
    config = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=LinksConfig)
    with suppress(KeyboardInterrupt):
        asyncio.run(run_links(config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
