"""The operator's keys: changed on running servers, proven before anything is left behind."""

import time
from typing import Any
from unittest.mock import AsyncMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.spine import nats_admin
from skerry.spine.errors import AccountPushError, BusRefusedError, NatsKeyError
from skerry.spine.nats_admin import NatsAdmin
from skerry.spine.nats_jwt import (
    Credentials,
    claims_of,
    issue_user,
    issuer_of,
    new_seed,
    new_user_key,
    operator_keys,
    public_of,
)
from skerry.spine.nats_operator import SIGNERS_AHEAD, Keys, NatsOperator, create_operator

pytestmark = pytest.mark.anyio
A_PREFIX = 0  # of an account: nkeys.PREFIX_BYTE_ACCOUNT


async def admin(tiers: Any, name: str) -> NatsAdmin:
    one = await NatsAdmin.connect(
        [tiers.servers[name].client_url],
        tls=lambda: tiers.authority.context(tiers.client_files),
        tls_hostname=f"{name}.test",
        credentials=lambda: tiers.kits[name].system,
    )
    tiers.stack.push_async_callback(one.close)
    return one


def kit(operator: NatsOperator, name: str = "eu") -> Any:
    now = int(time.time())
    return operator.server_kit(name, ends_unix_s=now + 600, now_unix_s=now)


async def test_a_running_server_takes_the_next_signers_and_no_others(
    tiers: Any, tmp_path: Any
) -> None:
    await tiers.start("eu")
    system = await admin(tiers, "eu")
    known = await system.trusted()
    assert known == operator_keys(tiers.operator.operator_jwt)
    node = await tiers.node()
    for _ in range(SIGNERS_AHEAD - 1):  # as often as that without a restart
        assert tiers.operator.next_signer in known
        tiers.operator.begin()
        new = kit(tiers.operator)
        await system.push_account(new.system_jwt)
        await system.push_account(new.account_jwt)
        assert issuer_of(new.account_jwt) in known
        tiers.operator.leave(now_unix_s=int(time.time()))
        tiers.kits["eu"] = new
        await system.replace_credentials()
        await system.push_account(kit(tiers.operator).system_jwt)
        await system.revoke(kit(tiers.operator).account_jwt, tiers.operator.left("eu"))
        tiers.operator.end()
    assert node.connected
    tiers.operator.begin()
    with pytest.raises(AccountPushError, match="does not know"):
        await system.push_account(kit(tiers.operator).account_jwt)
    assert node.connected


async def test_who_keeps_an_old_login_is_cut_when_its_signer_is_left(
    tiers: Any, until: Any
) -> None:
    await tiers.start("eu")
    old_process, old_system = tiers.kits["eu"].process, tiers.kits["eu"].system
    thief = await tiers.login("eu", lambda: old_process, "_INBOX._r.eu")
    thief_system = await tiers.login("eu", lambda: old_system, "_INBOX._s")
    system = await admin(tiers, "eu")
    tiers.operator.begin()
    tiers.kits["eu"] = kit(tiers.operator)
    await system.push_account(tiers.kits["eu"].system_jwt)
    await system.push_account(tiers.kits["eu"].account_jwt)
    assert thief.connected  # beside the new one, until everybody has moved
    await system.replace_credentials()
    tiers.operator.leave(now_unix_s=int(time.time()))
    left = tiers.operator.left("eu")
    await system.push_account(kit(tiers.operator).system_jwt)
    await system.revoke(kit(tiers.operator).account_jwt, left)
    await until(lambda: not (thief.connected or thief_system.connected), within_s=3, what="the cut")
    for login in (old_process, old_system):
        with pytest.raises(BusRefusedError):
            await tiers.login("eu", lambda login=login: login, "_INBOX._r.eu")
    assert await system.trusted()


