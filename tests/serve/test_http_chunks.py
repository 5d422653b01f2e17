"""Chunked bodies: whole however they are cut, and strict wherever two readers could differ."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.serve.errors import HttpError
from skerry.serve.http_chunks import ChunkedBody

pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@given(pieces, st.lists(st.integers(1, 300), max_size=8), st.binary(max_size=20))
def test_a_body_comes_whole_however_it_is_cut(
    parts: list[bytes], cuts: list[int], follows: bytes
) -> None:
    data = chunked(parts) + follows
    body = ChunkedBody(1000)
    edges = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    rest: bytes | None = None
    for start, end in pairwise(edges):
        if rest is None:
            rest = body.feed(data[start:end])
        else:
            rest += data[start:end]
    assert rest == follows
    assert bytes(body.body) == b"".join(parts)


@pytest.mark.parametrize(
    "data",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1;a\nb\r\n",
        b"1;a\0b\r\n",
        b"1 2\r\n",
        b"\r\n",
        b"1\nx\r\n",
        b"000000001\r\nx",
        b"1\r\nxy\r\n",
        b"0\r\nTrailer : x\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\n\n",
        b"1;" + b"a" * 300,
    ],
)
def test_what_two_readers_could_take_differently_is_refused(data: bytes) -> None:
    with pytest.raises(HttpError) as caught:
        ChunkedBody(1000).feed(data)
    assert caught.value.http_status == 400


def test_a_body_too_large_is_refused_before_it_is_kept() -> None:
    body = ChunkedBody(10)
    with pytest.raises(HttpError) as caught:
        body.feed(b"b\r\n")
    assert caught.value.http_status == 413
    assert not body.body


def test_extensions_and_trailers_are_passed_over_within_a_bound() -> None:
    body = ChunkedBody(10)
    assert body.feed(b"1;a=b\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\nnext") == b"next"
    assert bytes(body.body) == b"x"
    with pytest.raises(HttpError) as caught:
        ChunkedBody(10).feed(b"0\r\n" + b"A: b\r\n" * 1000)
    assert caught.value.http_status == 431
