"""The story's traffic: every request has an outcome, and a wait shows in its latency."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.local.traffic import Answered, ClientPlan, Outcome, Traffic, TruthFile

WAIT_S = 10.0
ANSWER = Answered(
    label="python",
    served_site="oslo",
    served_node="oslo/1",
    served_tier="closet",
    model="magika",
    version="1",
    reason="local",
)


class Sender:
    """Answers in its own way; counts its ends."""

    def __init__(self, answer: Callable[[], Answered]) -> None:
        self._answer = answer
        self.closed = threading.Event()

    def ask(self, content: bytes, data_class: str) -> Answered:
        return self._answer()

    def close(self) -> None:
        self.closed.set()


def plan(sender: Sender, *, per_s: float = 200.0, name: str = "one") -> ClientPlan:
    return ClientPlan(
        name=name, kind="http", site="oslo", data_class="internal", per_s=per_s,
        sender=lambda: sender,
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> TruthFile:
    path = tmp_path / "a.py"
    path.write_bytes(b"print()")
    return TruthFile(path, "python")


def collect(traffic: Traffic, sender: Sender, count: int) -> list[Outcome]:
    with traffic:
        traffic.start([plan(sender)])
        until_s = time.monotonic() + WAIT_S
        while len(traffic.all()) < count and time.monotonic() < until_s:
            time.sleep(0.002)
    return traffic.all()


def test_a_right_answer_from_here_is_right_and_local(file: TruthFile) -> None:
    sender = Sender(lambda: ANSWER)
    outcomes = collect(Traffic([file], seed=1), sender, 5)
    assert len(outcomes) >= 5
    assert all(one.right and one.local and one.bytes_sent == 7 for one in outcomes)
    assert sender.closed.is_set()


def test_whatever_a_client_raises_is_a_failed_request_and_the_next_one_follows(
    file: TruthFile,
) -> None:
    def fail() -> Answered:
        raise RuntimeError("x" * 1000)

    outcomes = collect(Traffic([file], seed=1), Sender(fail), 3)
    assert len(outcomes) >= 3
    assert not any(one.for_grading().ok for one in outcomes)
    assert outcomes[0].error.startswith("RuntimeError: x")
    assert len(outcomes[0].error) <= 300


def test_a_file_that_is_gone_fails_its_request_and_not_the_client(tmp_path: Path) -> None:
    gone = TruthFile(tmp_path / "gone", "python")
    outcomes = collect(Traffic([gone], seed=1), Sender(lambda: ANSWER), 3)
    assert len(outcomes) >= 3
    assert outcomes[0].error.startswith("FileNotFoundError")


def test_latency_counts_from_when_a_request_was_due(file: TruthFile) -> None:
    """One slow answer makes the next ones late, and they say so."""
    calls = iter([0.2] + [0.0] * 100_000)

    def slow_once() -> Answered:
        time.sleep(next(calls))
        return ANSWER

    outcomes = collect(Traffic([file], seed=1), Sender(slow_once), 5)
    assert outcomes[0].latency_ms >= 200
    assert outcomes[1].latency_ms > 100


def test_a_client_at_rest_sends_nothing(file: TruthFile) -> None:
    traffic = Traffic([file], seed=1)
    sender = Sender(lambda: ANSWER)
    with traffic:
        traffic.start([plan(sender, name="one"), plan(sender, name="two")])
        assert traffic.offered_per_s == 400.0
        traffic.pause(lambda one: one.name == "two")
        assert traffic.offered_per_s == 200.0
        time.sleep(0.1)
        from_s = time.time()
        time.sleep(0.1)
        assert {one.client for one in traffic.between(from_s, time.time())} == {"one"}
        traffic.resume()
        assert traffic.offered_per_s == 400.0