async def test_the_key_of_an_account_signs_no_login(tiers: Any) -> None:
    """Nor does it lie anywhere: this one is made up, as a thief of an old folder would have it."""
    seed = new_seed(A_PREFIX)
    keys = tiers.operator._keys
    keys.accounts["eu"] = seed
    tiers.kits["eu"] = kit(tiers.operator)
    await tiers.start("eu")
    now, user = int(time.time()), new_user_key()
    jwt = issue_user(
        *(seed,),
        account=public_of(seed),
        public=user.public,
        name="thief",
        tags={},
        ends_unix_s=now + 60,
        now_unix_s=now,
        scoped=False,
    )
    login = Credentials(jwt=jwt, seed=user.seed)
    with pytest.raises(BusRefusedError):
        await tiers.login("eu", lambda: login, "_INBOX._r.eu")


async def test_a_server_that_only_says_updated_is_not_believed(
    tiers: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers 200 to an account that it then refuses to use."""
    await tiers.start("eu")
    node, system = await tiers.node(), await admin(tiers, "eu")
    stranger = create_operator(tmp_path / "stranger", fleet="test", regions=["eu"])
    stranger._keys.accounts = tiers.operator._keys.accounts
    jwt = stranger.revoke("eu", [], now_unix_s=int(time.time()))
    monkeypatch.setattr(nats_admin, "_APPLIED_S", 0.1)
    monkeypatch.setattr(system, "trusted", AsyncMock(return_value={issuer_of(jwt)}))
    with pytest.raises(AccountPushError, match="goes by another"):
        await system.push_account(jwt)
    assert node.connected


def test_no_seed_of_an_account_is_kept(tmp_path: Any) -> None:
    operator = create_operator(tmp_path, fleet="test", regions=["eu"])
    keys = operator._keys
    assert all(one.startswith("A") for one in (*keys.accounts.values(), *keys.systems.values()))


def test_a_folder_of_before_goes_on_and_its_first_change_moves_to_signers(tmp_path: Any) -> None:
    operator = create_operator(tmp_path, fleet="test", regions=["eu"])
    keys = operator._keys
    seeds = {name: new_seed(A_PREFIX) for name in keys.accounts}
    old = NatsOperator(
        tmp_path,
        Keys(
            fleet="test",
            operator=keys.operator,
            accounts=seeds,
            systems=seeds,
            signers={name: one for name, one in keys.signers.items() if "system" not in name},
            logins=keys.logins,
        ),
    )
    old._save()
    again = create_operator(tmp_path, fleet="test", regions=["eu"])
    identity = public_of(keys.operator)
    before = kit(again)
    assert issuer_of(before.account_jwt) == identity
    assert {identity, again.next_signer} <= operator_keys(before.operator_jwt)
    again.begin()
    after = kit(again)
    assert issuer_of(after.account_jwt) in operator_keys(before.operator_jwt)
    assert identity not in operator_keys(after.operator_jwt)
    assert after.account == before.account  # its streams stay
    assert again._keys.accounts["eu"] == before.account


def test_stolen_keys_leave_nothing_that_was_known(tmp_path: Any) -> None:
    operator = create_operator(tmp_path, fleet="test", regions=["eu"])
    before = kit(operator)
    operator.begin(stolen=True)
    after = kit(operator)
    assert not operator_keys(before.operator_jwt) & operator_keys(after.operator_jwt)
    assert after.account == before.account
    assert issuer_of(after.process.jwt) != issuer_of(before.process.jwt)


def test_a_change_lies_on_the_disk_until_it_is_over(tmp_path: Any) -> None:
    create_operator(tmp_path, fleet="test", regions=["eu"]).begin()
    operator = create_operator(tmp_path, fleet="test", regions=["eu"])
    operator.took("eu")
    operator.leave(now_unix_s=1)
    again = create_operator(tmp_path, fleet="test", regions=["eu"])
    assert again.change is not None
    assert again.change.leaving
    assert not again.change.taken
    assert len(again.left("central")) == 3  # the process's, the leaf's of eu, the system's
    again.end()
    with pytest.raises(NatsKeyError, match="no change"):
        again.left("central")


@given(st.text() | st.binary().map(lambda raw: "a." + raw.hex() + ".b"))
def test_any_text_is_a_token_or_a_clear_refusal(text: str) -> None:
    try:
        claims_of(text)
    except NatsKeyError:
        pass
