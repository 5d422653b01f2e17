"""Statistics: counts and times add up, batches are told apart, stock clients read them."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio.from_thread
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from skerry.schema.oip import InferRequest, Tensor
from skerry.serve.errors import MismatchError
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings
from skerry.serve.statistics import Statistics
from skerry.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


def asked(rows: int = 1, name: str = "x") -> InferRequest:
    data = np.ones((rows, 4), np.float32)
    return InferRequest(model="double", inputs=[Tensor(name, "FP32", data.shape, data)])


def test_what_is_not_the_wait_or_the_run_of_a_request_is_its_input() -> None:
    clock, kept = ManualClock(start_unix_s=1000.0), Statistics()
    clock.advance(100)
    kept.waited(0.5)
    kept.ran(2, 8, 10.0, 10.25)  # two requests share a run of a quarter second
    kept.answered(11.0, [1.0])
    kept.answered(90.0, [1.0])
    kept.failed(3.0)
    found = kept.document("m", "2", clock)
    assert (found["name"], found["version"], found["last_inference"]) == ("m", "2", 1_090_000)
    assert (found["inference_count"], found["execution_count"]) == (8, 1)
    stats = found["inference_stats"]
    assert stats["success"] == {"count": 2, "ns": 2_000_000_000}
    assert stats["fail"] == {"count": 1, "ns": 3_000_000_000}
    assert stats["queue"] == {"count": 2, "ns": 500_000_000}
    assert stats["compute_infer"] == {"count": 2, "ns": 500_000_000}
    assert stats["compute_input"] == {"count": 2, "ns": 1_000_000_000}
    (batch,) = found["batch_stats"]
    assert (batch["batch_size"], batch["compute_infer"]) == (8, {"count": 1, "ns": 250_000_000})


def test_runs_on_several_threads_are_all_counted() -> None:
    kept = Statistics()
    threads = [
        threading.Thread(target=lambda: [kept.ran(1, 1, 0.0, 0.5) for _ in range(2000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (kept.runs, kept.items, kept.infer_s) == (8000, 8000, 4000.0)


async def test_a_batch_counts_its_items_once_and_its_requests_each(
    start: Callable[..., Awaitable[Server]], repository: Path, models: Any
) -> None:
    models.card(repository / "double" / "2", max_batch=8)
    server = await start(repository)
    slot = server.service.repository.get("double")
    slot.lane.batch_max = 8
    await asyncio.gather(*(server.service.infer(asked(rows=2)) for _ in range(4)))
    with pytest.raises(MismatchError):
        await server.service.infer(asked(name="z"))
    newest = server.service.statistics("double", "2")[0]
    assert newest["inference_count"] == 8
    assert newest["execution_count"] < 4
    stats = newest["inference_stats"]
    assert (stats["success"]["count"], stats["fail"]["count"]) == (4, 1)
    assert stats["queue"]["ns"] > 0
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert sum(stats[part]["ns"] for part in parts) == pytest.approx(
        stats["success"]["ns"], abs=1000
    )
    assert newest["memory_usage"][0]["byte_size"] >= 0


@pytest.mark.parametrize("module", [triton_http, triton_grpc])
def test_a_stock_client_reads_them(live: Any, module: Any) -> None:
    port = live.ports.http if module is triton_http else live.ports.grpc
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        tensor = module.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 4), np.float32))
        for _ in range(3):
            client.infer("double", [tensor], model_version="1")

        def rows(*of: str) -> dict[str, int]:
            how = {"as_json": True} if module is triton_grpc else {}
            found = client.get_inference_statistics(*of, **how)["model_stats"]
            return {
                f"{one['name']}/{one['version']}": int(one.get("inference_count", 0))
                for one in found
            }

        assert rows() == {"double/1": 3, "double/2": 0, "types/1": 0}
        assert rows("double") == {"double/1": 3, "double/2": 0}
        assert rows("double", "1") == {"double/1": 3}
        with pytest.raises(InferenceServerException, match="not served here"):
            rows("nobody")


@pytest.mark.parametrize("module", [triton_http, triton_grpc])
def test_a_stock_client_asks_for_traces_and_finds_a_whole_timeline(
    repository: Path, tmp_path: Path, module: Any
) -> None:
    file = tmp_path / "trace.json"
    settings = ServeSettings(
        repository=str(repository),
        http_port=0,
        grpc_port=0,
        metrics_port=None,
        trace_file=str(file),
    )
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        server = Server(settings)
        portal.call(server.start)
        port = server.ports.http if module is triton_http else server.ports.grpc
        with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
            on = {"trace_level": ["TIMESTAMPS"], "trace_rate": "2"}
            client.update_trace_settings("double", on)
            how = {"as_json": True} if module is triton_grpc else {}
            found = client.get_trace_settings("double", **how)
            if module is triton_grpc:
                assert found["settings"]["trace_rate"]["value"] == ["2"]
            else:
                assert found["trace_rate"] == "2"
            tensor = module.InferInput("x", [1, 4], "FP32")
            tensor.set_data_from_numpy(np.ones((1, 4), np.float32))
            for _ in range(4):
                client.infer("double", [tensor])
            client.update_trace_settings("double", {"trace_level": None})
            for _ in range(4):
                client.infer("double", [tensor])
            with pytest.raises(InferenceServerException, match="trace_file"):
                client.update_trace_settings(settings={"trace_file": "/elsewhere"})
            with pytest.raises(InferenceServerException, match="'nobody' is not served"):
                client.update_trace_settings("nobody", on)
        portal.call(server.stop, 1.0)
    traces = json.loads(file.read_text())
    assert [(one["id"], one["model_name"], one["model_version"]) for one in traces] == [
        (1, "double", 2),
        (2, "double", 2),
    ]
    for one in traces:
        assert [stamp["name"] for stamp in one["timestamps"]] == [
            "REQUEST_START",
            "QUEUE_START",
            "COMPUTE_START",
            "COMPUTE_END",
            "REQUEST_END",
        ]
        times = [stamp["ns"] for stamp in one["timestamps"]]
        assert times == sorted(times)
