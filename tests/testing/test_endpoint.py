"""The fake endpoint: simulated latencies, programmed failures, and the real routing over them."""

import asyncio
import time

import numpy as np
import pytest

from skerry.base.errors import UsageError
from skerry.base.http_errors import PeerBrokenError
from skerry.client import AsyncClient, Client
from skerry.route.errors import DeadlineExceededError, NoCandidateError, PeerAnsweredError
from skerry.testing.endpoint import FakeEndpoint
from skerry.testing.simulated_clock import SimulatedClock

X = {"x": np.ones((1, 2), np.float32)}


def fake(name: str = "a", **how: object) -> FakeEndpoint:
    models = {"double": lambda inputs: {"y": inputs["x"] * 2}, "label": {"label": ["pdf"]}}
    return FakeEndpoint(models, url=f"fake://{name}", node=f"{name}/1", **how)  # type: ignore[arg-type]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_latency_shows_in_the_answer_and_takes_no_time() -> None:
    end, started_s = fake(latency_s=3.0), time.monotonic()
    with Client(end) as client:
        answer = client.infer("double", X)
    assert answer.latency_ms == pytest.approx(3000)
    assert time.monotonic() - started_s < 1.0
    assert end.closed


def test_an_answer_may_be_fixed_and_hold_text() -> None:
    with Client(fake()) as client:
        assert client.infer("label", X).label == "pdf"


def test_silence_ends_at_the_deadline_on_the_simulated_clock() -> None:
    end = fake()
    end.silent = True
    with Client(end) as client:
        with pytest.raises(DeadlineExceededError):
            client.infer("double", X, deadline_s=40.0)
        assert end.clock.monotonic_s() == pytest.approx(40.0)


def test_a_slow_first_end_is_hedged_by_the_second() -> None:
    clock = SimulatedClock()
    first, second = fake("a", clock=clock), fake("b", clock=clock, latency_s=0.01)
    with Client([first, second]) as client:
        for _ in range(20):
            client.infer("double", X)
        assert not second.seen
        first.latency_s = 2.0
        answer = client.infer("double", X)
    assert (answer.served_by, answer.fallback_reason) == ("b/1", "hedge")
    assert answer.latency_ms < 1000


def test_programmed_failures_come_in_order_and_end() -> None:
    end = fake()
    end.fail(400, "told so")
    end.fail(error=PeerBrokenError(end.url, "rubbish"))
    with Client(end) as client:
        with pytest.raises(PeerAnsweredError, match="told so") as caught:
            client.infer("double", X)
        assert caught.value.status == 400
        with pytest.raises(NoCandidateError, match="rubbish"):
            client.infer("double", X)
        assert client.infer("double", X).outputs["y"].tolist() == [[2.0, 2.0]]
    assert len(end.seen) == 3


def test_an_end_that_is_down_is_passed_over() -> None:
    clock = SimulatedClock()
    first, second = fake("a", clock=clock), fake("b", clock=clock)
    first.down = True
    with Client([first, second]) as client:
        answer = client.infer("double", X)
        assert (answer.served_by, answer.fallback_reason) == ("b/1", "down")
        assert client.ready("double")
        first.down = False
    assert not first.seen


def test_ends_of_one_client_must_share_a_clock() -> None:
    with pytest.raises(UsageError, match="clock"):
        Client([fake("a"), fake("b")])


def test_statistics_count_what_was_answered() -> None:
    with Client(fake()) as client:
        client.infer_many("double", [X] * 3)
        (row,) = client.statistics("double")
    assert (row.name, row.inference_count, row.inference_stats["success"].count) == ("double", 3, 3)


@pytest.mark.anyio
async def test_waits_end_in_the_order_of_their_times() -> None:
    clock, ended = SimulatedClock(), []

    async def wait(duration_s: float) -> None:
        await clock.sleep(duration_s)
        ended.append((duration_s, clock.monotonic_s()))

    late = asyncio.ensure_future(wait(50.0))
    await asyncio.gather(wait(3.0), wait(0.0), wait(1.0))
    late.cancel()
    await clock.sleep(0.5)
    assert ended == [(0.0, 0.0), (1.0, 1.0), (3.0, 3.0)]
    assert clock.monotonic_s() == 3.5  # what nobody waits for any more takes no time


@pytest.mark.anyio
async def test_requests_of_an_awaited_client_overlap_in_simulated_time() -> None:
    end = fake(latency_s=1.0)
    async with AsyncClient(end) as client:
        await asyncio.gather(*(client.infer("double", X) for _ in range(10)))
    assert end.clock.monotonic_s() == pytest.approx(1.0)
