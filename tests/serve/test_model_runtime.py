"""What a server says of a model's runtime: what runs it, why so, and what happened to it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.schema.runtime import ModelRuntime
from skerry.serve.server import Server

pytestmark = pytest.mark.anyio


async def asked(server: Server, exchange: Any, model: str) -> ModelRuntime:
    raw = f"GET /v2/models/{model}/runtime HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answer = await exchange(server.ports.http, raw.encode())
    assert b" 200 " in answer.split(b"\r\n")[0]
    return msgspec.json.decode(answer.split(b"\r\n\r\n", 1)[1], type=ModelRuntime)


async def test_settings_providers_and_reasons_are_told(
    start: Any, repository: Path, exchange: Any
) -> None:
    (repository / "double" / "model.json").write_text(
        json.dumps({"concurrency": 2, "rate_per_s": 5, "providers": ["cuda"], "pinned": True})
    )
    server = await start(repository)
    told = await asked(server, exchange, "double")
    one, two = told.versions
    assert (one.is_default, two.is_default) == (False, True)
    assert two.state == "loaded"
    assert two.providers == ("cpu",)
    assert [left.provider for left in two.left_out] == ["cuda"]
    assert "installed" in two.left_out[0].reason
    assert (two.concurrency, two.run_on, two.rate_per_s, two.burst) == (2, "thread", 5, 5)
    assert two.pinned
    assert two.memory_bytes > 0
    assert two.profile_note == "no profile: measured quickly at load"
    assert [event.what for event in told.events] == ["loaded", "loaded"]


async def test_a_refused_version_says_why_and_metrics_say_what_runs(
    start: Any, repository: Path, exchange: Any
) -> None:
    (repository / "double" / "3").mkdir()
    (repository / "double" / "3" / "model.onnx").write_bytes(b"\x08")
    server = await start(repository)
    told = await asked(server, exchange, "double")
    assert [(one.version, one.state) for one in told.versions] == [(3, "refused")]
    assert "cannot be served" in told.versions[0].reason
    text = server.service.metrics_text().decode()
    assert 'skerry_model_provider{model="types",version="1",provider="cpu"} 1' in text
    assert 'skerry_model_memory_bytes{model="types",version="1"}' in text
    assert "skerry_model_unloads 0" in text


async def test_settings_that_cannot_be_read_refuse_the_model_and_leave_what_serves(
    start: Any, repository: Path
) -> None:
    from skerry.serve.errors import SettingsError

    server = await start(repository)
    before = server.service.repository.get("double")
    (repository / "double" / "model.json").write_text('{"batch": 3}')
    with pytest.raises(SettingsError, match="unknown field `batch`"):
        await server.service.load("double")
    assert server.service.repository.get("double") is before


async def test_a_rate_in_the_settings_is_kept_and_the_refusal_says_when_to_come_back(
    start: Any, repository: Path, exchange: Any
) -> None:
    (repository / "double" / "model.json").write_text('{"rate_per_s": 0.5, "burst": 2}')
    server = await start(repository)
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,1,1,1]}]}'
    raw = b"POST /v2/models/double/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    raw += b"content-length: %d\r\n\r\n" % len(body) + body
    answers = [await exchange(server.ports.http, raw) for _ in range(3)]
    assert [answer.split(b" ")[1] for answer in answers] == [b"200", b"200", b"429"]
    assert b"\r\nretry-after: 2" in answers[2].lower()
    assert b"E0421" in answers[2]
