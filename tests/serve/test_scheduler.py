"""Lanes: bounded, on time, batched where it helps, and never one request for another's fault."""

from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from skerry.base.clock import SystemClock
from skerry.serve.errors import (
    DeadlineError,
    ModelRunError,
    QueueFullError,
    RateLimitError,
    ServeError,
)
from skerry.serve.model_settings import LaneSettings
from skerry.serve.onnx_engine import OnnxModel
from skerry.serve.scheduler import _LONELY_AFTER, _LOOK_AGAIN_AFTER, Lane
from skerry.testing.clock import ManualClock

pytestmark = pytest.mark.anyio
CLOCK = SystemClock()
X = np.ones((1, 4), np.float32)
BIG = np.zeros((500, 500), np.float32)


def lane_of(model: Any, clock: Any = CLOCK, **settings: Any) -> Lane:
    return Lane(model, LaneSettings(**settings), clock=clock)


async def ask(lane: Lane, x: Any = X, left_s: float = 30.0, **who: int) -> Any:
    end_s = CLOCK.monotonic_s() + left_s
    (y,) = await lane.submit({"x": x}, ["y"], deadline_at_s=end_s, deadline_s=left_s, **who)
    return y


@pytest.fixture
def double(models: Any, tmp_path: Path) -> OnnxModel:
    models.scale(tmp_path / "m.onnx", 2.0)
    return OnnxModel("double", tmp_path / "m.onnx")


@pytest.fixture
def slow(models: Any, tmp_path: Path) -> OnnxModel:
    models.slow(tmp_path / "s.onnx")
    return OnnxModel("slow", tmp_path / "s.onnx")


class Counting:
    """A real model that counts its runs and the items of each."""

    def __init__(self, model: OnnxModel) -> None:
        self.items: list[int] = []
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def run(self, inputs: dict[str, Any], outputs: list[str]) -> Any:
        self.items.append(len(inputs["x"]))
        return self._model.run(inputs, outputs)


async def together(calls: list[Any]) -> list[Any]:
    """Run calls at once; an error is returned in its place."""
    found: list[Any] = [None] * len(calls)

    async def one(i: int) -> None:
        try:
            found[i] = await calls[i]
        except ServeError as error:
            found[i] = error

    async with anyio.create_task_group() as group:
        for i in range(len(calls)):
            group.start_soon(one, i)
    return found


async def test_what_arrives_in_one_turn_runs_as_one_and_is_cut_apart(double: OnnxModel) -> None:
    model = Counting(double)
    lane = lane_of(model, batch_max=8)
    inputs = [np.full((items, 4), i, np.float32) for i, items in enumerate([1, 3, 2])]
    found = await together([ask(lane, x) for x in inputs])
    assert model.items == [6]
    for x, y in zip(inputs, found, strict=True):
        assert y.tolist() == (x * 2).tolist()


async def test_a_batch_never_grows_beyond_its_bound(double: OnnxModel) -> None:
    model = Counting(double)
    lane = lane_of(model, batch_max=4)
    await together([ask(lane) for _ in range(10)])
    assert model.items == [4, 4, 2]


async def test_who_always_comes_alone_waits_for_nobody_until_others_come(
    double: OnnxModel,
) -> None:
    counting = Counting(double)
    lane = lane_of(counting, batch_max=8)
    assert lane.at_once({"x": X}, ["y"], np.inf) is None, "nothing is known yet"
    for _ in range(_LONELY_AFTER):
        await ask(lane)
    assert lane.at_once({"x": np.vstack([X, X])}, ["y"], np.inf) is None, "that is a batch itself"
    for _ in range(_LOOK_AGAIN_AFTER):
        assert lane.at_once({"x": X}, ["y"], np.inf) is not None
    assert lane.at_once({"x": X}, ["y"], np.inf) is None, "one of them looks round again"
    counting.items.clear()
    await together([ask(lane) for _ in range(8)])
    assert counting.items == [8]
    assert lane.at_once({"x": X}, ["y"], np.inf) is None


async def test_a_model_with_no_free_axis_is_never_batched(slow: OnnxModel) -> None:
    assert lane_of(slow, batch_max=8).batch_max == 1


async def test_one_bad_request_of_a_batch_fails_alone(double: OnnxModel) -> None:
    class Picky(Counting):
        def run(self, inputs: dict[str, Any], outputs: list[str]) -> Any:
            if (inputs["x"] < 0).any():
                raise ModelRunError("picky", "below zero")
            return super().run(inputs, outputs)

    found = await together(
        [ask(lane, x) for lane in [lane_of(Picky(double), batch_max=8)] for x in (X, -X, X)]
    )
    assert isinstance(found[1], ModelRunError)
    assert found[0].tolist() == found[2].tolist() == (X * 2).tolist()


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(slow: OnnxModel) -> None:
    lane = lane_of(slow, run_s=0.02, queue_len_max=2)
    answers: list[Any] = []

    async def one() -> None:
        answers.append(await ask(lane, BIG))

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        await anyio.wait_all_tasks_blocked()  # it runs, or is about to
        for _ in range(2):
            group.start_soon(one)
        while lane.queue_len < 2:
            await anyio.sleep(0)
        with pytest.raises(QueueFullError) as caught:
            await ask(lane, BIG)
        assert not answers  # the refusal waited for nobody
        assert caught.value.retry_after_s is not None
        assert caught.value.retry_after_s >= 0.05
    assert len(answers) == 3


