"""What each role may do on real servers: its own things work, everything else is refused."""

import time
from typing import Any

import anyio
import pytest

from skerry.schema.records import Keep
from skerry.spine import subjects
from skerry.spine.bus import Message
from skerry.spine.errors import (
    BusRefusedError,
    BusTimeoutError,
    BusUnreachableError,
    NobodyListensError,
    SpineError,
)

pytestmark = pytest.mark.anyio
MIB = 1 << 20


async def echo(message: Message) -> bytes:
    return b"heard " + message.payload


async def test_everyone_does_its_own_work_and_nothing_else(tiers: Any, until: Any) -> None:
    """The whole battery in one fleet, because starting servers is what costs time."""
    await tiers.start("central")
    for name in ("eu", "us"):
        await tiers.start(name)
    await until(lambda: linked(tiers, 2), what="two leaf links")
    central, region = await tiers.central(), await tiers.region("eu")
    assert await central.ensure_stream("UP", [subjects.UP_ALL], max_bytes=MIB, max_age_s=60)
    assert await region.ensure_stream(
        "TEL", [subjects.telemetry_of("eu")], max_bytes=MIB, max_age_s=60
    )
    node = await tiers.node("oslo")
    heard: list[str] = []

    async def hear(message: Message) -> None:
        heard.append(message.subject)

    await central.subscribe(subjects.STATUS_ALL, hear)
    await region.subscribe(subjects.status_of("eu"), hear)

    # A node: its own records, report and nudges.
    ack = await node.publish_kept(
        subjects.telemetry("eu", "oslo", 1, Keep.MUST), b"record", msg_id="a"
    )
    assert (ack.stream, ack.duplicate) == ("TEL", False)
    again = await node.publish_kept(
        subjects.telemetry("eu", "oslo", 1, Keep.MUST), b"record", msg_id="a"
    )
    assert again.duplicate
    await node.publish(subjects.status("eu", "oslo", 1), b"{}")
    await until(lambda: heard.count("status.eu.oslo.1") == 2, what="a report at both tiers")
    await node.subscribe(subjects.command("eu", "oslo"), echo)
    for who in (central, region):
        await until(lambda who=who: answers(who, "cmd.eu.oslo"), what="an answer to a nudge")

    # A region: relay, nudges, its own answers to central.
    up = await region.publish_kept(subjects.up("eu", Keep.MUST), b"record", msg_id="a")
    assert up.stream == "UP"
    await region.subscribe(subjects.command_region("eu"), echo)
    await until(lambda: answers(central, "cmd.eu.eu"), what="an answer of the region")
    pulled = await region.pull("TEL", "relay", limit=10, timeout_s=2)
    assert [one.msg_id for one in pulled] == ["a"]
    await region.ack(pulled)
    pulled = await central.pull("UP", "ingest", limit=10, timeout_s=2)
    assert [one.payload for one in pulled] == [b"record"]
    await central.ack(pulled)

    # What a node may not do: speak for others, manage streams, listen to others.
    for forged in (
        "telemetry.eu.bergen.1.must",
        "telemetry.eu.oslo.2.must",
        "telemetry.us.oslo.1.must",
        "up.eu.must",
        "cmd.eu.oslo",
        "cmd.eu.bergen",
        "$JS.API.STREAM.CREATE.X",
        "$JS.eu.API.STREAM.DELETE.TEL",
        "$JS.eu.API.STREAM.PURGE.TEL",
        "$JS.ACK.TEL.relay.1.1.1.1.1",
        "$SYS.REQ.SERVER.PING",
    ):
        with pytest.raises(BusRefusedError, match="no such right"):
            await node.request(forged, b"{}", timeout_s=3)
    await refused_to_hear(
        tiers,
        node,
        "_INBOX._r.eu.>",
        "_INBOX.eu.bergen.1.>",
        "telemetry.>",
        "status.eu.oslo.1",
        "cmd.eu.bergen",
        "cmd.>",
        ">",
        until=until,
    )

    # What a region may not do: other regions, central's streams, nodes' inboxes.
    for forged in (
        "up.us.must",
        "cmd.us.tampa",
        "status.us.tampa.1",
        "telemetry.eu.oslo.1.must",
        "$JS.central.API.STREAM.CREATE.X",
        "$JS.central.API.STREAM.PURGE.UP",
        "$JS.us.API.STREAM.PURGE.TEL",
        "$JS.API.STREAM.PURGE.UP",
        "$JS.eu.API.STREAM.CREATE.OTHER",
    ):
        with pytest.raises(BusRefusedError, match="no such right"):
            await region.request(forged, b"{}", timeout_s=3)
    await refused_to_hear(
        tiers,
        region,
        "_INBOX._c.central.>",
        "_INBOX.eu.oslo.1.>",
        "status.us.>",
        "up.us.>",
        until=until,
    )

    # Central cannot write records, and a leaf's login is for a server only.
    with pytest.raises(BusRefusedError, match="no such right"):
        await central.request("telemetry.eu.oslo.1.must", b"{}", timeout_s=3)
    leaf = tiers.kits["eu"].leaf
    with pytest.raises((BusRefusedError, BusUnreachableError)):
        await tiers.login("central", lambda: leaf, "_INBOX._r.eu")


