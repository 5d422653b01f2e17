"""Kept answers: the same content only, one class at a time, within bytes and time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.route.cache import ENTRY_BYTES, ResponseCache
from skerry.schema.oip import (
    PARAMETER_ROUTE,
    InferReply,
    InferRequest,
    OutputWish,
    Tensor,
)


def request(
    data: object = b"\x01", *, data_class: str | None = "public", **facts: object
) -> InferRequest:
    array = np.array([data], object) if isinstance(data, bytes) else np.asarray(data)
    datatype = "BYTES" if isinstance(data, bytes) else "FP32"
    facts.setdefault("parameters", {})
    return InferRequest(
        model="m",
        inputs=[Tensor("x", datatype, array.shape, array)],
        data_class=data_class,
        **facts,  # type: ignore[arg-type]
    )


def reply(value: float = 1.0, version: str = "1", size: int = 4) -> InferReply:
    data = np.full((1, size), value, np.float32)
    return InferReply(model="m", version=version, outputs=[Tensor("y", "FP32", data.shape, data)])


@pytest.fixture
def cache() -> ResponseCache:
    return ResponseCache({"public": 10.0}, 100_000)


def test_an_answer_is_given_again_for_the_same_content_under_the_new_requests_id(
    cache: ResponseCache,
) -> None:
    answer = reply(7.0)
    key = cache.key(request())
    assert key is not None
    cache.keep(key, answer, 0.0)
    answer.outputs[0].data[:] = 0  # the engine's buffer is used again
    found = cache.find(key, request(id="second"), 9.9)
    assert found is not None
    assert found.id == "second"
    assert found.outputs[0].data.tolist() == [[7.0] * 4]
    with pytest.raises(ValueError, match="read-only"):
        found.outputs[0].data[:] = 1
    assert cache.find(key, request(), 10.0) is None, "its time is over"
    assert len(cache) == cache.size_bytes == 0


@pytest.mark.parametrize(
    "other",
    [
        request(b"\x02"),
        request(data_class="internal"),
        request(version="2"),
        request(outputs=["y"]),
        request(parameters={"temperature": 0.5}),
        request([1.0]),
    ],
    ids=["content", "class", "version", "outputs", "parameters", "datatype"],
)
def test_whatever_differs_is_another_answer(other: InferRequest) -> None:
    cache = ResponseCache({"public": 10.0, "internal": 10.0}, 100_000)
    assert cache.key(request()) != cache.key(other)


def test_lists_of_files_that_join_to_the_same_bytes_are_not_alike(cache: ResponseCache) -> None:
    one, two = request(), request()
    one.inputs[0].data = np.array([b"ab", b"c"], object)
    two.inputs[0].data = np.array([b"a", b"bc"], object)
    assert cache.key(one) != cache.key(two)


@pytest.mark.parametrize(
    "never",
    [
        request(data_class="health"),
        request(data_class=None),
        request(parameters={"sequence_id": 7}),
        request(parameters={"explain": True}),
        request(wishes={"y": OutputWish(classes=3)}),
    ],
    ids=["class not listed", "no class", "sequence", "explanation", "wish"],
)
def test_some_answers_are_never_kept(cache: ResponseCache, never: InferRequest) -> None:
    assert cache.key(never) is None


def test_when_it_is_wanted_does_not_change_what_an_answer_is(cache: ResponseCache) -> None:
    hurried = request(parameters={"timeout": 1000, "priority": 1})
    assert cache.key(hurried) == cache.key(request())


def test_how_an_answer_came_about_is_not_kept_with_it(cache: ResponseCache) -> None:
    key = cache.key(request())
    assert key is not None
    answer = reply()
    answer.parameters.update({PARAMETER_ROUTE: "{}", "labels": 3})
    cache.keep(key, answer, 0.0)
    found = cache.find(key, request(), 1.0)
    assert found is not None
    assert found.parameters == {"labels": 3}


def test_a_version_that_is_served_no_more_is_not_answered_with(cache: ResponseCache) -> None:
    key = cache.key(request())
    assert key is not None
    cache.keep(key, reply(version="1"), 0.0)
    cache.saw(reply(version="2"))
    assert cache.find(key, request(), 1.0) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3000)), max_size=60))
def test_bytes_are_bounded_and_the_least_used_go_first(puts: list[tuple[int, int]]) -> None:
    cache = ResponseCache({"public": 10.0}, 20 * ENTRY_BYTES)
    for number, size in puts:
        key = cache.key(request(number.to_bytes(1, "big")))
        assert key is not None
        cache.keep(key, reply(size=size), 0.0)
        assert cache.size_bytes <= 20 * ENTRY_BYTES
        fits = ENTRY_BYTES + 4 * size <= 20 * ENTRY_BYTES
        assert (cache.find(key, request(), 1.0) is not None) == fits or not fits
    assert cache.size_bytes >= len(cache) * ENTRY_BYTES
    cache.clear()
    assert len(cache) == cache.size_bytes == 0
