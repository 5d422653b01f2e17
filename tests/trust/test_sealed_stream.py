"""Sealed streams: they open with their passphrase, whole, or not at all."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.trust import sealed_stream
from skerry.trust.sealed_stream import CHUNK_BYTES, SealedReader, SealedWriter, SealError

PASSPHRASE = "a stone in the water"


@pytest.fixture(autouse=True, scope="module")
def cheap_guesses() -> object:
    """Every example derives a key twice: the test is of the stream, not of scrypt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed_stream, "_SCRYPT_N", 2)
        yield


def sealed(data: bytes) -> bytes:
    under = io.BytesIO()
    with SealedWriter(under, PASSPHRASE) as writer:
        writer.write(data)
    return under.getvalue()


def opened(data: bytes, passphrase: str = PASSPHRASE) -> bytes:
    return SealedReader(io.BytesIO(data), passphrase).read()


@pytest.mark.parametrize(
    "length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]
)
def test_what_was_sealed_opens(length: int) -> None:
    data = bytes(i % 251 for i in range(length))
    assert opened(sealed(data)) == data


def test_another_passphrase_opens_nothing() -> None:
    with pytest.raises(SealError, match="wrong passphrase"):
        opened(sealed(b"keys"), "a stone in the wafer")


WHOLE = bytes(3 * CHUNK_BYTES)


@settings(max_examples=40, deadline=None)
@given(where=st.integers(0, len(WHOLE) + 100), bit=st.integers(0, 7))
def test_a_changed_bit_is_found_wherever_it_is(where: int, bit: int) -> None:
    data = bytearray(sealed(WHOLE))
    data[where % len(data)] ^= 1 << bit
    with pytest.raises(SealError):
        opened(bytes(data))


@settings(max_examples=40, deadline=None)
@given(kept=st.integers(0, 3 * CHUNK_BYTES))
def test_a_stream_cut_short_is_found(kept: int) -> None:
    with pytest.raises(SealError):
        opened(sealed(WHOLE)[:kept])


def test_chunks_that_changed_places_are_found() -> None:
    data, head, size = sealed(WHOLE), len(sealed(b"")) - 16, CHUNK_BYTES + 16
    first, second = data[head : head + size], data[head + size : head + 2 * size]
    with pytest.raises(SealError, match="changed"):
        opened(data[:head] + second + first + data[head + 2 * size :])


@given(data=st.binary(max_size=200))
def test_bytes_of_any_kind_end_in_a_seal_error(data: bytes) -> None:
    with pytest.raises(SealError):
        opened(data)
