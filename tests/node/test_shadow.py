"""A node's shadows: the signed policy decides what is copied, and records outlive the process."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from skerry.base.clock import SystemClock
from skerry.node.shadow import NodeShadow
from skerry.route.shadow_files import read_record, record_path
from skerry.schema.desired import Peer
from skerry.schema.oip import InferReply, InferRequest, Tensor
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.schema.shadow import ShadowRule
from skerry.trust.acceptance import AcceptedDesired

pytestmark = pytest.mark.anyio

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


async def test_a_candidate_here_sees_only_the_classes_it_takes(
    tmp_path: Path, served_by: AcceptedDesired
) -> None:
    rule = ShadowRule(model="m", candidate="new", share=1.0)
    one = Setting(tmp_path, served_by, rule)
    await one.run(request("public"), request("personal"))
    assert [copy.data_class for copy in one.here] == ["public"]
    (record,) = one.node.shadow.records
    assert record.refused == {"new takes public, internal, not personal": 1}


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


async def test_what_came_from_another_site_is_judged_from_there(
    tmp_path: Path, served_by: AcceptedDesired
) -> None:
    one = Setting(tmp_path, served_by, ShadowRule(model="m", to="bergen/1", share=1.0))
    await one.run(request("internal", origin_site="boston", hops=1))
    assert one.sent == []
    (record,) = one.node.shadow.records
    assert next(iter(record.refused)).startswith("internal data from boston stays in its region")


@pytest.mark.parametrize("to", ["bergen/1", "nobody/1"])
async def test_with_no_policy_or_no_such_node_nothing_leaves(
    tmp_path: Path, served_by: AcceptedDesired, to: str
) -> None:
    known = served_by if to == "nobody/1" else None
    one = Setting(tmp_path, known, ShadowRule(model="m", to=to, share=1.0))
    await one.run(request("public"))
    assert one.sent == []
    assert sum(one.node.shadow.records[0].refused.values()) == 1


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
