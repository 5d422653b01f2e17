"""The message bus as every process sees it; `NatsBus` is the real one.

Two kinds of message. *Core* messages (`publish`, `request`, `subscribe`) reach whoever
listens now and are lost otherwise: status reports and nudges, which say when, never what.
*Kept* messages (`publish_kept`, `pull`) are stored by the server before it answers, and
are delivered again until they are acknowledged: records on their way up.

Delivery of kept messages is at least once. The message id saves work inside the server's
dedupe window; what makes a record count once is its key in the store at the end.

Errors: `BusUnreachableError`, `BusTimeoutError`, `NobodyListensError`, `BusRefusedError`.
Subjects: see `skerry.spine.subjects`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

PAYLOAD_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """One core message. A handler's bytes go back to whoever asked; None answers nothing."""

    subject: str
    payload: bytes


Handler = Callable[[Message], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True)
class KeptAck:
    """The server's word that it stored a message; `duplicate` means that it had it already."""

    stream: str
    sequence: int
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMessage:
    """One stored message, delivered. `reply` is what `Bus.ack` needs; `tries` counts from 1."""

    subject: str
    payload: bytes
    msg_id: str
    sequence: int
    tries: int
    reply: str


class Subscription(Protocol):
    """A standing interest in a subject."""

    async def cancel(self) -> None:
        """Stop listening."""
        ...


class Bus(Protocol):
    """What a process may ask of the bus."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        ...

    async def publish(self, subject: str, payload: bytes) -> None:
        """Send a core message; nobody may be listening."""
        ...

    async def request(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        """Ask, and return the first answer."""
        ...

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "") -> Subscription:
        """Call `handler` for each message, one at a time; it lasts across reconnects.

        Members of one `queue` share the messages. An error of the handler is noted, not raised.
        """
        ...

    async def publish_kept(
        self, subject: str, payload: bytes, *, msg_id: str, timeout_s: float = 5.0
    ) -> KeptAck:
        """Hand over a message for keeping; returns once the server has stored it.

        Repeat with the same `msg_id` after any error: the message counts once.
        """
        ...

    async def ensure_stream(
        self, name: str, subjects: Sequence[str], *, max_bytes: int, max_age_s: float
    ) -> bool:
        """Create a stream, or bring an existing one to these limits; True if it was missing."""
        ...

    async def pull(
        self, stream: str, durable: str, *, limit: int, timeout_s: float
    ) -> list[KeptMessage]:
        """Return up to `limit` messages that were not acknowledged; empty if none came in time.

        The durable consumer is created if it is missing. A message that is not acknowledged
        comes again after `ACK_WAIT_S`.
        """
        ...

    async def ack(self, messages: Sequence[KeptMessage]) -> None:
        """Acknowledge, and return once the server knows: these never come again."""
        ...

    async def close(self) -> None:
        """Send what is buffered and leave."""
        ...


ACK_WAIT_S = 10.0
"""How long a pulled message may stay without acknowledgement before it comes again."""