async def test_a_deadline_that_the_queue_cannot_keep_is_refused_unrun(slow: OnnxModel) -> None:
    model = Counting(slow)
    lane = lane_of(model, run_s=10.0)
    with pytest.raises(DeadlineError, match="cannot answer within the deadline of 100 ms"):
        await ask(lane, BIG, left_s=0.1)
    assert model.items == []


async def test_a_run_that_outlasts_its_deadline_is_answered_by_then(slow: OnnxModel) -> None:
    lane = lane_of(slow, run_s=0.0, run_on="thread")  # no time was measured yet
    with pytest.raises(DeadlineError, match="did not answer"):
        await ask(lane, BIG, left_s=0.003)
    await lane.drain()


async def test_who_left_the_queue_is_not_run(slow: OnnxModel) -> None:
    model = Counting(slow)
    lane = lane_of(model, run_s=0.02)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, lane, BIG)
        await anyio.sleep(0)
        await anyio.sleep(0)
        with anyio.move_on_after(0.001):
            await ask(lane, BIG)
    await lane.drain()
    assert len(model.items) == 1


async def test_a_long_run_leaves_the_loop_free(slow: OnnxModel) -> None:
    lane = lane_of(slow, run_s=0.02)
    turns = 0
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await ask(lane, BIG)
            group.cancel_scope.cancel()

        group.start_soon(run)
        while True:
            turns += 1
            await anyio.sleep(0.0005)
    # The loop turned while the model ran; inline it would have turned once or twice.
    assert turns > 4


async def test_the_lane_learns_where_its_runs_belong(double: OnnxModel) -> None:
    lane = lane_of(double, run_s=0.005)
    for _ in range(60):
        await ask(lane)
    assert lane.run_s < 0.001
    assert (await ask(lane)).tolist() == (X * 2).tolist()


async def test_who_sends_much_waits_behind_who_sends_one(slow: OnnxModel) -> None:
    lane = lane_of(slow, run_s=0.02)
    order: list[int] = []

    async def one(client: int) -> None:
        await ask(lane, BIG, client=client)
        order.append(client)

    async with anyio.create_task_group() as group:
        for client in (1, 1, 1, 1, 2):
            group.start_soon(one, client)
    assert order.index(2) <= 2


async def test_urgent_requests_run_first(slow: OnnxModel) -> None:
    lane = lane_of(slow, run_s=0.02)
    order: list[int] = []

    async def one(priority: int) -> None:
        await ask(lane, BIG, priority=priority)
        order.append(priority)

    async with anyio.create_task_group() as group:
        for priority in (0, 0, 2, 1):
            group.start_soon(one, priority)
    assert [priority for priority in order if priority] == [1, 2]
    assert order[-1] == 0


async def test_a_rate_is_held_and_says_when_to_come_back(double: OnnxModel) -> None:
    clock = ManualClock()
    lane = lane_of(double, clock, rate_per_s=10.0, burst=2)

    async def one() -> None:
        await lane.submit({"x": X}, ["y"], deadline_at_s=9.0, deadline_s=9.0)

    await one()
    await one()
    with pytest.raises(RateLimitError) as caught:
        await one()
    assert caught.value.retry_after_s == pytest.approx(0.1)
    clock.advance(0.1)
    await one()


async def test_several_runs_are_under_way_where_the_settings_say_so(slow: OnnxModel) -> None:
    under_way, most = 0, 0

    class Watching(Counting):
        def run(self, inputs: dict[str, Any], outputs: list[str]) -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            found = super().run(inputs, outputs)
            under_way -= 1
            return found

    lane = lane_of(Watching(slow), run_s=0.02, concurrency=3, run_on="thread")
    await together([ask(lane, BIG) for _ in range(6)])
    assert most == 3


async def test_who_overflowed_is_kept_short_until_it_was_empty(slow: OnnxModel) -> None:
    """Ten milliseconds a run: one under way and 63 waiting fill it; then 7 may wait."""
    lane = lane_of(slow, run_s=0.05)  # longer than a run truly is, so that waits count

    async def refused() -> bool:
        try:
            await ask(lane, BIG)
        except QueueFullError:
            return True
        return False

    async with anyio.create_task_group() as group:
        for _ in range(64):
            group.start_soon(refused)
        while lane.queue_len < 63:
            await anyio.sleep(0)
        assert await refused()
        while lane.queue_len > 20:
            await anyio.sleep(0.001)
        assert await refused()  # though 64 might lie ahead of one in a burst
    assert not await refused()
