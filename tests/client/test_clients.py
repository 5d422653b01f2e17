"""The SDK against real servers: arrays in and out, failover, typed errors, no leaks."""

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from skerry.client import AsyncClient, Client
from skerry.client.endpoints import PlainAddressError
from skerry.client.errors import ClientClosedError, InputError
from skerry.route.errors import DeadlineExceededError, NoCandidateError, PeerAnsweredError

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(4, dtype=">i4"),
        np.arange(12, dtype=np.int64).reshape(3, 4).T,
        np.array([True, False]),
        np.float64(2.5),
        np.zeros((0, 3), np.uint8),
    ],
)
def test_arrays_come_back_as_they_went(doors, array: np.ndarray) -> None:
    with Client(doors.open("oslo/1").url) as client:
        back = client.infer("echo", {"x": array}).outputs["x-back"]
    assert np.array_equal(back, array)
    assert back.shape == np.shape(array)


def test_text_and_bytes_travel_as_bytes(doors) -> None:
    with Client(doors.open("oslo/1").url) as client:
        back = client.infer("echo", {"x": ["blåbær", "x"]}).outputs["x-back"]
    assert back.tolist() == ["blåbær".encode(), b"x"]


def test_a_file_goes_in_and_a_label_comes_out(doors, tmp_path: Path) -> None:
    door = doors.open("oslo/1")
    (tmp_path / "scan").write_bytes(b"%PDF-1.7")
    with Client(door.url) as client:
        answer = client.infer("magika", file=tmp_path / "scan")
        client.infer("magika", file=b"\x00\x01")
    assert (answer.label, answer.score) == ("pdf", 0.75)
    assert [request.inputs[0].data.tolist() for request in door.seen] == [
        [b"%PDF-1.7"],
        [b"\x00\x01"],
    ]


def test_an_answer_says_who_gave_it_and_why(doors) -> None:
    door = doors.open("oslo/2")
    with Client(door.url) as client:
        answer = client.infer("echo", X)
        assert (answer.served_by, answer.site, answer.tier) == ("oslo/2", "oslo", "closet")
        assert (answer.model, answer.version, answer.fallback_reason) == ("echo", "7", None)
        assert 0 < answer.latency_ms < 5000
        door.reason = "stand-in:queue-full"
        assert client.infer("echo", X).fallback_reason == "stand-in:queue-full"


def test_class_version_and_deadline_travel_with_the_request(doors) -> None:
    door = doors.open("oslo/1")
    with Client(door.url, data_class="internal") as client:
        client.infer("echo", X)
        client.infer("echo", X, data_class="health", version=3, deadline_s=1.5)
    first, second = door.seen
    assert (first.data_class, second.data_class) == ("internal", "health")
    assert first.deadline_s == pytest.approx(5.0, abs=0.5)
    assert second.deadline_s == pytest.approx(1.5, abs=0.2)
    assert first.hops == second.hops == 0


def test_a_dead_first_endpoint_costs_no_error(doors) -> None:
    first, second = doors.open("oslo/1"), doors.open("oslo/2")
    doors.shut(first)
    with Client([first.url, second.url]) as client:
        assert client.infer("echo", X).fallback_reason == "down"
        answer = client.infer("echo", X)
    assert (answer.served_by, answer.fallback_reason) == ("oslo/2", "breaker-open")


def test_a_silent_first_endpoint_slows_one_request_and_no_more(doors) -> None:
    first, second = doors.open("oslo/1"), doors.open("oslo/2")
    with Client([first.url, second.url]) as client:
        for _ in range(20):
            client.infer("echo", X)
        first.behave = "silent"
        reasons = []
        started_s = time.monotonic()
        for _ in range(30):
            answer = client.infer("echo", X)
            reasons.append(answer.fallback_reason)
            assert answer.served_by == "oslo/2" or not reasons[:-1]
    assert time.monotonic() - started_s < 5.0  # 30 requests waiting out a deadline: 150 s
    assert reasons.count("hedge") == 1
    assert set(reasons[1:]) == {"breaker-open"}


def test_when_all_are_down_the_error_names_each_with_its_reason(doors) -> None:
    first, second = doors.open("oslo/1"), doors.open("oslo/2")
    second.behave = 503
    doors.shut(first)
    with Client([first.url, second.url]) as client, pytest.raises(NoCandidateError) as caught:
        client.infer("echo", X)
    verdicts = {c.node: c.verdict for c in caught.value.considered}
    assert verdicts == {first.url: "down", second.url: "queue-full"}
    assert "told so" in str(caught.value)


def test_a_request_at_fault_is_told_once_with_the_servers_words(doors) -> None:
    first, second = doors.open("oslo/1"), doors.open("oslo/2")
    first.behave = 400
    with (
        Client([first.url, second.url]) as client,
        pytest.raises(PeerAnsweredError, match="told so") as caught,
    ):
        client.infer("echo", X)
    assert caught.value.status == 400
    assert not second.seen


def test_silence_everywhere_ends_at_the_deadline(doors) -> None:
    door = doors.open("oslo/1")
    door.behave = "silent"
    started_s = time.monotonic()
    with Client(door.url) as client, pytest.raises(DeadlineExceededError):
        client.infer("echo", X, deadline_s=0.2)
    assert time.monotonic() - started_s < 2.0


def test_many_threads_share_one_client(doors) -> None:
    door = doors.open("oslo/1")
    with Client(door.url) as client, ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: client.infer("echo", {"x": np.full(3, n)}), range(64))
        assert [int(answer.outputs["x-back"][0]) for answer in answers] == list(range(64))


def test_a_closed_client_says_so_and_leaves_no_thread(doors) -> None:
    before = threading.active_count()
    client = Client(doors.open("oslo/1").url)
    client.infer("echo", X)
    client.close()
    client.close()
    assert threading.active_count() == before
    with pytest.raises(ClientClosedError):
        client.infer("echo", X)


@pytest.mark.anyio
async def test_the_async_client_answers_concurrently(doors) -> None:
    async with AsyncClient(doors.open("oslo/1").url) as client:
        answers = await asyncio.gather(*(client.infer("echo", X) for _ in range(20)))
    assert {answer.served_by for answer in answers} == {"oslo/1"}
    with pytest.raises(ClientClosedError):
        await client.infer("echo", X)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"inputs": X, "file": b"x"},
        {"inputs": {"x": [object()]}},
        {"inputs": {"x": np.zeros(2, np.complex64)}},
        {"inputs": {"x": [[1, 2], [3]]}},
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is(doors, wrong: dict[str, object]) -> None:
    door = doors.open("oslo/1")
    with Client(door.url) as client, pytest.raises(InputError):
        client.infer("echo", **wrong)
    assert not door.seen


def test_plain_http_beyond_this_machine_must_be_asked_for() -> None:
    with pytest.raises(PlainAddressError, match=r"192\.0\.2\.1"):
        Client("http://192.0.2.1:8000")
    Client("http://192.0.2.1:8000", insecure=True).close()


def test_importing_the_package_loads_no_transport() -> None:
    code = (
        "import sys, skerry.client; sys.exit('httptools' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