async def linked(tiers: Any, count: int) -> bool:
    return bool(await tiers.servers["central"].leafs() == count)


async def answers(bus: Any, subject: str) -> bool:
    try:
        return bool(await bus.request(subject, b"hi", timeout_s=1) == b"heard hi")
    except (NobodyListensError, BusTimeoutError):
        return False  # interest travels over the link in its own time


async def refused_to_hear(tiers: Any, bus: Any, *wanted: str, until: Any) -> None:
    for subject in wanted:
        tiers.notes.clear()
        standing = await bus.subscribe(subject, echo)
        await until(
            lambda subject=subject: any(
                f"subscription {subject.lower()}" in one for one in tiers.notes
            ),
            what=f"the refusal of {subject}",
            within_s=3,
        )
        await standing.cancel()


async def test_a_login_is_unknown_to_every_server_but_its_own(tiers: Any) -> None:
    """Whatever eu's key signs, neither central's server nor us's lets it in."""
    for name in ("central", "us"):
        await tiers.start(name)
        login = tiers.node_login("tampa", region="eu")
        with pytest.raises(BusRefusedError, match="Authorization Violation"):
            await tiers.login(name, lambda login=login: login, "_INBOX.us.tampa.1")
        with pytest.raises(BusRefusedError, match="Authorization Violation"):
            await tiers.region("eu", at=name)


async def test_a_login_that_ends_is_cut_and_a_renewed_one_comes_back(
    tiers: Any, until: Any
) -> None:
    await tiers.start("eu")
    logins = [tiers.node_login("oslo", ends_s=2)]
    bus = await tiers.login("eu", lambda: logins[-1], "_INBOX.eu.oslo.1")
    began_s = time.monotonic()
    await until(lambda: not bus.connected, within_s=5, what="the end of the login")
    assert 0.5 < time.monotonic() - began_s < 4
    await until(lambda: any("expired" in one.lower() or "refused" in one for one in tiers.notes))
    assert not bus.connected
    logins.append(tiers.node_login("oslo"))
    await bus.wait_connected(timeout_s=10)


async def test_renewed_credentials_take_over_without_losing_a_message(
    tiers: Any, until: Any
) -> None:
    await tiers.start("eu")
    region, node = await tiers.region("eu"), await tiers.node("oslo")
    await region.ensure_stream("TEL", [subjects.telemetry_of("eu")], max_bytes=MIB, max_age_s=60)
    nudged: list[bytes] = []

    async def nudge(message: Message) -> bytes:
        nudged.append(message.payload)
        return b"ok"

    await node.subscribe(subjects.command("eu", "oslo"), nudge)
    sent = 0
    done = anyio.Event()

    async def keep_nudging() -> None:
        nonlocal sent
        while not done.is_set():
            assert await region.request("cmd.eu.oslo", b"%d" % sent, timeout_s=2) == b"ok"
            sent += 1

    async def keep_sending() -> None:
        for number in range(200):
            await node.publish_kept("telemetry.eu.oslo.1.must", b"x", msg_id=f"k{number}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_nudging)
        tasks.start_soon(keep_sending)
        for _ in range(3):
            await node.replace_credentials()
        done.set()
    assert node.lives == 4
    assert sent > 0
    assert set(nudged) == {b"%d" % number for number in range(sent)}
    kept = await region.pull("TEL", "relay", limit=500, timeout_s=2)
    assert sorted(one.msg_id for one in kept) == sorted(f"k{number}" for number in range(200))


async def test_no_certificate_and_a_foreign_one_are_refused(
    tiers: Any, tmp_path: Any, make_authority: Any
) -> None:
    server = await tiers.start("eu")
    login = tiers.node_login("oslo")
    foreign = make_authority(tmp_path / "foreign", "test authority")
    own = tiers.authority
    for files in (None, foreign.files("client.test")):
        with pytest.raises(SpineError) as caught:
            await connect(server, lambda files=files: own.context(files), "eu.test", login)
        assert isinstance(caught.value, BusUnreachableError)
    with pytest.raises(BusUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):  # we refuse it
        await connect(server, lambda: foreign.context(tiers.client_files), "eu.test", login)
    with pytest.raises(BusUnreachableError, match=r"other\.test"):
        await connect(server, lambda: own.context(tiers.client_files), "other.test", login)


async def connect(server: Any, tls: Any, hostname: str, login: Any) -> None:
    from skerry.spine.nats_bus import NatsBus

    bus = await NatsBus.connect(
        [server.client_url],
        name="x",
        inbox_prefix="_INBOX.eu.oslo.1",
        tls=tls,
        tls_hostname=hostname,
        credentials=lambda: login,
        timeout_s=3,
    )
    await bus.close()
