"""Joining, renewing and being turned away, against a real region and central."""

import asyncio
import ssl
from typing import Any

import msgspec
import pytest

from skerry.base.clock import SystemClock
from skerry.schema import api
from skerry.schema.observed import Observed, State, Window
from skerry.spine import subjects
from skerry.spine.nats_bus import NatsBus
from skerry.spine.nats_jwt import Credentials
from skerry.trust.tls import client_context, verify_identity

pytestmark = pytest.mark.anyio


async def connect(house: Any, joined: Any, *, wait: bool = True) -> NatsBus:
    return await NatsBus.connect(
        [joined.reply.nats_url],
        name=joined.reply.node,
        inbox_prefix=subjects.inbox_node("region-eu", joined.reply.site, 1),
        tls=lambda: client_context(joined.identity, house.roots),
        tls_hostname=joined.reply.nats_host,
        credentials=lambda: Credentials(jwt=joined.reply.nats_jwt, seed=joined.login.seed),
        wait=wait,
    )


def test_a_join_gives_a_chain_that_peers_accept_and_ends_with_the_login(shared: Any) -> None:
    joined = shared.join("s1")
    now_unix_s = SystemClock().unix_s()
    verify_identity(joined.identity, shared.roots, now_unix_s=now_unix_s)
    assert str(joined.identity.id) == "spiffe://s1.region-eu.clinic.example/node/1"
    assert joined.reply.ends_unix_s == joined.identity.ends_unix_s
    assert 3500 < joined.reply.ends_unix_s - now_unix_s <= 3600
    assert joined.reply.tuf_root


async def test_the_login_opens_the_regions_nats_and_a_report_reaches_central(
    shared: Any, wait_until: Any
) -> None:
    joined = shared.join("s2")
    bus = await connect(shared, joined)
    window = Window(
        duration_s=1, requests=0, errors=0, local=0, latency_ms_p50=None, latency_ms_p95=None
    )
    report = Observed(
        node="s2/1",
        site="s2",
        region="region-eu",
        boot="b",
        at_unix_s=1.0,
        generation=0,
        desired_sha256="",
        in_sync=True,
        state=State.OK,
        reason="",
        models=(),
        window=window,
    )

    def heard() -> bool:
        status = shared.ask("central", "GET", "/v1/status", api.FleetStatus)
        return any(node.node == "s2/1" and node.state is State.OK for node in status.nodes)

    for _ in range(50):  # core messages: until the leaf link is up, nobody listens
        await bus.publish(subjects.status("region-eu", "s2", 1), msgspec.json.encode(report))
        if await asyncio.to_thread(heard):
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("central never heard the report")
    await bus.close()


def test_renewing_needs_no_certificate_only_the_enrolment_key(shared: Any) -> None:
    joined = shared.join("s3")
    reply = shared.renew("s3")
    assert reply.status == 200
    renewed = msgspec.json.decode(reply.body, type=api.IdentityReply)
    assert renewed.spiffe_id == joined.reply.spiffe_id
    assert renewed.chain_pem != joined.reply.chain_pem
    assert renewed.tuf_root == b""


def test_another_enrolment_key_cannot_renew(shared: Any) -> None:
    shared.join("s4")
    name = "spiffe://s4.region-eu.clinic.example/node/1"
    request, _, _ = shared.request(name, shared.folder / "stranger.pem")
    refused = shared.call("region", "POST", "/v1/renew", request)
    assert (refused.status, shared.refusal(refused).code) == (403, "E0215")


def test_a_node_that_never_joined_cannot_renew(shared: Any) -> None:
    refused = shared.renew("nowhere")
    assert (refused.status, shared.refusal(refused).code) == (403, "E0216")


