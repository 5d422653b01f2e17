"""A message bus in memory: what `NatsBus` does, without a server, a network or a certificate.

`MemoryHub` is the place where buses meet; its streams outlive them. One contract suite
(`tests/contracts/test_bus.py`) runs on this and on a real server.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from skerry.spine.bus import ACK_WAIT_S, Handler, KeptAck, KeptMessage, Message
from skerry.spine.errors import BusTimeoutError, BusUnreachableError, NobodyListensError


def matches(pattern: str, subject: str) -> bool:
    """Tell whether a subject matches a pattern with `*` (one token) and `>` (the rest)."""
    wanted, parts = pattern.split("."), subject.split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return len(parts) > at
        if at >= len(parts) or part not in ("*", parts[at]):
            return False
    return len(wanted) == len(parts)


@dataclass
class _Kept:
    subject: str
    payload: bytes
    msg_id: str


@dataclass
class _Consumer:
    acked: set[int] = field(default_factory=set)
    out_until_s: dict[int, float] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)


@dataclass
class _Stream:
    subjects: tuple[str, ...]
    max_bytes: int
    kept: dict[int, _Kept] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    consumers: dict[str, _Consumer] = field(default_factory=dict)
    last: int = 0


class MemorySubscription:
    """A standing interest of one `MemoryBus`."""

    def __init__(self, bus: "MemoryBus", subject: str, queue: str, handler: Handler) -> None:
        self.bus, self.subject, self.queue, self.handler = bus, subject, queue, handler

    async def cancel(self) -> None:
        """Stop listening."""
        if self in self.bus.hub.standing:
            self.bus.hub.standing.remove(self)


class MemoryHub:
    """Where buses meet."""

    def __init__(self) -> None:
        self.standing: list[MemorySubscription] = []
        self.streams: dict[str, _Stream] = {}
        self.news = anyio.Event()

    def bus(self) -> "MemoryBus":
        """Return one more client."""
        return MemoryBus(self)


class MemoryBus:
    """`skerry.spine.bus.Bus` without a server. `cut` and `heal` take it away and bring it back."""

    def __init__(self, hub: MemoryHub) -> None:
        self.hub = hub
        self._connected = True

    @property
    def connected(self) -> bool:
        """Whether it is neither cut nor closed."""
        return self._connected

    def cut(self) -> None:
        """Make everything fail as if the server were out of reach."""
        self._connected = False

    def heal(self) -> None:
        """Come back; standing subscriptions are still there."""
        self._connected = True

    def _check(self, what: str) -> None:
        if not self._connected:
            raise BusUnreachableError(what, "memory", "not connected")

    def _takers(self, subject: str) -> list[MemorySubscription]:
        takers: list[MemorySubscription] = []
        queues: set[str] = set()
        for one in self.hub.standing:
            if not one.bus.connected or not matches(one.subject, subject):
                continue
            if one.queue and one.queue in queues:
                continue
            queues.add(one.queue)
            takers.append(one)
        return takers

    async def publish(self, subject: str, payload: bytes) -> None:
        """Send a core message; nobody may be listening."""
        self._check(subject)
        self._keep(subject, payload, "")
        for taker in self._takers(subject):
            await _hand_over(taker, Message(subject, payload))

    async def request(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        """Ask, and return the first answer."""
        self._check(subject)
        takers = self._takers(subject)
        if not takers:
            raise NobodyListensError(subject)
        with anyio.move_on_after(timeout_s):
            for taker in takers:
                answer = await _hand_over(taker, Message(subject, payload))
                if answer is not None:
                    return answer
        raise BusTimeoutError(subject, timeout_s)

    async def subscribe(
        self, subject: str, handler: Handler, *, queue: str = ""
    ) -> MemorySubscription:
        """Call `handler` for each message."""
        standing = MemorySubscription(self, subject, queue, handler)
        self.hub.standing.append(standing)
        return standing

    def _keep(self, subject: str, payload: bytes, msg_id: str) -> KeptAck | None:
        for name, stream in self.hub.streams.items():
            if not any(matches(pattern, subject) for pattern in stream.subjects):
                continue
            if msg_id and msg_id in stream.ids:
                return KeptAck(name, stream.ids[msg_id], True)
            stream.last += 1
            stream.kept[stream.last] = _Kept(subject, payload, msg_id)
            if msg_id:
                stream.ids[msg_id] = stream.last
            while sum(len(one.payload) for one in stream.kept.values()) > stream.max_bytes:
                del stream.kept[min(stream.kept)]
            self.hub.news.set()
            self.hub.news = anyio.Event()
            return KeptAck(name, stream.last, False)
        return None

    async def publish_kept(
        self, subject: str, payload: bytes, *, msg_id: str, timeout_s: float = 5.0
    ) -> KeptAck:
        """Hand over a message for keeping."""
        self._check(subject)
        ack = self._keep(subject, payload, msg_id)
        if ack is None:
            raise NobodyListensError(subject)
        return ack

    async def ensure_stream(
        self, name: str, subjects: Sequence[str], *, max_bytes: int, max_age_s: float
    ) -> bool:
        """Create a stream, or bring an existing one to these limits; True if it was missing."""
        self._check(name)
        missing = name not in self.hub.streams
        stream = self.hub.streams.setdefault(name, _Stream(tuple(subjects), max_bytes))
        stream.subjects, stream.max_bytes = tuple(subjects), max_bytes
        return missing

    async def pull(
        self, stream: str, durable: str, *, limit: int, timeout_s: float
    ) -> list[KeptMessage]:
        """Return up to `limit` messages that were not acknowledged; empty if none came in time."""
        self._check(stream)
        if stream not in self.hub.streams:
            raise NobodyListensError(stream)
        found = self._ready(stream, durable, limit)
        with anyio.move_on_after(timeout_s):
            while not found:
                await self.hub.news.wait()
                found = self._ready(stream, durable, limit)
        return found

    def _ready(self, name: str, durable: str, limit: int) -> list[KeptMessage]:
        stream = self.hub.streams[name]
        consumer = stream.consumers.setdefault(durable, _Consumer())
        now_s = anyio.current_time()
        found: list[KeptMessage] = []
        for sequence, one in stream.kept.items():
            if len(found) == limit:
                break
            if sequence in consumer.acked or consumer.out_until_s.get(sequence, 0.0) > now_s:
                continue
            consumer.out_until_s[sequence] = now_s + ACK_WAIT_S
            consumer.tries[sequence] = consumer.tries.get(sequence, 0) + 1
            found.append(
                KeptMessage(
                    subject=one.subject,
                    payload=one.payload,
                    msg_id=one.msg_id,
                    sequence=sequence,
                    tries=consumer.tries[sequence],
                    reply=f"{name} {durable} {sequence}",
                )
            )
        return found

    async def ack(self, messages: Sequence[KeptMessage]) -> None:
        """Acknowledge: these never come again."""
        self._check("ack")
        for message in messages:
            name, durable, sequence = message.reply.split(" ")
            self.hub.streams[name].consumers[durable].acked.add(int(sequence))

    async def close(self) -> None:
        """Leave."""
        self._connected = False
        self.hub.standing = [one for one in self.hub.standing if one.bus is not self]


async def _hand_over(taker: MemorySubscription, message: Message) -> bytes | None:
    try:
        return await taker.handler(message)
    except Exception:  # a handler's slip must not reach the sender, as on a real server
        return None
