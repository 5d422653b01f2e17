"""Revocation: a live connection is cut in under two seconds, and stays cut after a restart."""

import time
from typing import Any

import pytest

from skerry.spine.errors import AccountPushError, BusRefusedError, NatsKeyError
from skerry.spine.nats_admin import NatsAdmin
from skerry.spine.nats_jwt import new_user_key
from skerry.spine.nats_operator import NatsOperator, create_operator

pytestmark = pytest.mark.anyio


async def admin(tiers: Any, name: str) -> NatsAdmin:
    one = await NatsAdmin.connect(
        [tiers.servers[name].client_url],
        tls=lambda: tiers.authority.context(tiers.client_files),
        tls_hostname=f"{name}.test",
        credentials=lambda: tiers.kits[name].system,
    )
    tiers.stack.push_async_callback(one.close)
    return one


async def test_a_revoked_node_is_cut_and_its_neighbour_is_not(tiers: Any, until: Any) -> None:
    server = await tiers.start("eu")
    key = new_user_key()
    login = tiers.node_login("oslo", key=key)
    node = await tiers.login("eu", lambda: login, "_INBOX.eu.oslo.1")
    neighbour = await tiers.node("bergen")
    system = await admin(tiers, "eu")
    assert len(await system.live(key.public)) == 1
    began_s = time.monotonic()
    account = tiers.operator.revoke("eu", [key.public], now_unix_s=int(time.time()))
    assert 0 < await system.revoke(account, [key.public]) < 2
    await until(lambda: not node.connected, within_s=2, what="the cut")
    assert time.monotonic() - began_s < 2
    assert neighbour.connected
    with pytest.raises(BusRefusedError):
        await tiers.login("eu", lambda: login, "_INBOX.eu.oslo.1")
    await server.stop()
    await server.start()  # with the kit of before the revocation: the newer account stays
    with pytest.raises(BusRefusedError):
        await tiers.login("eu", lambda: login, "_INBOX.eu.oslo.1")
    await system.wait_connected(timeout_s=10)
    assert await system.revoke(account, [key.public]) < 2  # safe to repeat


async def test_a_login_issued_after_the_revocation_is_good_again(tiers: Any) -> None:
    await tiers.start("eu")
    key = new_user_key()
    system = await admin(tiers, "eu")
    past = int(time.time()) - 60
    await system.revoke(tiers.operator.revoke("eu", [key.public], now_unix_s=past), [key.public])
    login = tiers.node_login("oslo", key=key)
    await tiers.login("eu", lambda: login, "_INBOX.eu.oslo.1")


async def test_a_revoked_leaf_is_cut_from_the_hub(tiers: Any, until: Any) -> None:
    hub = await tiers.start("central")
    await tiers.start("eu")

    async def links(count: int) -> bool:
        return bool(await hub.leafs() == count)

    await until(lambda: links(1), what="the link")
    system = await admin(tiers, "central")
    public = tiers.operator.leaf_public("eu")
    account = tiers.operator.revoke("central", [public], now_unix_s=int(time.time()))
    await system.revoke(account, [public])
    await until(lambda: links(0), within_s=3, what="the cut")


async def test_a_login_under_an_account_of_another_operator_is_refused(
    tiers: Any, tmp_path: Any
) -> None:
    """The server files any account it is given, but trusts only what its operator signed."""
    await tiers.start("eu")
    foreign = NatsOperator.create(tmp_path / "foreign", fleet="test", regions=["eu"])
    system = await admin(tiers, "eu")
    try:
        await system.push_account(foreign.account_jwt("eu"))
    except AccountPushError:
        pass  # better still
    now = int(time.time())
    login = foreign.server_kit("eu", ends_unix_s=now + 60, now_unix_s=now).process
    with pytest.raises(BusRefusedError):
        await tiers.login("eu", lambda: login, "_INBOX._r.eu")


def test_keys_are_made_once_and_regions_can_be_added(tmp_path: Any) -> None:
    first = create_operator(tmp_path, fleet="test", regions=["eu"])
    again = create_operator(tmp_path, fleet="test", regions=["eu", "us"])
    kits = [one.server_kit("eu", ends_unix_s=2, now_unix_s=1) for one in (first, again)]
    assert kits[0].account == kits[1].account
    assert kits[0].node_signer_seed == kits[1].node_signer_seed
    assert kits[0].process.seed == kits[1].process.seed
    us = again.server_kit("us", ends_unix_s=2, now_unix_s=1)
    assert us.account != kits[0].account
    with pytest.raises(NatsKeyError, match="belongs to the fleet test"):
        create_operator(tmp_path, fleet="other", regions=[])
    with pytest.raises(NatsKeyError, match="no server is named 'fr'"):
        again.server_kit("fr", ends_unix_s=2, now_unix_s=1)


@pytest.mark.parametrize("bad", ["", "U" * 56, "A" + "A" * 55, "*", "ü" * 56])
def test_a_key_from_the_network_is_checked(bad: str, tmp_path: Any) -> None:
    operator = create_operator(tmp_path, fleet="test", regions=["eu"])
    with pytest.raises(NatsKeyError, match="is not a user key"):
        operator.revoke("eu", [bad], now_unix_s=1)
