"""Walks through a running fleet, each as the people walk it whom it is for."""

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

from skerry.base.errors import SkerryError
from skerry.client import Client
from skerry.client.operator import OperatorUnreachableError
from skerry.learn.store import complete, read_card
from skerry.local.control import SupervisorControl
from skerry.local.folder import LocalFolder
from skerry.local.record_audit import RecordAudit
from skerry.local.up import operator_of
from skerry.node.worker_admin import WorkerAdmin
from skerry.schema.run_file import RunFile, RunNode, read_run_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

X = np.arange(8, dtype=np.float32).reshape(2, 4)
FACTORS = {"1": np.float32(2), "2": np.float32(3)}
"""By version of `double`; `double-small` stays with 2."""


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


def expected(fleet: Any) -> tuple[str, np.ndarray]:
    """Return the version of `double` that the file names, and what it makes of X."""
    found = re.search(
        r"name: double\n    version: v(\d)", (fleet.folder / "fleet.yaml").read_text()
    )
    assert found is not None
    return found[1], FACTORS[found[1]] * X


STOCK = {"http": ask_http, "grpc": ask_grpc}


@pytest.mark.parametrize("door", STOCK)
def test_a_stock_client_gets_its_numbers_and_is_told_who_gave_them(fleet: Any, door: str) -> None:
    version, right = expected(fleet)
    for node in running(fleet).nodes:
        y, served = STOCK[door](node, {"skerry-data-class": "public"})
        np.testing.assert_array_equal(y, right)
        assert served == {
            "site": node.site,
            "node": node.node,
            "tier": node.tier,
            "model": "double",
            "version": version,
            "reason": "local",
        }


def test_the_sdk_is_answered_at_its_own_site(fleet: Any) -> None:
    version, right = expected(fleet)
    with Client.for_site(fleet.folder, "bergen") as client:
        answer = client.infer("double", {"x": X})
    np.testing.assert_array_equal(answer.outputs["y"], right)
    told = (answer.served_by, answer.site, answer.tier, answer.model, answer.version)
    assert told == ("bergen/1", "bergen", "closet", "double", version)
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
        np.testing.assert_array_equal(answer.outputs["y"], expected(fleet)[1])
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


class Asking:
    """A stock client per node in a thread of its own, as long as the block runs."""

    def __init__(self, nodes: Sequence[RunNode], data_class: str = "") -> None:
        self._headers = {"skerry-data-class": data_class} if data_class else {}
        self.factors: dict[str, list[float]] = {node.node: [] for node in nodes}
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(node,)) for node in nodes]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, node: RunNode) -> None:
        tensor = http.InferInput("x", list(X.shape), "FP32")
        tensor.set_data_from_numpy(X)
        with http.InferenceServerClient(node.http_url.removeprefix("http://")) as client:
            while not self._stop.wait(0.05):
                try:
                    y = client.infer("double", [tensor], headers=dict(self._headers)).as_numpy("y")
                    self.factors[node.node].append(float(y[0, 1]))  # X has a 1 there
                except Exception as error:  # whatever it raises is a failed request
                    self.failed.append(f"{node.node}: {error!r}")


def name_version(fleet: Any, version: int) -> None:
    path = fleet.folder / "fleet.yaml"
    text = path.read_text()
    path.write_text(re.sub(r"(name: double\n    version: )v\d", rf"\g<1>v{version}", text))


def versions(fleet: Any) -> set[str]:
    """Return the versions of `double` that the nodes answer with, each asked itself."""
    return {ask_http(node, {})[1]["version"] for node in running(fleet).nodes}


def add_with_wrong_samples(fleet: Any, version: int) -> None:
    """Add a version whose card, manifest and lock agree, and whose samples are another model's."""
    fleet.add_times("double", version, 4.0)
    place = fleet.folder / "models/double" / str(version)
    card = read_card(place)
    assert card.samples
    wrong = [
        msgspec.structs.replace(
            sample, outputs=tuple((np.frombuffer(y, "<f4") + 1).tobytes() for y in sample.outputs)
        )
        for sample in card.samples
    ]
    _, digest = complete(place, msgspec.structs.replace(card, samples=tuple(wrong)))
    lock = fleet.folder / "fleet.lock"
    document = json.loads(lock.read_text())
    document["models"]["double"][str(version)] = digest
    lock.write_text(json.dumps(document))


def test_a_good_version_goes_through_unnoticed_and_a_bad_one_comes_back(
    fleet: Any, wait_for: Any
) -> None:
    fleet.add_times("double", 2, 3.0)
    assert "double" not in fleet.done("diff")
    name_version(fleet, 2)
    assert "double" in fleet.done("diff")
    unasked = fleet.skerry("apply")
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    fleet.done("apply", "--dry-run")
    assert "double" in fleet.done("diff")
    assert versions(fleet) == {"1"}

    with Asking(running(fleet).nodes) as asking:
        fleet.done("apply", "--yes", "--timeout", "60")
    assert asking.failed == []
    assert all({2.0, 3.0} == set(factors) for factors in asking.factors.values())
    assert versions(fleet) == {"2"}
    wait_for(lambda: "double" not in fleet.done("diff"), "the applied fleet")

    add_with_wrong_samples(fleet, 3)
    name_version(fleet, 3)
    with Asking(running(fleet).nodes) as asking:
        bad = fleet.skerry("apply", "--yes", "--timeout", "60")
    assert bad.returncode == 1, bad.stderr
    assert "Reverted" in bad.stderr
    assert asking.failed == []
    assert all({3.0} == set(factors) for factors in asking.factors.values())
    assert versions(fleet) == {"2"}
    name_version(fleet, 2)


KILLED = ("oslo/2 worker", "oslo/1 agent", "region-eu region", "central")


def test_a_kill_of_any_process_loses_no_record_and_counts_none_twice(
    fleet: Any, wait_for: Any
) -> None:
    folder, run = LocalFolder(fleet.folder), running(fleet)
    control, audit = SupervisorControl(folder.control), RecordAudit(folder)
    edge = [node for node in run.nodes if node.tier == "closet"]
    with Asking(edge, data_class="internal") as asking:  # a class that no other walk asks with
        for name in KILLED:
            audit.note()
            before = control.pids()[name]
            os.kill(before, signal.SIGKILL)
            wait_for(lambda: control.pids()[name] not in (0, before), f"another {name}")  # noqa: B023
            heard = {node: len(factors) for node, factors in asking.factors.items()}
            wait_for(
                lambda: all(len(asking.factors[node]) > heard[node] + 5 for node in heard),  # noqa: B023
                f"answers after {name}",
            )
    answered = {node: len(factors) for node, factors in asking.factors.items()}
    failed = Counter(said.partition(":")[0] for said in asking.failed)
    assert set(failed) <= {"oslo/2"}, asking.failed  # the one whose worker was killed

    counted: Counter[str] = Counter()
    central = operator_of(folder, run.domain, run.central_url)

    def all_counted() -> bool:
        counted.clear()
        with suppress(OperatorUnreachableError):  # it was killed last
            for one in central.summaries(0, time.time() + 60):
                if one.data_class == "internal" and one.outcome == "ok" and not one.forwarded:
                    counted[one.node] += one.count
        return all(counted[node] >= answered[node] for node in answered)

    wait_for(all_counted, "the count of every answer")
    found = audit.count(wait_s=20)
    assert (found.lost, found.twice, found.waiting) == (0, 0, 0)
    assert all_counted()
    for node in answered:  # a worker may be killed after it noted a request, before it answered
        assert answered[node] <= counted[node] <= answered[node] + failed[node]
