"""The service: says who served, counts every outcome, and is ready only when it is."""

from typing import Any

import numpy as np
import pytest

from skerry.schema.oip import InferRequest, Tensor
from skerry.schema.oip_tensors import tensor_from_array
from skerry.schema.records import LATENCY_EDGES_US, Outcome
from skerry.serve.errors import (
    DeadlineError,
    MismatchError,
    NotReadyError,
    QueueFullError,
    ServeError,
    UnknownModelError,
    facts_of,
)
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings
from skerry.serve.window import Window

pytestmark = pytest.mark.anyio
X = tensor_from_array("x", np.ones((1, 4), np.float32))


def request(model: str = "double", *inputs: Tensor, **more: Any) -> InferRequest:
    return InferRequest(model=model, inputs=list(inputs or (X,)), **more)


async def test_an_answer_carries_its_place_and_version(start: Any, repository: Any) -> None:
    server = await start(repository, site="oslo", node="oslo/2", tier="closet")
    reply = await server.service.infer(request(id="7"))
    assert reply.id == "7"
    assert reply.outputs[0].data.tolist() == [[2.0] * 4]
    served = reply.served_by
    assert (served.site, served.node, served.tier) == ("oslo", "oslo/2", "closet")
    assert (served.model, served.version, served.reason) == ("double", "2", "local")


async def test_a_server_that_starts_is_alive_but_not_ready(repository: Any) -> None:
    server = Server(ServeSettings(repository=str(repository), http_port=0))
    assert not server.service.ready()
    with pytest.raises(NotReadyError, match="starting"):
        await server.service.infer(request())


async def test_the_router_stands_in_front_where_there_is_one(
    start: Any, repository: Any, exchange: Any
) -> None:
    seen: list[InferRequest] = []

    def wrap(infer: Any) -> Any:
        async def routed(one: InferRequest) -> Any:
            seen.append(one)
            return await infer(one)

        return routed

    server = await start(repository, wrap=wrap)
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,1,1,1]}]}'
    head = (
        "POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "skerry-data-class: health\r\nskerry-deadline-ms: 900\r\nskerry-hops: 1\r\n"
        f"skerry-origin: bergen\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    got = await exchange(server.ports.http, head.encode() + body)
    assert b"skerry-served-by: site=local;node=local/1;tier=edge;model=double;version=2" in got
    (one,) = seen
    assert (one.data_class, one.deadline_s) == ("health", 0.9)
    # A client may not say where its data came from: that would talk it out of its site.
    assert (one.hops, one.origin_site) == (0, None)
    assert one.body_bytes == len(body)
    assert one.received_s > 0


async def test_every_outcome_is_counted(start: Any, repository: Any, exchange: Any) -> None:
    server = await start(repository, metrics_port=0)
    infer = server.service.infer
    await infer(request())
    with pytest.raises(MismatchError):
        await infer(request("double", tensor_from_array("x", np.ones(4))))
    with pytest.raises(UnknownModelError):
        await infer(request("from-a-client"))
    with pytest.raises(DeadlineError):
        await infer(request(deadline_s=1e-9))
    data = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    text = (await exchange(server.ports.metrics, data)).decode()
    assert 'skerry_requests_total{model="double",outcome="ok"} 1' in text
    assert 'skerry_requests_total{model="double",outcome="refused"} 2' in text
    assert 'skerry_requests_total{model="",outcome="refused"} 1' in text
    assert 'skerry_refused_total{model="double",code="E0404"} 1' in text
    assert 'skerry_request_duration_seconds_bucket{model="double",le="+Inf"} 1' in text
    assert 'skerry_queue_length{model="double",version="2"} 0' in text
    assert "skerry_ready 1" in text
    assert "from-a-client" not in text  # a client cannot make labels
    stats = server.service.stats()["double"]
    assert (stats["requests"], stats["refused"], stats["errors"]) == (3, 2, 0)
    assert 0 < stats["latency_ms_p50"] <= stats["latency_ms_p95"] < 1000
    assert stats["version"] == 2


async def test_a_swap_starts_a_new_window(
    start: Any, repository: Any, models: Any, tmp_path: Any
) -> None:
    server = await start(repository)
    await server.service.infer(request())
    models.scale(tmp_path / "3" / "model.onnx", 4.0)
    await server.service.load("double", tmp_path / "3")
    assert server.service.stats()["double"]["requests"] == 0


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ((X, X), "inputs is naming one twice"),
        ((X, tensor_from_array("z", np.ones(1))), "inputs is 'x', 'z', wanted x"),
    ],
)
async def test_inputs_are_held_against_the_model(
    start: Any, repository: Any, inputs: Any, text: str
) -> None:
    server = await start(repository)
    with pytest.raises(MismatchError, match=text):
        await server.service.infer(request("double", *inputs))


async def test_text_that_is_not_utf_8_is_the_clients_error(
    start: Any, tmp_path: Any, models: Any
) -> None:
    from onnx import TensorProto, helper

    models.save(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.STRING, ["n"])],
        [("y", TensorProto.STRING, ["n"])],
        tmp_path / "r" / "text" / "1" / "model.onnx",
    )
    server = await start(tmp_path / "r")
    data = tensor_from_array("x", np.array([b"\xff"], dtype=object))
    with pytest.raises(MismatchError, match="not UTF-8"):
        await server.service.infer(request("text", data))


async def test_models_change_on_admin_listeners_only_and_never_from_a_web_page(
    start: Any, repository: Any, exchange: Any
) -> None:
    from skerry.serve.listening import Listener

    server = await start(repository, listeners=(Listener(admin=False),))
    head = "POST /v2/repository/models/double/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}"
    for verb in ("load", "unload"):
        plain = head.format(verb, "Content-Length: 0\r\n\r\n").encode()
        page = head.format(verb, "Origin: http://evil\r\nContent-Length: 0\r\n\r\n").encode()
        assert b" 403 " in await exchange(server.ports.extra[0], plain)
        assert b" 403 " in await exchange(server.ports.http, page)
    assert server.service.model_ready("double")


async def test_every_error_survives_pickling_and_names_its_status() -> None:
    import copy

    for error in (
        QueueFullError("m", 3, 0.5),
        DeadlineError("m", 0.1, foretold=True),
        UnknownModelError("m", "1"),
    ):
        again = copy.copy(error)
        assert (str(again), again.hint, facts_of(again)) == (
            str(error),
            error.hint,
            facts_of(error),
        )
    assert facts_of(QueueFullError("m", 3, 0.5)) == (503, "RESOURCE_EXHAUSTED", 0.5)
    assert facts_of(ValueError()) == (500, "INTERNAL", None)
    assert facts_of(ServeError("x"))[0] == 500


def test_a_window_forgets_after_a_minute_and_never_flatters() -> None:
    window = Window(0.0)
    for latency_ms in range(1, 101):
        window.add(10.0, latency_ms / 1000, Outcome.OK)
    window.add(10.0, 0.0, Outcome.FAILED)
    stats = window.stats(20.0)
    assert (stats["requests"], stats["errors"], stats["duration_s"]) == (101, 1, 20.0)
    assert 50 <= stats["latency_ms_p50"] <= 50 * 1.2
    assert 95 <= stats["latency_ms_p95"] <= 95 * 1.2
    assert window.stats(69.0)["requests"] == 101
    assert window.stats(70.0)["requests"] == 0
    assert "latency_ms_p50" not in window.stats(70.0)
    window.add(80.0, 1e9, Outcome.OK)
    assert window.stats(80.0)["latency_ms_p99"] == LATENCY_EDGES_US[-1] / 1000
