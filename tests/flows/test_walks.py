"""Walks through a running fleet, each as the people walk it whom it is for."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

from skerry.base.errors import SkerryError
from skerry.client import Client
from skerry.local.control import SupervisorControl
from skerry.local.folder import LocalFolder
from skerry.node.worker_admin import WorkerAdmin
from skerry.schema.run_file import RunFile, RunNode, read_run_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_a_file_in_the_intake_is_handled_and_its_bytes_are_kept_nowhere_else(
    fleet: Any, wait_for: Any
) -> None:
    intake = fleet.folder / "intake"
    markers: dict[Path, bytes] = {}
    for site in ("oslo", "bergen"):
        for number in range(3):
            marker = os.urandom(32)
            half = intake / site / f".{number}.part"
            half.write_bytes(b"a scan, and in it " + marker)
            half.rename(intake / site / f"{number}.bin")
            markers[intake / site / f"{number}.bin"] = marker

    def handled() -> list[Path]:
        return [path for path in intake.glob("*/*/**/*.bin") if ".work" not in path.parts]

    wait_for(lambda: len(handled()) == len(markers), "the end of every file")
    assert {path.relative_to(intake).parts[1] for path in handled()} == {"done"}
    assert {path.read_bytes()[-32:] for path in handled()} == set(markers.values())
    kept = [path for path in (fleet.folder / ".skerry").rglob("*") if path.is_file()]
    assert any(path.name == "outbox.db" for path in kept)
    for path in kept:
        content = path.read_bytes()
        assert not [marker for marker in markers.values() if marker in content], path


def served_by(parameter: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in parameter.split(";"))


def ask_http(node: RunNode, headers: dict[str, str]) -> tuple[np.ndarray, dict[str, str]]:
    tensor = http.InferInput("x", list(X.shape), "FP32")
    tensor.set_data_from_numpy(X)
    with http.InferenceServerClient(node.http_url.removeprefix("http://")) as client:
        reply = client.infer("double", [tensor], headers=dict(headers))  # it adds to them
        parameters = reply.get_response()["parameters"]
    return reply.as_numpy("y"), served_by(parameters["skerry-served-by"])


def ask_grpc(node: RunNode, headers: dict[str, str]) -> tuple[np.ndarray, dict[str, str]]:
    tensor = grpc.InferInput("x", list(X.shape), "FP32")
    tensor.set_data_from_numpy(X)
    with grpc.InferenceServerClient(node.grpc_url.removeprefix("grpc://")) as client:
        reply = client.infer("double", [tensor], headers=headers)
    parameters = reply.get_response().parameters
    return reply.as_numpy("y"), served_by(parameters["skerry-served-by"].string_param)


def running(fleet: Any) -> RunFile:
    return read_run_file(fleet.folder / ".skerry/run.json")


STOCK = {"http": ask_http, "grpc": ask_grpc}


@pytest.mark.parametrize("door", STOCK)
def test_a_stock_client_gets_its_numbers_and_is_told_who_gave_them(fleet: Any, door: str) -> None:
    for node in running(fleet).nodes:
        y, served = STOCK[door](node, {"skerry-data-class": "public"})
        np.testing.assert_array_equal(y, 2 * X)
        assert served == {
            "site": node.site,
            "node": node.node,
            "tier": node.tier,
            "model": "double",
            "version": "1",
            "reason": "local",
        }


def test_the_sdk_is_answered_at_its_own_site(fleet: Any) -> None:
    with Client.for_site(fleet.folder, "bergen") as client:
        answer = client.infer("double", {"x": X})
    np.testing.assert_array_equal(answer.outputs["y"], 2 * X)
    told = (answer.served_by, answer.site, answer.tier, answer.model, answer.version)
    assert told == ("bergen/1", "bergen", "closet", "double", "1")
    assert answer.fallback_reason is None


@pytest.fixture
def bergen(fleet: Any, wait_for: Any) -> Iterator[WorkerAdmin]:
    """Bergen's worker with nobody who mends it; its agent brings all models back afterwards."""
    folder = LocalFolder(fleet.folder)
    admin = WorkerAdmin(folder.node("bergen/1") / "worker.sock")
    whole = admin.serving()
    control = SupervisorControl(folder.control)
    control.hold("bergen/1 agent")
    yield admin
    control.release("bergen/1 agent")
    wait_for(lambda: admin.serving() == whole, "every model of bergen")


def test_where_models_are_gone_the_next_best_answers_and_says_why(
    fleet: Any, bergen: WorkerAdmin
) -> None:
    node = running(fleet).at_site("bergen")[0]
    bergen.unload("double")
    for ask in STOCK.values():
        y, served = ask(node, {"skerry-data-class": "health"})
        np.testing.assert_array_equal(y, 2 * X)
        assert (served["node"], served["model"]) == ("bergen/1", "double-small")
        assert served["reason"] == "stand-in:no-model"

    bergen.unload("double-small")
    _, served = ask_http(node, {"skerry-data-class": "public"})
    assert served["tier"] in {"room", "cloud"}
    assert "no-model" in served["reason"]
    with Client.for_site(fleet.folder, "bergen") as client:
        answer = client.infer("double", {"x": X}, data_class="public")
        np.testing.assert_array_equal(answer.outputs["y"], 2 * X)
        assert answer.tier in {"room", "cloud"}
        assert answer.fallback_reason in {"no-model", "hedge"}  # whichever way was faster
        with pytest.raises(SkerryError) as refused:
            client.infer("double", {"x": X}, data_class="health")
    assert getattr(refused.value, "http_status", 0) == 403
    for candidate in ("bergen/1", "region-eu/1", "cloud/1"):
        assert candidate in str(refused.value)


def test_a_client_that_claims_another_origin_is_not_believed(
    fleet: Any, bergen: WorkerAdmin
) -> None:
    node = running(fleet).at_site("bergen")[0]
    claims = {"skerry-origin": "cloud", "skerry-hops": "1", "skerry-data-class": "health"}
    for ask in STOCK.values():
        _, served = ask(node, claims)
        assert (served["node"], served["reason"]) == ("bergen/1", "local")
    bergen.unload("double")
    bergen.unload("double-small")
    with pytest.raises(InferenceServerException, match="residency"):
        ask_http(node, claims)
    with pytest.raises(InferenceServerException, match="residency"):
        ask_grpc(node, claims)
    _, served = ask_http(node, claims | {"skerry-data-class": "public"})
    assert served["site"] in {"region-eu", "cloud"}  # one hop more was allowed
