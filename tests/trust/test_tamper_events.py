"""Tamper events: a series holds as it was written, and says at which event it does not."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema.tamper import SignedTamperEvent, TamperEvent, TamperWord
from skerry.trust.identity import new_key
from skerry.trust.tamper_events import (
    EventKey,
    TamperEventsError,
    check_events,
    digest_of,
    standing_of,
)

NODE = "oslo/1"
ENROLMENT = new_key()
WORDS = (TamperWord.WATCH_STARTED, TamperWord.LID_OPEN, TamperWord.REACTED, TamperWord.LID_SHUT)


def series(words: tuple[TamperWord, ...] = WORDS, **changes: object) -> list[SignedTamperEvent]:
    key, found = EventKey.new(), list[SignedTamperEvent]()
    for n, word in enumerate(words, start=1):
        following = EventKey.new()
        event = TamperEvent(
            node=NODE,
            n=n,
            boot="b",
            at_unix_ms=n,
            monotonic_ms=n,
            word=word,
            sensor="lid",
            about="LID_OPEN",
            previous=digest_of(found[-1]) if found else "",
            next_key=following.public,
        )
        found.append(key.sign(event, ENROLMENT if n == 1 else None))
        key = following
    return found


def check(events: list[SignedTamperEvent]) -> list[TamperEvent]:
    return check_events(events, node=NODE, enrolment_key=ENROLMENT.public_key())


def test_a_series_holds_as_it_was_written() -> None:
    assert [event.word for event in check(series())] == list(WORDS)


def test_an_event_that_was_sent_twice_counts_once() -> None:
    events = series()
    assert len(check([*events[:2], events[1], *events[2:]])) == 4


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda e: [e[0], e[2], e[3]], "event 2 is missing"),
        (lambda e: [e[0], e[2], e[1], e[3]], "event 2 is missing"),
        (
            lambda e: [e[0], msgspec.structs.replace(e[1], signature=e[2].signature), *e[2:]],
            "event 2 is not signed by the key",
        ),
        (
            lambda e: [
                *e[:2],
                msgspec.structs.replace(e[2], payload=e[2].payload.replace(b"lid", b"lod")),
                e[3],
            ],
            "event 3 is not signed by the key",
        ),
        (lambda e: [*series()[:2], *e[2:]], "event 3 names another event"),
        (lambda e: [msgspec.structs.replace(e[0], anchor=b""), *e[1:]], "enrolment key"),
        (lambda e: [msgspec.structs.replace(e[0], payload=b"{"), *e[1:]], "cannot be read"),
    ],
)
def test_what_was_changed_is_named(spoil: object, text: str) -> None:
    with pytest.raises(TamperEventsError, match=text):
        check(spoil(series()))  # type: ignore[operator]


def test_the_events_of_another_node_do_not_count() -> None:
    with pytest.raises(TamperEventsError, match="wanted oslo/2"):
        check_events(series(), node="oslo/2")


def test_who_has_the_last_key_can_go_on_but_not_change_what_was() -> None:
    """The keys of earlier events are gone, so a new past cannot be signed."""
    events = series()
    forged = series((TamperWord.WATCH_STARTED, TamperWord.LID_SHUT))
    with pytest.raises(TamperEventsError):
        check_events([events[0], forged[1]], node=NODE)


def test_a_process_goes_on_from_what_was_open_and_what_was_done() -> None:
    events = check(series(WORDS[:3]))
    assert standing_of(events) == ({"lid"}, {("lid", TamperWord.LID_OPEN)})
    assert standing_of(check(series())) == (set(), set())


@given(st.binary(max_size=300), st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_are_a_named_error(payload: bytes, signature: bytes, anchor: bytes) -> None:
    started_s = time.perf_counter()
    wild = SignedTamperEvent(payload=payload, signature=signature, anchor=anchor)
    with pytest.raises(TamperEventsError):
        check([*series()[:1], wild])
    assert time.perf_counter() - started_s < 0.1
