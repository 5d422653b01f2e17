"""Clients that know nothing of us, against a live server: the same calls, the same answers.

`test_triton_clients.py` walks through tritonclient's calls one by one. Here stand the
ways in: asynchronous and pooled clients, bare grpcio, and the command lines of curl,
h2load and wrk, which come from the system and are skipped where it has none.
"""

import asyncio
import json
import queue
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio

from skerry.schema import open_inference_pb2 as pb

X = np.array([[1, 2, 3, 4]], np.float32)
DOUBLED = (X * 2).tolist()
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}


def given(module: Any, data: np.ndarray[Any, Any] = X) -> Any:
    tensor = module.InferInput("x", list(data.shape), "FP32")
    tensor.set_data_from_numpy(data)
    return tensor


@pytest.fixture
def system() -> Callable[..., str]:
    """Run a program of the system and return what it says; skip where it is not there."""

    def run(name: str, *arguments: str) -> str:
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}")
        command = [name, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    return run


@pytest.mark.parametrize(
    ("module", "door"), [(tritonclient.http.aio, "http"), (tritonclient.grpc.aio, "grpc")]
)
def test_tritonclient_aio_has_many_requests_under_way(live: Any, module: Any, door: str) -> None:
    async def ask() -> list[list[Any]]:
        url = f"127.0.0.1:{getattr(live.ports, door)}"
        async with module.InferenceServerClient(url) as client:
            assert await client.is_server_ready()
            answers = await asyncio.gather(
                *(client.infer("double", [given(module, X * n)]) for n in range(40))
            )
            return [answer.as_numpy("y").tolist() for answer in answers]

    assert asyncio.run(ask()) == [(X * 2 * n).tolist() for n in range(40)]


def test_tritonclient_http_asks_from_a_pool(live: Any) -> None:
    url = f"127.0.0.1:{live.ports.http}"
    with tritonclient.http.InferenceServerClient(url, concurrency=4) as client:
        waiting = [client.async_infer("double", [given(tritonclient.http)]) for _ in range(20)]
        assert [one.get_result().as_numpy("y").tolist() for one in waiting] == [DOUBLED] * 20


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_tritonclient_http_may_compress(live: Any, coding: str) -> None:
    """Answered either way: a coding that is not taken is refused by name, not misread."""

    def outcome() -> Any:
        how = {f"{side}_compression_algorithm": coding for side in ("request", "response")}
        with tritonclient.http.InferenceServerClient(f"127.0.0.1:{live.ports.http}") as client:
            try:
                answer = client.infer("double", [given(tritonclient.http)], **how)
            except tritonclient.utils.InferenceServerException as error:
                return error.status()
        return answer.as_numpy("y").tolist()

    assert outcome() in ("415", DOUBLED)


def test_tritonclient_grpc_asks_without_waiting(live: Any) -> None:
    done: queue.Queue[Any] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{live.ports.grpc}") as client:
        for _ in range(20):
            client.async_infer(
                "double",
                [given(tritonclient.grpc)],
                lambda result, error: done.put(error or result.as_numpy("y").tolist()),
            )
        assert [done.get(timeout=10) for _ in range(20)] == [DOUBLED] * 20


def message() -> bytes:
    request = pb.ModelInferRequest(model_name="double", raw_input_contents=[X.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    return bytes(request.SerializeToString())


def test_bare_grpcio_blocking_and_asynchronous(live: Any) -> None:
    path, target = "/inference.GRPCInferenceService/ModelInfer", f"127.0.0.1:{live.ports.grpc}"
    with grpc.insecure_channel(target) as channel:
        infer = channel.unary_unary(path)
        reply, call = infer.with_call(message(), timeout=5, metadata=(("x-mine", "1"),))
        assert call.code() == grpc.StatusCode.OK
        answer = pb.ModelInferResponse.FromString(reply)
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == DOUBLED[0]
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    async def ask() -> list[bytes]:
        async with grpc.aio.insecure_channel(target) as channel:
            infer = channel.unary_unary(path)
            return list(await asyncio.gather(*(infer(message(), timeout=5) for _ in range(40))))

    assert len(set(asyncio.run(ask()))) == 1


def test_grpcio_compresses(live: Any) -> None:
    with grpc.insecure_channel(
        f"127.0.0.1:{live.ports.grpc}", compression=grpc.Compression.Gzip
    ) as channel:
        reply = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(message())
    assert pb.ModelInferResponse.FromString(reply).raw_output_contents


def test_curl_asks_over_http_1_1(live: Any, system: Any, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{live.ports.http}/v2"
    assert json.loads(system("curl", "-s", "--http1.1", base))["name"] == "skerry"
    asked = json.dumps({"inputs": [TENSOR]})
    answer = system("curl", "-s", "--http1.1", "-d", asked, f"{base}/models/double/infer")
    assert json.loads(answer)["outputs"][0]["data"] == DOUBLED[0]
    assert system("curl", "-s", "-I", f"{base}/health/ready").startswith("HTTP/1.1 200")
    large = tmp_path / "large.json"  # over 1 MB curl waits for 100 Continue
    tensor = {**TENSOR, "shape": [50_000, 4], "data": [1.5] * 200_000}
    large.write_text(json.dumps({"inputs": [tensor]}))
    answer = system("curl", "-s", "-d", f"@{large}", f"{base}/models/double/infer")
    assert json.loads(answer)["outputs"][0]["shape"] == [50_000, 4]
    urls = [f"{base}/health/live"] * 3
    shown = system("curl", "-s", "-w", " %{http_code} %{num_connects}\n", *urls)
    assert re.findall(r"200 (\d)", shown) == ["1", "0", "0"]  # one connection for all


def test_curl_offers_http_2_and_is_answered_in_http_1_1(live: Any, system: Any) -> None:
    url = f"http://127.0.0.1:{live.ports.http}/v2/models/double/infer"
    how = ("-s", "--http2", "-w", " %{http_version} %{http_code}")
    shown = system("curl", *how, "-d", json.dumps({"inputs": [TENSOR]}), url)
    assert shown.endswith(" 1.1 200"), shown
    assert str(DOUBLED[0]) in shown.replace(",", ", ")


def test_curl_asks_over_http_2(live: Any, system: Any, tmp_path: Path) -> None:
    """As a gRPC call made by hand: a frame in, a frame and trailers out."""
    framed = message()
    asked, got = tmp_path / "asked", tmp_path / "got"
    asked.write_bytes(b"\0" + len(framed).to_bytes(4, "big") + framed)
    shown = system(
        *("curl", "-s", "--http2-prior-knowledge", "--data-binary", f"@{asked}", "-o", str(got)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers", "-D", "-"),
        f"http://127.0.0.1:{live.ports.grpc}/inference.GRPCInferenceService/ModelInfer",
    )
    assert shown.startswith("HTTP/2 200")
    assert re.search(r"^grpc-status: 0\s*$", shown, re.MULTILINE), shown
    answer = pb.ModelInferResponse.FromString(got.read_bytes()[5:])
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == DOUBLED[0]


@pytest.mark.parametrize("streams", ["1", "20"])
def test_h2load_gets_every_answer_over_http_2(
    live: Any, system: Any, tmp_path: Path, streams: str
) -> None:
    framed = message()
    asked = tmp_path / "asked"
    asked.write_bytes(b"\0" + len(framed).to_bytes(4, "big") + framed)
    shown = system(
        *("h2load", "-n", "400", "-c", "4", "-m", streams, "-d", str(asked)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        f"http://127.0.0.1:{live.ports.grpc}/inference.GRPCInferenceService/ModelInfer",
    )
    assert "400 succeeded, 0 failed, 0 errored, 0 timeout" in shown, shown


def test_h2load_gets_every_answer_over_http_1_1(live: Any, system: Any, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    asked.write_text(json.dumps({"inputs": [TENSOR]}))
    shown = system(
        *("h2load", "--h1", "-n", "400", "-c", "4", "-d", str(asked)),
        f"http://127.0.0.1:{live.ports.http}/v2/models/double/infer",
    )
    assert "400 succeeded, 0 failed, 0 errored, 0 timeout" in shown, shown


def test_wrk_sees_no_bad_answer(live: Any, system: Any, tmp_path: Path) -> None:
    script = tmp_path / "ask.lua"
    script.write_text(f"wrk.method = 'POST'\nwrk.body = [[{json.dumps({'inputs': [TENSOR]})}]]\n")
    shown = system(
        *("wrk", "-t1", "-c8", "-d1s", "-s", str(script)),
        f"http://127.0.0.1:{live.ports.http}/v2/models/double/infer",
    )
    assert re.search(r"[1-9]\d* requests in", shown), shown
    assert "Non-2xx" not in shown
    assert "Socket errors" not in shown


def test_mlserver_sends_empty_lists_beside_raw_contents(live: Any) -> None:
    """Its raw converter sets `contents` on every tensor and puts nothing there."""
    request = pb.ModelInferRequest.FromString(message())
    request.inputs[0].contents.SetInParent()
    with grpc.insecure_channel(f"127.0.0.1:{live.ports.grpc}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = pb.ModelInferResponse.FromString(infer(request.SerializeToString(), timeout=5))
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == DOUBLED[0]


def test_kserve_reads_readiness_from_the_body(live: Any, system: Any) -> None:
    base = f"http://127.0.0.1:{live.ports.http}/v2"
    assert json.loads(system("curl", "-s", f"{base}/health/live")) == {"live": True}
    assert json.loads(system("curl", "-s", f"{base}/health/ready")) == {"ready": True}
    told = json.loads(system("curl", "-s", f"{base}/models/double/ready"))
    assert told == {"name": "double", "ready": True}
