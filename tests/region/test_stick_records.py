"""Records by stick: signed by their node, its own only, once at central however often brought."""

import time
from collections.abc import Iterator

import msgspec
import pytest

from skerry.client.operator import OperatorError
from skerry.local.hollow_fleet import HollowFleet, HollowNode
from skerry.schema.records import Envelope, Event, Keep
from skerry.schema.stick_report import SignedReport, StickReport, StickTaken
from skerry.trust.enrol import load_or_create_enrolment_key
from skerry.trust.identity import new_key
from skerry.trust.stick_report import sign_report


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HollowFleet]:
    fleet = HollowFleet(tmp_path_factory.mktemp("stick"), regions=("eu",)).start()
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def node(fleet: HollowFleet) -> HollowNode:
    return fleet.node("oslo")


def record(n: int, owner: str = "eu.oslo.1", *, keep: Keep = Keep.MUST) -> Envelope:
    site = owner.split(".")[1]
    event = Event(kind="stick", at_unix_ms=n, site=site, node=f"{site}/1", text=f"record {n}")
    body = msgspec.Raw(msgspec.json.encode(event))
    return Envelope(key=f"{owner}.boot.{n}", keep=keep, kind="event", at_unix_ms=n, body=body)


def bring(fleet: HollowFleet, node: HollowNode, *records: Envelope, key: object = None) -> int:
    said = StickReport(
        spiffe_id=str(node.id), at_unix_s=1.0, generation=1, on_trial=False, models={},
        records=records,
    )  # fmt: skip
    own = load_or_create_enrolment_key(node.files.enrolment_key)
    signed = msgspec.json.decode(sign_report(said, key or own), type=SignedReport)  # type: ignore[arg-type]
    return fleet.operator("eu").ask("POST", "/v1/stick", StickTaken, signed).records


def test_records_reach_central_once_however_often_the_stick_is_brought(
    fleet: HollowFleet, node: HollowNode
) -> None:
    records = [record(n) for n in range(1, 6)]
    assert bring(fleet, node, *records) == 5
    assert bring(fleet, node, *records, record(6)) == 6
    until_s = time.monotonic() + 15
    while len(found := fleet.operator("central").events(kind="stick")) < 6:
        assert time.monotonic() < until_s
        time.sleep(0.05)
    time.sleep(0.3)
    found = fleet.operator("central").events(kind="stick")
    assert [one.event.text for one in found] == [f"record {n}" for n in range(1, 7)]


@pytest.mark.parametrize(
    "foreign",
    [record(1, "eu.bergen.1"), record(1, "us.oslo.1"), record(2, keep=Keep.LOW)],
)
def test_what_is_not_the_nodes_own_or_never_leaves_a_region_is_refused(
    fleet: HollowFleet, node: HollowNode, foreign: Envelope
) -> None:
    with pytest.raises(OperatorError, match="may send"):
        bring(fleet, node, record(100), foreign)
    with pytest.raises(OperatorError, match="did not sign"):
        bring(fleet, node, record(100), key=new_key())
    time.sleep(0.2)
    texts = [one.event.text for one in fleet.operator("central").events(kind="stick")]
    assert "record 100" not in texts


def test_a_banned_node_brings_nothing(fleet: HollowFleet) -> None:
    banned = fleet.node("banned")
    fleet.operator("eu").ban("banned/1", banned=True, reason="stolen")
    with pytest.raises(OperatorError, match="banned"):
        bring(fleet, banned, record(7, "eu.banned.1"))
