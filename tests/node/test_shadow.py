"""A node's shadows: the signed policy decides what is copied, and records outlive the process."""

import asyncio
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from skerry.base.clock import SystemClock
from skerry.client import Client
from skerry.node.folder import NodeFolder
from skerry.node.settings import NodeSettings, write_settings
from skerry.node.shadow import NodeShadow
from skerry.proof.leaks import Served, leaks
from skerry.route.shadow_files import read_record, record_path
from skerry.schema.desired import Peer
from skerry.schema.oip import InferReply, InferRequest, Tensor
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.schema.shadow import ShadowRule
from skerry.trust.acceptance import AcceptedDesired

POLICY = Policy(
    fleet="clinic",
    generation=1,
    data_classes={
        "public": Residency(stays=Stays.ANYWHERE),
        "personal": Residency(stays=Stays.SITE),
        "internal": Residency(stays=Stays.REGION),
    },
    model_classes={
        "m": ("public", "personal", "internal"),
        "new": ("public", "internal"),
    },
    places={
        "oslo": Place(site="oslo", region="eu", jurisdiction="NO"),
        "bergen": Place(site="bergen", region="eu", jurisdiction="NO"),
        "boston": Place(site="boston", region="us", jurisdiction="US"),
    },
)


def peer(node: str) -> Peer:
    site = node.partition("/")[0]
    url = f"https://{site}.example:9000"
    return Peer(node=node, site=site, region="", tier="edge", url=url, round_trip_ms=1.0)


@pytest.fixture
def served_by(accepted: Any) -> AcceptedDesired:
    """What the node serves by, with two peers and the policy above."""
    found: AcceptedDesired = accepted(1, m=1)
    peers = (peer("bergen/1"), peer("boston/1"))
    return msgspec.structs.replace(
        found, policy=POLICY, desired=msgspec.structs.replace(found.desired, peers=peers)
    )


def answer(model: str, value: float) -> InferReply:
    data = np.array([[value, 1 - value]], np.float32)
    return InferReply(model=model, version="1", outputs=[Tensor("y", "FP32", (1, 2), data)])


def request(data_class: str | None, **changes: Any) -> InferRequest:
    x = Tensor("x", "FP32", (1, 1), np.ones((1, 1), np.float32))
    return InferRequest(model="m", inputs=[x], data_class=data_class, **changes)


class Setting:
    """A node shadow whose ways out are lists."""

    def __init__(self, folder: Path, accepted: AcceptedDesired | None, *rules: ShadowRule) -> None:
        self.here: list[InferRequest] = []
        self.sent: list[tuple[str, InferRequest]] = []

        async def primary(request: InferRequest) -> InferReply:
            return answer("m", 0.9)

        async def run_here(request: InferRequest) -> InferReply:
            self.here.append(request)
            return answer(request.model, 0.8)

        async def call_peer(peer: Peer, request: InferRequest, left_s: float) -> InferReply:
            self.sent.append((peer.node, request))
            return answer(request.model, 0.1)

        self.node = NodeShadow(
            primary,
            rules,
            here=run_here,
            call_peer=call_peer,
            accepted=lambda: accepted,
            cards=lambda *_: None,
            site="oslo",
            folder=folder,
            clock=SystemClock(),
        )

    async def run(self, *requests: InferRequest) -> None:
        for one in requests:
            await self.node.infer(one)
        await self.node.shadow.settle()


@pytest.mark.anyio
async def test_a_candidate_here_sees_only_the_classes_it_takes(
    tmp_path: Path, served_by: AcceptedDesired
) -> None:
    rule = ShadowRule(model="m", candidate="new", share=1.0)
    one = Setting(tmp_path, served_by, rule)
    await one.run(request("public"), request("personal"))
    assert [copy.data_class for copy in one.here] == ["public"]
    (record,) = one.node.shadow.records
    assert record.refused == {"new takes public, internal, not personal": 1}


@pytest.mark.anyio
async def test_another_node_gets_what_may_go_to_its_site_and_hears_where_it_is_from(
    tmp_path: Path, served_by: AcceptedDesired
) -> None:
    near = ShadowRule(model="m", to="bergen/1", share=1.0)
    far = ShadowRule(model="m", to="boston/1", share=1.0)
    one = Setting(tmp_path, served_by, near, far)
    await one.run(*(request(name) for name in ("public", "internal", "personal")))
    went = sorted((node, copy.data_class) for node, copy in one.sent)
    assert went == [("bergen/1", "internal"), ("bergen/1", "public"), ("boston/1", "public")]
    assert {(copy.hops, copy.origin_site) for _, copy in one.sent} == {(1, "oslo")}
    refused = [sum(record.refused.values()) for record in one.node.shadow.records]
    assert refused == [1, 2]


@pytest.mark.anyio
async def test_what_came_from_another_site_is_judged_from_there(
    tmp_path: Path, served_by: AcceptedDesired
) -> None:
    one = Setting(tmp_path, served_by, ShadowRule(model="m", to="bergen/1", share=1.0))
    await one.run(request("internal", origin_site="boston", hops=1))
    assert one.sent == []
    (record,) = one.node.shadow.records
    assert next(iter(record.refused)).startswith("internal data from boston stays in its region")


