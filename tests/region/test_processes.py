"""Central and region as processes: changes, mirrors, crashes, and a life without central."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.base.clock import SystemClock
from skerry.base.processes import is_alive
from skerry.schema import api
from skerry.trust.acceptance import accept_desired
from skerry.trust.update_client import UpdateClient


def update_client(house: Any, joined: Any, folder: Path) -> UpdateClient:
    def fetch(path: str, length_max: int) -> Any:
        reply = house.call("region", "GET", f"/tuf/{path}", identity=joined.identity)
        if reply.status == 404:
            raise FileNotFoundError(path)
        assert reply.status == 200, reply.body
        yield reply.body

    return UpdateClient(folder, joined.reply.tuf_root, fetch, SystemClock())


def nats_pid(process: Any) -> int:
    return int((process.state / "nats" / "nats.pid").read_text())


def test_a_change_is_sealed_carried_and_accepted_by_a_node(
    house: Any, wait_until: Any, tmp_path: Path
) -> None:
    joined = house.join("oslo")
    blob, manifest = house.add_model(1)
    applied = house.apply(1, manifest, expected=0)
    client = update_client(house, joined, tmp_path / "node")

    def accepted() -> Any:
        client.refresh()
        if client.target_sha256("desired/oslo.json") is None:
            return None
        return accept_desired(client, "oslo")

    got = wait_until(accepted, "the node accepts its desired document")
    assert got.desired.generation == applied.generation
    assert [model.version for model in got.desired.models] == [1]
    assert [peer.node for peer in got.desired.peers] == ["oslo/1"]
    assert got.manifests["magika"].members[0].sha256 == blob
    # Bytes come through the region, which fetched them once; ranges resume.
    whole = house.call("region", "GET", f"/blob/{blob}", identity=joined.identity)
    assert hashlib.sha256(whole.body).hexdigest() == blob
    part = house.call(
        "region",
        "GET",
        f"/blob/{blob}",
        identity=joined.identity,
        headers={"Range": "bytes=1000-1999"},
    )
    assert (part.status, part.body) == (206, whole.body[1000:2000])
    assert house.call("region", "GET", f"/blob/{'0' * 64}", identity=joined.identity).status == 404


def test_a_region_goes_on_while_central_is_dead_and_central_takes_up_where_it_was(
    house: Any, wait_until: Any, tmp_path: Path
) -> None:
    joined = house.join("oslo")
    blob, manifest = house.add_model(1)
    house.apply(1, manifest, expected=0)
    client = update_client(house, joined, tmp_path / "node")

    def carried() -> Any:
        client.refresh()
        return client.target_sha256("desired/oslo.json")

    wait_until(carried, "the mirror carries the document")
    assert house.call("region", "GET", f"/blob/{blob}", identity=joined.identity).status == 200
    before = house.ask("central", "GET", "/v1/events", api.EventPage).events
    orphan = nats_pid(house.central)
    house.central.kill()
    wait_until(lambda: not is_alive(orphan), "the NATS child of a killed central ends")

    # Central is dead: all of this is the region's own.
    assert house.renew("oslo").status == 200
    newcomer = house.join("bergen")
    assert newcomer.reply.node == "bergen/1"
    assert house.call("region", "GET", f"/blob/{blob}", identity=joined.identity).status == 200
    client.refresh()
    assert accept_desired(client, "oslo").desired.generation == 1

    house.central.start()
    status = house.ask("central", "GET", "/v1/status", api.FleetStatus)
    assert (status.generation, status.rollout.phase) == (1, "running")
    after = house.ask("central", "GET", "/v1/events", api.EventPage).events
    assert after[: len(before)] == before

    def registered() -> bool:
        status = house.ask("central", "GET", "/v1/status", api.FleetStatus)
        return any(node.node == "bergen/1" and node.inference_url for node in status.nodes)

    wait_until(registered, "central hears of the node that joined meanwhile")

    # Its arrival changes who may answer for oslo? No: bergen is no peer of oslo. But bergen's own
    # document now names its own node, under a generation above the last.
    def refreshed() -> Any:
        reply = house.ask("central", "GET", "/v1/desired/bergen", api.DesiredReply)
        return [peer.node for peer in reply.desired.peers] == ["bergen/1"] and reply.desired

    bergen = wait_until(refreshed, "bergen's document names its own node")
    assert bergen.generation > 1


def test_what_is_not_signed_or_not_expected_is_refused(house: Any) -> None:
    _, manifest = house.add_model(1)
    unsigned = api.ApplyRequest(
        fleet=house.fleet(1, manifest, rings=(("oslo",),)),
        expected_generation=0,
        policy_sha256="0" * 64,
    )
    refused = house.call("central", "POST", "/v1/apply", unsigned, identity=house.operator)
    assert (refused.status, house.refusal(refused).code) == (403, "E1206")
    house.apply(1, manifest, expected=0)
    request = msgspec.structs.replace(
        unsigned,
        policy_sha256=house.ask("central", "GET", "/v1/fleet", api.AppliedReply).policy_sha256,
    )
    refused = house.call("central", "POST", "/v1/apply", request, identity=house.operator)
    assert (refused.status, house.refusal(refused).code) == (409, "E1203")
    other = msgspec.structs.replace(
        request, fleet=msgspec.structs.replace(request.fleet, domain="else.example")
    )
    refused = house.call("central", "POST", "/v1/apply", other, identity=house.operator)
    assert (refused.status, house.refusal(refused).code) == (403, "E1205")


def test_a_blob_that_does_not_hash_to_its_name_is_refused_and_not_kept(shared: Any) -> None:
    right, wrong = hashlib.sha256(b"right").hexdigest(), b"wrong"
    put = shared.call("central", "PUT", f"/blob/{right}", wrong, identity=shared.operator)
    assert (put.status, shared.refusal(put).code) == (403, "E0320")
    assert shared.call("central", "GET", f"/blob/{right}", identity=shared.operator).status == 404
    assert shared.call("central", "PUT", f"/blob/{right}", b"right").status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/tuf/metadata/..%2f..%2fkeys%2fnats.json",
        "/tuf/metadata/nats.json",
        "/tuf/targets/..%2f..%2fcentral.db",
        "/blob/..%2fcentral.db",
        "/v1/nothing",
    ],
)
def test_no_path_leads_out_of_what_is_published(shared: Any, path: str) -> None:
    for where in ("central", "region"):
        reply = shared.call(where, "GET", path, identity=shared.operator)
        assert reply.status in (403, 404), (where, reply.status, reply.body[:80])


def test_an_odd_query_is_refused_by_name(shared: Any) -> None:
    for query in ("limit=0", "limit=9999", "after=-1", "limit=x"):
        reply = shared.call("central", "GET", f"/v1/events?{query}", identity=shared.operator)
        assert (reply.status, shared.refusal(reply).code) == (400, "E0341")


@pytest.mark.parametrize("module", ["central", "region"])
def test_a_second_start_on_the_same_state_is_refused(shared: Any, module: str) -> None:
    second = subprocess.run(
        [sys.executable, "-m", f"skerry.{module}", "--state", str(shared.folder / module)],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 2
    assert b"error[E0020]" in second.stderr
    assert shared.call(module, "GET", "/v1/health").status == 200


def test_both_stop_cleanly_and_leave_no_child(house: Any) -> None:
    children = [nats_pid(house.central), nats_pid(house.region)]
    assert house.region.stop() == 0
    assert house.central.stop() == 0
    assert not any(is_alive(pid) for pid in children)


def test_everything_throwaway_says_so(shared: Any) -> None:
    assert shared.ask("central", "GET", "/v1/status", api.FleetStatus).marker == "THROWAWAY"
    trust = shared.call("region", "GET", "/v1/trust")
    assert msgspec.json.decode(trust.body, type=api.TrustReply).marker == "THROWAWAY"
    assert "Use them for nothing that matters" in (shared.trust.folder / "THROWAWAY").read_text()
