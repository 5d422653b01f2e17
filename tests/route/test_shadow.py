"""Shadow mode: the caller never waits for it, nothing leaves that may not, all is counted."""

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.clock import SystemClock
from skerry.base.drive import begin
from skerry.base.errors import SkerryError
from skerry.route.errors import ShadowFileError
from skerry.route.shadow import AT_ONCE_MAX, FAILURES_MAX, Shadow, Target
from skerry.route.shadow_compare import compare
from skerry.route.shadow_files import (
    ExampleFolder,
    ShadowExample,
    goes_on,
    read_record,
    record_path,
    records_in,
    write_record,
)
from skerry.schema.oip import InferReply, InferRequest, Tensor
from skerry.schema.shadow import (
    PAIRS_MAX,
    PARAMETER_SHADOW,
    ShadowRecord,
    ShadowRule,
    wrong_in,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock(SystemClock):
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def unix_s(self) -> float:
        return 1_700_000_000 + self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


def scores(*values: float, name: str = "y") -> Tensor:
    data = np.array([values], np.float32)
    return Tensor(name, "FP32", data.shape, data)


def request(model: str = "m", **changes: Any) -> InferRequest:
    return InferRequest(model=model, inputs=[scores(1, 2, name="x")], **changes)


async def primary(request: InferRequest) -> InferReply:
    return InferReply(model=request.model, version="1", outputs=[scores(0.1, 0.9)])


def rule(**changes: Any) -> ShadowRule:
    return ShadowRule(**{"model": "m", "candidate": "new", "share": 1.0, **changes})


class Candidate:
    """Answers as told; keeps what it was sent."""

    def __init__(self, *values: float) -> None:
        self.values = values or (0.1, 0.9)
        self.seen: list[InferRequest] = []
        self.error: Exception | None = None
        self.hold: asyncio.Event | None = None

    async def __call__(self, request: InferRequest, deadline_s: float) -> InferReply:
        self.seen.append(request)
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return InferReply(model=request.model, version="2", outputs=[scores(*self.values)])


def shadow(
    call: Any,
    clock: Clock | None = None,
    refuses: Callable[[InferRequest], str] = lambda request: "",
    **changes: Any,
) -> Shadow:
    target = Target(rule=rule(**changes), call=call, refuses=refuses)
    return Shadow(primary, [target], clock=clock or Clock())


async def test_the_copy_is_of_the_candidate_and_shares_no_memory() -> None:
    candidate = Candidate()
    one = shadow(candidate, version="7")
    asked = request(
        data_class="internal",
        parameters={"explain": True, "timeout": 5, "skerry-origin": "x", "temperature": 0.5},
    )
    await one.infer(asked)
    asked.inputs[0].data[:] = -1  # the door may use its buffer again
    await one.settle()
    (copy,) = candidate.seen
    assert (copy.model, copy.version, copy.data_class) == ("new", "7", "internal")
    assert copy.inputs[0].data.tolist() == [[1, 2]]
    assert copy.parameters == {PARAMETER_SHADOW: True, "temperature": 0.5}
    (record,) = one.records
    assert (record.requests, record.sampled, record.compared, record.same) == (1, 1, 1, 1)


async def test_the_caller_never_waits_whatever_the_candidate_does() -> None:
    """Stepped by hand: each request has ended when `begin` returns, with no turn of the loop."""
    candidate = Candidate()
    candidate.hold = asyncio.Event()  # it never answers
    one = shadow(candidate, queue_len_max=8)
    answers: list[Any] = []
    for _ in range(1000):
        waiting = begin(one.infer(request()), lambda reply, error: answers.append(error))
        assert waiting is None
    assert answers == [None] * 1000
    await asyncio.sleep(0)
    assert len(candidate.seen) == AT_ONCE_MAX
    (record,) = one.records
    assert record.dropped == 1000 - 8, "the queue is bounded, and what does not fit is counted"
    await one.aclose()
    assert record.dropped == 1000


async def test_bytes_that_wait_are_bounded_too() -> None:
    one = shadow(Candidate(), queue_bytes_max=1024)  # a copy is 16 bytes in, 8 out
    for _ in range(100):
        await one.infer(request())
    assert one.records[0].dropped == 100 - 1024 // 16
    await one.settle()


async def test_a_stopped_candidate_is_left_alone_and_tried_again_later() -> None:
    clock, candidate = Clock(), Candidate()
    candidate.error = ConnectionRefusedError("nobody there")
    one = shadow(candidate, clock)
    for _ in range(50):
        await one.infer(request())
        await one.settle()
    (record,) = one.records
    assert len(candidate.seen) == FAILURES_MAX
    assert record.failed == {"ConnectionRefusedError": FAILURES_MAX}
    assert record.paused == 50 - FAILURES_MAX
    candidate.error = None
    clock.now_s += 1.5
    await one.infer(request())
    await one.settle()
    assert record.compared == 1


async def test_a_candidate_that_takes_too_long_is_counted_as_failed() -> None:
    candidate = Candidate()
    candidate.hold = asyncio.Event()
    one = shadow(candidate, deadline_s=0.01)
    await one.infer(request())
    await one.settle()
    assert one.records[0].failed == {"TimeoutError": 1}


async def test_what_may_not_go_there_is_not_copied() -> None:
    candidate = Candidate()

    def refuses(request: InferRequest) -> str:
        return "" if request.data_class == "public" else "personal data stays at its site"

    one = shadow(candidate, refuses=refuses)
    for data_class in ("public", "personal", None):
        await one.infer(request(data_class=data_class))
    await one.settle()
    assert [copy.data_class for copy in candidate.seen] == ["public"]
    assert one.records[0].refused == {"personal data stays at its site": 2}


async def test_other_models_sequences_and_copies_pass_by() -> None:
    candidate = Candidate()
    one = shadow(candidate)
    await one.infer(request("other"))
    await one.infer(request(parameters={"sequence_id": 5}))
    await one.infer(request(parameters={PARAMETER_SHADOW: True}))
    await one.settle()
    assert candidate.seen == []
    (record,) = one.records
    assert (record.requests, record.skipped) == (1, 1)


async def test_a_primary_that_fails_raises_its_own_error_and_is_not_copied() -> None:
    async def fails(request: InferRequest) -> InferReply:
        raise SkerryError("the model is gone")

    candidate = Candidate()
    one = Shadow(fails, [Target(rule=rule(), call=candidate, refuses=lambda _: "")], clock=Clock())
    with pytest.raises(SkerryError):
        await one.infer(request())
    await one.settle()
    assert candidate.seen == []


async def test_the_share_is_kept_and_the_draw_repeats_with_its_seed() -> None:
    sampled = []
    for seed in (1, 1, 2):
        one = shadow(Candidate(), share=0.2, seed=seed, queue_len_max=10_000)
        for number in range(2000):
            await one.infer(request(id=str(number)))
        await one.settle()
        sampled.append(one.records[0].sampled)
    assert sampled[0] == sampled[1]
    assert 340 < sampled[0] < 460


async def test_latencies_of_both_are_paired_and_their_sample_is_bounded() -> None:
    clock = Clock()

    async def slow(request: InferRequest, deadline_s: float) -> InferReply:
        clock.now_s += 0.25
        return await primary(request)

    async def quick(request: InferRequest) -> InferReply:
        clock.now_s += 0.125
        return await primary(request)

    one = Shadow(quick, [Target(rule=rule(), call=slow, refuses=lambda _: "")], clock=clock)
    await one.infer(request())
    await one.settle()
    (pair,) = one.records[0].pairs
    assert (pair.primary_ms, pair.candidate_ms) == (125, 250)
    for _ in range(PAIRS_MAX + 10):
        await one.infer(request())
        await one.settle()
    assert len(one.records[0].pairs) == PAIRS_MAX


def values(*numbers: float) -> list[Tensor]:
    return [scores(*numbers)]


def test_scores_agree_by_their_class_and_values_by_the_tolerance() -> None:
    found = compare(values(0.1, 0.9), values(0.4, 0.6), rows=1, tolerance=1e-3)
    assert (found.same, found.within) == (True, False)
    assert found.abs_max == pytest.approx(0.3)
    assert not compare(values(0.1, 0.9), values(0.6, 0.4), rows=1, tolerance=1e-3).same
    close = compare(values(1000.0), values(1000.5), rows=1, tolerance=1e-3)
    assert (close.same, close.within) == (True, True), "relative to the primary's"
    assert not compare(values(1.0), values(1.1), rows=1, tolerance=1e-3).same


def test_labels_decide_and_their_scores_do_not() -> None:
    def answer(label: bytes, score: float) -> list[Tensor]:
        text = np.array([label], dtype=object)
        number = np.array([score], np.float32)
        return [Tensor("label", "BYTES", (1,), text), Tensor("score", "FP32", (1,), number)]

    found = compare(answer(b"cat", 0.9), answer(b"cat", 0.7), rows=1, tolerance=1e-3)
    assert (found.same, found.within) == (True, False)
    assert not compare(answer(b"cat", 0.9), answer(b"dog", 0.9), rows=1, tolerance=1e-3).same


def test_whole_numbers_are_compared_exactly() -> None:
    one = [Tensor("n", "INT64", (2,), np.array([1, 2]))]
    assert compare(one, one, rows=2, tolerance=5).within
    other = [Tensor("n", "INT64", (2,), np.array([1, 3]))]
    assert not compare(one, other, rows=2, tolerance=5).same


def test_bf16_is_compared_as_the_numbers_it_stands_for() -> None:
    def bf16(*numbers: float) -> list[Tensor]:
        bits = (np.array([numbers], np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return [Tensor("y", "BF16", bits.shape, bits)]

    found = compare(bf16(1.0, 2.0), bf16(1.0, 2.25), rows=1, tolerance=0.5)
    assert (found.same, found.within, found.abs_max) == (True, True, 0.25)


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ([], "no output y"),
        (values(1, 2, 3), "y is of shape [1, 3], not [1, 2]"),
        ([Tensor("y", "FP64", (1, 2), np.ones((1, 2)))], "y is FP64, not FP32"),
    ],
)
def test_answers_of_another_form_are_not_the_same(theirs: list[Tensor], why: str) -> None:
    found = compare(values(1, 2), theirs, rows=1, tolerance=1.0)
    assert (found.same, found.unlike) == (False, why)


def test_a_number_against_none_is_infinitely_far() -> None:
    found = compare(values(1.0), values(float("nan")), rows=1, tolerance=1.0)
    assert (found.within, found.abs_max) == (False, float("inf"))
    assert compare(values(float("nan")), values(float("nan")), rows=1, tolerance=0.0).within


@given(st.lists(st.floats(width=32), min_size=1, max_size=6))
def test_an_answer_agrees_with_itself(numbers: list[float]) -> None:
    found = compare(values(*numbers), values(*numbers), rows=1, tolerance=0.0)
    assert (found.same, found.within, found.abs_max, found.rel_max) == (True, True, 0.0, 0.0)


async def test_examples_are_kept_for_classes_named_only_and_within_their_bounds(
    tmp_path: Path,
) -> None:
    wanted = rule(keep_classes=("public",), keep_examples_max=2)
    target = Target(
        rule=wanted,
        call=Candidate(0.9, 0.1),
        refuses=lambda _: "",
        keep=ExampleFolder(tmp_path, wanted).keep,
    )
    one = Shadow(primary, [target], clock=Clock())
    for data_class in ("personal", "public", "public", "public", None):
        await one.infer(request(data_class=data_class))
    await one.settle()
    files = sorted(tmp_path.rglob("*.example"))
    assert len(files) == 2
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    example = msgspec.msgpack.decode(files[0].read_bytes(), type=ShadowExample)
    assert example.data_class == "public"
    assert np.frombuffer(example.inputs[0].data, np.float32).tolist() == [1, 2]
    assert one.records[0].examples_kept == 2
    again = ExampleFolder(tmp_path, wanted)
    assert not await again.keep(request(), [], []), "those of earlier runs count too"


async def test_examples_stop_at_their_bytes_and_agreement_keeps_none(tmp_path: Path) -> None:
    wanted = rule(keep_classes=("public",), keep_bytes_max=100)
    assert not await ExampleFolder(tmp_path, wanted).keep(request(data_class="public"), [], [])
    assert not list(tmp_path.rglob("*.example"))


async def test_a_record_survives_its_process(tmp_path: Path) -> None:
    one = shadow(Candidate())
    await one.infer(request())
    await one.settle()
    write_record(tmp_path, rule(), msgspec.json.encode(one.records[0]))
    path = record_path(tmp_path, rule())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_record(path)
    assert found == one.records[0]
    assert records_in(tmp_path) == [found]
    assert goes_on(rule(), found)
    assert not goes_on(rule(share=0.5), found)
    two = shadow(Candidate())
    two.resume([found])
    await two.infer(request())
    assert two.records[0].requests == 2
    await two.settle()


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.shadow.json"
    path.write_text("{}")
    with pytest.raises(ShadowFileError, match=r"a\.shadow\.json: is no shadow record"):
        read_record(path)
    with pytest.raises(ShadowFileError, match="No such file"):
        records_in(tmp_path / "gone")


def test_rules_that_cannot_be_used_are_told_why() -> None:
    assert wrong_in(rule()) == ""
    assert wrong_in(rule(share=1.5)) == "share is 1.5, wanted 0 to 1"
    assert "queue_len_max is 0" in wrong_in(rule(queue_len_max=0))
    assert "compares a model with itself" in wrong_in(ShadowRule(model="m"))
    assert wrong_in(ShadowRule(model="m", to="oslo/1")) == ""
    with pytest.raises(msgspec.ValidationError, match="unknown field `shar`"):
        msgspec.json.decode(b'{"model": "m", "shar": 1}', type=ShadowRule)


def test_a_newer_record_is_read_too() -> None:
    data = msgspec.json.encode(shadow(Candidate()).records[0])
    newer = data[:-1] + b',"of_tomorrow":1}'
    assert msgspec.json.decode(newer, type=ShadowRecord).model == "m"
