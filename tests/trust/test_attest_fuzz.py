"""Every parser that meets a stranger's bytes: a value or an `AttestationError`, soon, in bounds."""

import contextlib
import os
import struct
import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skerry.schema.attestation import EVENT_LOG_BYTES_MAX, Evidence, Reference
from skerry.testing.paper_tpm import PaperTpm, attest
from skerry.testing.simulated_boot import simulated_boot
from skerry.testing.swtpm import TestMaker
from skerry.trust.attest.ek_certificate import check_ek
from skerry.trust.attest.errors import AttestationError, MalformedError
from skerry.trust.attest.event_log import (
    EVENTS_MAX,
    Event,
    build_event_log,
    parse_event_log,
    replay,
    variable,
)
from skerry.trust.attest.public_area import parse_public_area
from skerry.trust.attest.quote import parse_quote, signed_by
from skerry.trust.attest.verdict import Asked, judge

LIMIT_S = 0.1
TPM, MAKER = PaperTpm(), TestMaker.create()
LOG = build_event_log(simulated_boot())
QUOTE = attest(b"x" * 32, {0: bytes(32)})
SIGNATURE = TPM.sign(QUOTE)
CERTIFICATE = MAKER.certify(TPM.ak.encoded)


def soon(work: Callable[[], object]) -> None:
    """Run it; it may refuse by name, within the limit of processor time.

    On a busy machine one run may be slow for no reason of its own; three are not.
    """
    took_s = []
    while not took_s or (took_s[-1] >= LIMIT_S and len(took_s) < 3):
        before_s = time.thread_time()
        with contextlib.suppress(AttestationError):
            work()
        took_s.append(time.thread_time() - before_s)
    assert min(took_s) < LIMIT_S


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A real document with bytes changed, dropped or put in, or cut short."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case 1:
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
            case 2:
                del data[at : at + draw(st.integers(1, 16))]
            case _:
                del data[at:]
    return bytes(data)


@given(st.one_of(st.binary(max_size=300), damaged(QUOTE)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_for_a_quote(data: bytes) -> None:
    soon(lambda: parse_quote(data))


@given(st.one_of(st.binary(max_size=300), damaged(SIGNATURE)))
@settings(max_examples=200, deadline=None)
def test_any_bytes_for_a_signature(data: bytes) -> None:
    soon(lambda: signed_by(TPM.ak, QUOTE, data))


@given(st.one_of(st.binary(max_size=300), damaged(TPM.ak.encoded)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_for_a_public_area(data: bytes) -> None:
    soon(lambda: parse_public_area(data, "a key"))


@given(st.one_of(st.binary(max_size=300), damaged(LOG)))
@settings(max_examples=400, deadline=None)
def test_any_bytes_for_an_event_log(data: bytes) -> None:
    def read() -> None:
        events = parse_event_log(data)
        replay(events)
        for event in events:
            variable(event)

    soon(read)


@given(st.one_of(st.binary(max_size=300), damaged(CERTIFICATE)))
@settings(max_examples=300, deadline=None)
@example(b"")
def test_any_bytes_for_an_ek_certificate(data: bytes) -> None:
    soon(lambda: check_ek([data], TPM.ak, MAKER.root_pem, now_unix_s=time.time()))


@given(st.integers(0, len(LOG) - 1))
@settings(deadline=None)
def test_a_log_cut_anywhere_is_shorter_or_refused(end: int) -> None:
    with contextlib.suppress(MalformedError):
        assert len(parse_event_log(LOG[:end])) < len(simulated_boot())


@given(
    st.one_of(st.binary(max_size=200), damaged(QUOTE)),
    st.one_of(st.binary(max_size=200), damaged(SIGNATURE)),
    st.one_of(st.binary(max_size=300), damaged(LOG)),
    st.dictionaries(st.integers(-2, 40), st.binary(max_size=40), max_size=4),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_any_evidence_gets_a_verdict_and_passes_only_if_it_is_whole(
    quoted: bytes, signature: bytes, log: bytes, pcrs: dict[int, bytes], signed: bool
) -> None:
    """Also such as a real attestation key signed, whatever is in it."""
    asked = Asked(nonce=b"n", secret=b"s", ak=TPM.ak, age_s=1)
    evidence = Evidence(
        spiffe_id="x",
        nonce=b"n",
        secret=b"s",
        quoted=quoted,
        signature=TPM.sign(quoted) if signed else signature,
        pcrs=pcrs,
        event_log=log,
    )
    soon(lambda: judge(evidence, asked, Reference(fleet="clinic"), None))
    assert not judge(evidence, asked, Reference(fleet="clinic"), None)[0].passed


def _many(count: int) -> bytes:
    head = build_event_log([])
    one = build_event_log([Event(4, 13, bytes(32), b"")])[len(head) :]
    return head + one * count


def _long() -> bytes:
    """The last event says that it has 2**32 - 1 bytes of data."""
    head = build_event_log([Event(4, 13, bytes(32), b"")])
    return head[:-4] + struct.pack("<I", 0xFFFFFFFF)


def _wide_header() -> bytes:
    """The header says that it is followed by 2**32 - 1 bytes of its own."""
    return LOG[:28] + struct.pack("<I", 0xFFFFFFFF) + LOG[32:]


@pytest.mark.parametrize(
    "data",
    [_many(1_000_000), _many(EVENTS_MAX + 1), _long(), _wide_header(), os.urandom(4 << 20)],
    ids=["10^6 events", "one too many", "length 2^32", "header 2^32", "4 MiB of noise"],
)
def test_a_monstrous_log_is_refused_at_once_and_takes_no_memory(data: bytes) -> None:
    def refuse() -> None:
        with pytest.raises(MalformedError):
            parse_event_log(data)

    soon(refuse)
    tracemalloc.start()
    refuse()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * EVENT_LOG_BYTES_MAX


def test_the_longest_log_that_is_read_is_read_and_replayed_in_time() -> None:
    data = _many(EVENTS_MAX)
    soon(lambda: replay(parse_event_log(data)))
    assert len(parse_event_log(data)) == EVENTS_MAX