def test_each_bad_token_is_refused_by_its_own_name(shared: Any) -> None:
    ticket = shared.ticket("s5")
    first, _, _ = shared.request(ticket.spiffe_id, shared.folder / "first.pem", token=ticket.token)
    again, _, _ = shared.request(ticket.spiffe_id, shared.folder / "first.pem", token=ticket.token)
    thief, _, _ = shared.request(ticket.spiffe_id, shared.folder / "thief.pem", token=ticket.token)
    invented, _, _ = shared.request(ticket.spiffe_id, shared.folder / "first.pem", token="0" * 32)
    bound, _, _ = shared.request(
        "spiffe://other.region-eu.clinic.example/node/1",
        shared.folder / "first.pem",
        token=shared.ticket("s6").token,
    )
    assert shared.call("region", "POST", "/v1/join", first).status == 200
    assert shared.call("region", "POST", "/v1/join", again).status == 200
    for request, code in ((thief, "E0212"), (invented, "E0211"), (bound, "E0214")):
        refused = shared.call("region", "POST", "/v1/join", request)
        assert (refused.status, shared.refusal(refused).code) == (403, code)


def test_a_node_of_another_region_is_sent_there(shared: Any) -> None:
    request, _, _ = shared.request(
        "spiffe://s1.region-us.clinic.example/node/1", shared.folder / "x.pem", token="0" * 32
    )
    refused = shared.call("region", "POST", "/v1/join", request)
    assert (refused.status, shared.refusal(refused).code) == (403, "E1103")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"spiffe_id": 3}', b"x" * 70_000])
def test_a_body_that_is_no_request_is_refused_and_harms_nothing(shared: Any, body: bytes) -> None:
    refused = shared.call("region", "POST", "/v1/join", body)
    assert (refused.status, shared.refusal(refused).code) == (400, "E0341")
    assert shared.call("region", "GET", "/v1/health").status == 200


def test_without_a_number_the_next_free_one_is_given(shared: Any) -> None:
    shared.join("s7")
    assert shared.ticket("s7", None).spiffe_id.endswith("/node/2")


async def test_a_ban_cuts_the_live_login_and_refuses_everything_after(shared: Any) -> None:
    joined = shared.join("s8")
    bus = await connect(shared, joined)
    assert bus.connected
    request = api.BanRequest(node="s8/1", banned=True, reason="stolen")
    found = await asyncio.to_thread(
        shared.ask, "region", "POST", "/v1/bans", api.Registration, request
    )
    assert found.banned
    for _ in range(100):
        if not bus.connected:
            break
        await asyncio.sleep(0.02)
    assert not bus.connected
    await bus.close()
    refused = shared.renew("s8")
    assert (refused.status, shared.refusal(refused).code) == (403, "E0217")
    held = shared.call("region", "GET", "/tuf/metadata/timestamp.json", identity=joined.identity)
    assert (held.status, shared.refusal(held).code) == (403, "E0217")
    lifted = api.BanRequest(node="s8/1", banned=False, reason="found")
    shared.ask("region", "POST", "/v1/bans", api.Registration, lifted)
    assert shared.renew("s8").status == 200


def test_only_operators_make_tokens_and_the_refusal_says_who_may(shared: Any) -> None:
    joined = shared.join("s9")
    for identity in (None, joined.identity):
        refused = shared.call(
            "region", "POST", "/v1/tokens", api.TokenRequest(site="x"), identity=identity
        )
        error = shared.refusal(refused)
        assert (refused.status, error.code, error.exit_code) == (403, "E0340", 6)
        assert "operator" in error.hint


def test_a_certificate_of_another_fleet_does_not_get_past_the_handshake(
    shared: Any, tmp_path: Any
) -> None:
    from skerry.central.bootstrap import create_trust
    from skerry.trust.identity import Identity

    foreign = create_trust(
        tmp_path, fleet="clinic", domain="clinic.example", regions=[], clock=SystemClock()
    )
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shared.call(
            "central",
            "GET",
            "/v1/status",
            identity=Identity.load(foreign.operator("local")),
        )


async def test_a_ban_cuts_the_live_login_while_central_is_dead(house: Any) -> None:
    joined = await asyncio.to_thread(house.join, "s1")
    bus = await connect(house, joined)
    await asyncio.to_thread(house.central.kill)
    request = api.BanRequest(node="s1/1", banned=True, reason="stolen")
    await asyncio.to_thread(house.ask, "region", "POST", "/v1/bans", api.Registration, request)
    for _ in range(200):
        if not bus.connected:
            break
        await asyncio.sleep(0.01)
    assert not bus.connected
    await bus.close()