@pytest.mark.anyio
@pytest.mark.parametrize("to", ["bergen/1", "nobody/1"])
async def test_with_no_policy_or_no_such_node_nothing_leaves(
    tmp_path: Path, served_by: AcceptedDesired, to: str
) -> None:
    known = served_by if to == "nobody/1" else None
    one = Setting(tmp_path, known, ShadowRule(model="m", to=to, share=1.0))
    await one.run(request("public"))
    assert one.sent == []
    assert sum(one.node.shadow.records[0].refused.values()) == 1


@pytest.mark.anyio
async def test_a_record_is_written_and_goes_on_with_the_next_process(
    tmp_path: Path, served_by: AcceptedDesired
) -> None:
    rule = ShadowRule(model="m", to="bergen/1", share=1.0)
    for runs in (1, 2):
        one = Setting(tmp_path, served_by, rule)
        await one.run(request("public"))
        await one.node.aclose()
        record = read_record(record_path(tmp_path, rule))
        assert (record.requests, record.compared, record.same) == (runs, runs, 0)
    changed = msgspec.structs.replace(rule, share=0.5)
    one = Setting(tmp_path, served_by, changed)
    assert one.node.shadow.records[0].requests == 0, "another rule starts afresh"


SITES = ("oslo", "bergen", "boston")
CLASSES = ("public", "internal", "personal", "health", "unheard-of")
residencies = st.builds(
    Residency,
    stays=st.sampled_from(list(Stays)),
    jurisdictions=st.lists(st.sampled_from(["NO", "US"]), max_size=2).map(tuple),
)


@given(
    rules=st.fixed_dictionaries(dict.fromkeys(CLASSES[:3], residencies)),
    takes=st.lists(st.sampled_from(CLASSES), min_size=2, max_size=5).map(tuple),
    known=st.sampled_from([set(SITES), set(SITES), set(SITES[1:]), set(SITES[:2])]),
    requests=st.lists(
        st.tuples(st.sampled_from((None, *CLASSES)), st.sampled_from((None, *SITES))),
        min_size=4,
        max_size=12,
    ),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_the_policy_says_a_judge_apart_finds_no_leak(
    tmp_path: Path,
    served_by: AcceptedDesired,
    rules: dict[str, Residency],
    takes: tuple[str, ...],
    known: set[str],
    requests: list[tuple[str | None, str | None]],
) -> None:
    """The judge of evidence shares no code with the gate; here it judges every copy."""
    policy = msgspec.structs.replace(
        POLICY,
        data_classes=rules,
        model_classes={"m": takes},
        places={site: POLICY.places[site] for site in known},
    )
    accepted = msgspec.structs.replace(served_by, policy=policy)
    shadows = [ShadowRule(model="m", to=f"{site}/1", share=1.0) for site in SITES[1:]]

    async def run() -> list[tuple[str, InferRequest]]:
        one = Setting(tmp_path, accepted, *shadows)
        await one.run(*(request(name, origin_site=origin) for name, origin in requests))
        return one.sent

    sent = asyncio.run(run())
    first = takes[0] if takes else ""
    served = [
        Served(copy.origin_site or "", node.partition("/")[0], copy.data_class or first)
        for node, copy in sent
    ]
    assert leaks(served, policy) == []
    assert all(one.data_class in takes for one in served)


X = {"x": np.ones((1, 1), np.float32)}


def _save_scale(folder: Path, factor: float) -> None:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        initializer=[helper.make_tensor("k", TensorProto.FLOAT, [1], [factor])],
    )
    folder.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(folder / "model.onnx"),
    )


def test_a_worker_shadows_by_its_settings_and_leaves_its_record(
    node_folder: NodeFolder, node_settings: NodeSettings
) -> None:
    """As a process: a candidate beside the model, and a record in the state folder at the end."""
    _save_scale(node_folder.serving / "m" / "1", 2.0)
    _save_scale(node_folder.serving / "new" / "1", 2.5)
    rule = ShadowRule(model="m", candidate="new", share=1.0)
    write_settings(node_folder.settings, msgspec.structs.replace(node_settings, shadow=(rule,)))
    command = [sys.executable, "-m", "skerry.node", "worker", "--state", str(node_folder.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = msgspec.json.decode(process.stdout.readline())
        with Client(f"http://127.0.0.1:{ready['http_port']}") as client:
            for _ in range(20):
                assert client.infer("m", X).outputs["y"].tolist() == [[2.0]]
            until_s = time.monotonic() + 10
            while (count := _answered(ready["metrics_port"])) < 20 and time.monotonic() < until_s:
                time.sleep(0.01)
            assert count == 20
            explained = client.infer("m", X, parameters={"explain": True})
            assert explained.outputs["explanation.x"].tolist() == [2.0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.communicate()
    record = read_record(record_path(node_folder.shadow, rule))
    assert (record.requests, record.same, record.within) == (21, 0, 0)
    assert record.compared >= 20
    assert record.abs_difference_max == pytest.approx(0.5)
    assert record.rel_difference_max == pytest.approx(0.25)


def _answered(port: int) -> int:
    """Return how many requests the candidate answered, as its metrics say."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    found = re.search(r'^skerry_requests_total{model="new",outcome="ok"} (\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0
