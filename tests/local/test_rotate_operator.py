"""The operator's keys change under load: nobody's stream drops, and nothing kept is lost."""

import time
from collections.abc import Callable, Iterator

import pytest

from skerry.client.operator import OperatorError
from skerry.local.hollow_fleet import HollowFleet, HollowNode
from skerry.local.hollow_load import HollowLoad
from skerry.spine import served_nats
from skerry.spine.errors import BusRefusedError
from skerry.spine.nats_bus import NatsBus
from skerry.spine.nats_change import NatsGrant, NatsStanding
from skerry.spine.nats_jwt import Credentials, issuer_of, operator_keys
from skerry.spine.nats_operator import NatsOperator

PLACES = ("central", "eu", "us")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HollowFleet]:
    fleet = HollowFleet(tmp_path_factory.mktemp("rotate"), regions=PLACES[1:]).start()
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def nodes(fleet: HollowFleet) -> list[HollowNode]:
    return [fleet.node("oslo"), fleet.node("reno", region="us")]


def until(true: Callable[[], bool], what: str, *, within_s: float = 20.0) -> None:
    until_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until_s, what
        time.sleep(0.05)


def flowing(load: HollowLoad) -> None:
    many = len(load.kept)
    until(lambda: len(load.kept) > many + 20, "records that flow")


def operator(fleet: HollowFleet) -> NatsOperator:
    return NatsOperator.create(fleet.trust.nats, fleet=fleet.trust.fleet, regions=())


def refused(fleet: HollowFleet, node: HollowNode, login: Credentials) -> bool:
    """Try a login at the server of a node's region."""

    async def knock() -> bool:
        try:
            bus = await NatsBus.connect(
                [node.files.load_login().nats_url],
                name="knock",
                inbox_prefix="_INBOX._knock",
                tls=node.files.client_tls,
                tls_hostname=node.host,
                credentials=lambda: login,
            )
        except BusRefusedError:
            return True
        await bus.close()
        return False

    return fleet.loop.run(knock())


def test_keys_change_under_load_and_the_old_ones_are_refused(
    fleet: HollowFleet, nodes: list[HollowNode]
) -> None:
    before = {name: fleet.kit(name) for name in PLACES}
    lives = [node.bus.lives for node in nodes if node.bus]
    with HollowLoad(fleet, nodes) as load:
        flowing(load)
        assert fleet.operator_change().go_on().step == "done"
        flowing(load)
    until(lambda: load.missing() == 0, "every record")
    assert load.doubled() == 0
    assert [node.bus.lives for node in nodes if node.bus] == lives  # no connection was lost
    for name, old in before.items():
        new = fleet.kit(name)
        assert new.account == old.account
        assert new.node_signer_seed == old.node_signer_seed
        assert issuer_of(new.account_jwt) != issuer_of(old.account_jwt)
        assert issuer_of(new.process.jwt) != issuer_of(old.process.jwt)
    for node in nodes:
        old, new = before[node.id.region], fleet.kit(node.id.region)
        assert refused(fleet, node, old.process)
        assert refused(fleet, node, old.system)
        assert not refused(fleet, node, new.process)


def test_a_region_that_is_away_holds_the_change_up_and_it_goes_on_later(
    fleet: HollowFleet, nodes: list[HollowNode]
) -> None:
    change = fleet.operator_change()
    fleet.processes["us"].stop()
    try:
        standing = change.go_on()
        assert (standing.step, standing.waiting) == ("begin", ("us",))
        operator(fleet).begin()  # it went away just after
        standing = change.go_on()
        assert (standing.step, standing.waiting) == ("switch", ("us",))
    finally:
        fleet.processes["us"].start()
    old = fleet.kit("us")
    assert change.go_on().step == "done"
    assert issuer_of(fleet.kit("us").account_jwt) != issuer_of(old.account_jwt)
    with HollowLoad(fleet, nodes) as load:
        flowing(load)
    until(lambda: load.missing() == 0, "every record")


def test_stolen_keys_are_trusted_by_no_server_and_nothing_kept_is_lost(
    fleet: HollowFleet, nodes: list[HollowNode]
) -> None:
    known = operator_keys(fleet.kit("eu").operator_jwt)
    with HollowLoad(fleet, nodes) as load:
        flowing(load)
        assert fleet.operator_change().go_on(stolen=True).step == "done"
        flowing(load)
    until(lambda: load.missing() == 0, "every record")
    assert load.doubled() == 0
    for name in PLACES:
        trusted = fleet.operator(name).ask("GET", "/v1/nats", NatsStanding).trusted
        assert not known & set(trusted)
        assert set(trusted) == operator_keys(fleet.kit(name).operator_jwt)


def test_a_server_that_does_not_know_the_next_key_holds_it_up_until_it_may_start_anew(
    fleet: HollowFleet, nodes: list[HollowNode]
) -> None:
    keys = operator(fleet)
    del keys._keys.operator_signers[1:]  # as after more changes than a server was told of
    keys._top_up()
    keys._save()
    standing = fleet.operator_change().go_on()
    assert (standing.step, standing.unknowing) == ("begin", PLACES)
    assert keys.change is None
    with HollowLoad(fleet, nodes) as load:
        flowing(load)
        fleet.processes["us"].stop()
        try:
            operator(fleet).begin(restart=True)
            assert fleet.operator_change().go_on().waiting == ("us",)
        finally:
            fleet.processes["us"].start()
        assert fleet.operator_change().go_on().step == "done"  # it was said once, and is kept
        flowing(load)
    until(lambda: load.missing() == 0, "every record")


def test_a_kit_that_cannot_be_used_changes_nothing(
    fleet: HollowFleet, nodes: list[HollowNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_nats, "RESTART_S_MAX", 2.0)
    before = fleet.kit("eu")
    with pytest.raises(OperatorError, match="wanted one for 'eu'"):
        fleet.operator("eu").ask("POST", "/v1/nats", NatsStanding, NatsGrant(kit=fleet.kit("us")))
    stranger = NatsOperator.create(
        fleet.folder / "stranger", fleet=fleet.trust.fleet, regions=["eu"]
    )
    stranger._keys.accounts["eu"] = before.account
    stranger._keys.systems["eu"] = before.system_account
    forged = stranger.server_kit("eu", ends_unix_s=int(time.time()) + 60, now_unix_s=0)
    for restart in (False, True):
        grant = NatsGrant(kit=forged, restart=restart)
        with pytest.raises(OperatorError):
            fleet.operator("eu").ask("POST", "/v1/nats", NatsStanding, grant, timeout_s=60)
    assert fleet.kit("eu") == before
    with HollowLoad(fleet, nodes) as load:
        flowing(load)
    until(lambda: load.missing() == 0, "every record")
