"""Signing tamper events, and checking a series of them: nothing changed, cut out or reordered.

Every event is signed with a key that the event before announced and that is wiped with the
signature, so the series stays true up to the moment in which somebody took the machine over.
The enrolment key, where it is at hand, ties an event to the node as the region knows it.

Errors:  TamperEventsError, which names the first event that does not hold.
Source:  M. Bellare, B. Yee: "Forward-security in private-key cryptography", CT-RSA 2003.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skerry.base.errors import Exit
from skerry.schema.tamper import SignedTamperEvent, TamperEvent, TamperWord
from skerry.trust.errors import TrustError

_CONTEXT = b"skerry.tamper/1\n"
_event = msgspec.json.Decoder(TamperEvent)


class TamperEventsError(TrustError):
    """A node's series of tamper events does not hold: one was changed, cut out or reordered.

    Everything before the event that is named still holds. Treat the machine as taken over:
    docs/how-to/stolen-machine.md.
    """

    code = "E0286"
    exit_code = Exit.REFUSED
    reason = "TAMPER_EVENTS"

    def __init__(self, n: int, why: str) -> None:
        super().__init__(n, why)
        self.n, self.why = n, why

    def __str__(self) -> str:
        return f"tamper event {self.n} {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "what comes before it holds; treat the machine as taken over"


class EventKey:
    """The key that signs one event. `seed` is what is kept until then."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.seed = seed

    @classmethod
    def new(cls) -> "EventKey":
        """Make one."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def public(self) -> str:
        """The public half, in base64."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    def sign(
        self, event: TamperEvent, enrolment_key: EllipticCurvePrivateKey | None
    ) -> SignedTamperEvent:
        """Sign an event; use the key for no other."""
        payload = msgspec.json.encode(event)
        anchor = b""
        if enrolment_key is not None:
            anchor = enrolment_key.sign(_CONTEXT + payload, ECDSA(hashes.SHA256()))
        return SignedTamperEvent(
            payload=payload, signature=self._private.sign(_CONTEXT + payload), anchor=anchor
        )


def digest_of(signed: SignedTamperEvent) -> str:
    """Return what the next event names as `previous`."""
    return hashlib.sha256(signed.payload).hexdigest()


def read_event(signed: SignedTamperEvent, n: int = 0) -> TamperEvent:
    """Return what was signed; raises `TamperEventsError`."""
    try:
        return _event.decode(signed.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TamperEventsError(n, f"cannot be read: {error}") from error


def check_events(
    series: Sequence[SignedTamperEvent],
    *,
    node: str,
    first_key: str = "",
    enrolment_key: EllipticCurvePublicKey | None = None,
) -> list[TamperEvent]:
    """Check a series from any event on and return it, repeated events once.

    `first_key` is the key of the first event where it is known. With an enrolment key, every
    event that says it was anchored must be anchored by that key, the first one among them.
    Raises `TamperEventsError`.
    """
    found: list[TamperEvent] = []
    key, previous = first_key, ""
    for signed in series:
        n = found[-1].n + 1 if found else 0
        event = read_event(signed, n)
        if found and event.n == found[-1].n and digest_of(signed) == previous:
            continue  # it was sent twice
        _check_place(event, found, node, previous)
        _check_signature(signed, event, key)
        if enrolment_key is not None and (signed.anchor or not found):
            _check_anchor(signed, event, enrolment_key)
        found.append(event)
        key, previous = event.next_key, digest_of(signed)
    return found


def _check_place(event: TamperEvent, found: list[TamperEvent], node: str, previous: str) -> None:
    if event.node != node:
        raise TamperEventsError(event.n, f"is of {event.node}, wanted {node}")
    if not found:
        return
    before = found[-1]
    if event.n != before.n + 1:
        raise TamperEventsError(before.n + 1, f"is missing; {event.n} follows {before.n}")
    if event.previous != previous:
        raise TamperEventsError(event.n, "names another event as the one before it")
    if event.boot == before.boot and event.monotonic_ms < before.monotonic_ms:
        raise TamperEventsError(event.n, "is earlier than the one before it")


def _check_signature(signed: SignedTamperEvent, event: TamperEvent, key: str) -> None:
    if not key:  # the first of a part of a series: what vouches for it is its anchor
        return
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        public.verify(signed.signature, _CONTEXT + signed.payload)
    except (binascii.Error, ValueError, InvalidSignature) as error:
        what = "is not signed by the key that the event before it announced"
        raise TamperEventsError(event.n, what) from error


def _check_anchor(
    signed: SignedTamperEvent, event: TamperEvent, key: EllipticCurvePublicKey
) -> None:
    try:
        key.verify(signed.anchor, _CONTEXT + signed.payload, ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise TamperEventsError(event.n, "is not signed by this node's enrolment key") from error


TROUBLES = (TamperWord.LID_OPEN, TamperWord.SENSOR_SILENT, TamperWord.SENSOR_FLAPPING)


def standing_of(events: Sequence[TamperEvent]) -> tuple[set[str], set[tuple[str, TamperWord]]]:
    """Return the sensors that were open last, and what was reacted to since they were well.

    What a process that starts anew goes on from.
    """
    opened: set[str] = set()
    done: set[tuple[str, TamperWord]] = set()
    for event in events:
        match event.word:
            case TamperWord.LID_OPEN:
                opened.add(event.sensor)
            case TamperWord.LID_SHUT:
                opened.discard(event.sensor)
                done.discard((event.sensor, TamperWord.LID_OPEN))
            case TamperWord.SENSOR_BACK:
                done -= {(event.sensor, word) for word in TROUBLES[1:]}
            case TamperWord.REACTED:
                done |= {(event.sensor, word) for word in TROUBLES if word == event.about}
            case TamperWord.CLEARED:
                done.clear()
            case _:
                pass
    return opened, done
