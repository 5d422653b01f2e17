"""Content codings: what was packed comes back, and nothing grows beyond its bound."""

import gzip
import zlib
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.coding import compress
from skerry.serve.compression import REPLY_CODINGS, accepted, decompress
from skerry.serve.errors import HttpError

PACKED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@given(st.lists(st.binary(max_size=200), max_size=5), st.sampled_from(REPLY_CODINGS))
def test_what_is_packed_comes_back(pieces: list[bytes], coding: str) -> None:
    data = b"".join(pieces)
    assert decompress(compress(pieces, coding), coding, bytes_max=2000) == data


@pytest.mark.parametrize("coding", PACKED)
def test_a_bomb_is_refused_and_a_body_that_fits_exactly_is_not(coding: str) -> None:
    packed = PACKED[coding](bytes(10_000_000))
    with pytest.raises(HttpError, match="more than 1000 bytes once decompressed") as caught:
        decompress(packed, coding, bytes_max=1000)
    assert caught.value.http_status == 413
    assert len(decompress(packed, coding, bytes_max=10_000_000)) == 10_000_000


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("spoil", [lambda d: d[:-5], lambda d: d + b"more", lambda d: b"x" + d])
def test_a_spoilt_body_is_refused(coding: str, spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(HttpError) as caught:
        decompress(spoil(PACKED[coding](b"hello" * 100)), coding, bytes_max=10_000)
    assert caught.value.http_status == 400


@given(st.binary(max_size=300), st.sampled_from(REPLY_CODINGS))
def test_noise_is_refused_or_read_and_never_fails_otherwise(noise: bytes, coding: str) -> None:
    with suppress(HttpError):
        assert len(decompress(noise, coding, bytes_max=1000)) <= 1000


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip;q=0", ""),
        ("zstd;q=none, gzip", "gzip"),
        ("br, *", ""),
    ],
)
def test_the_client_chooses_the_coding(header: str, coding: str) -> None:
    assert accepted(header, REPLY_CODINGS) == coding
