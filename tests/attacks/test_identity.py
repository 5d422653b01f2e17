"""Attacks on identities: certificates, logins, bans, authorities; one fleet in this process."""

import asyncio
import random
import socket
import ssl
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from cryptography import x509

from skerry.base.errors import SkerryError
from skerry.base.files import write_private
from skerry.client.operator import OperatorUnreachableError
from skerry.local.hollow_fleet import DOMAIN, FLEET, HollowFleet, HollowNode
from skerry.node import renewal
from skerry.node.enrol import join, renew
from skerry.node.errors import JoinRefusedError, RenewalError
from skerry.node.identity import IdentityFiles
from skerry.node.peer_door import RECHECK_S
from skerry.node.uplink import AWAY_S
from skerry.schema.api import ErrorReply, IdentityReply, IdentityRequest, RegistryPush
from skerry.schema.records import Keep
from skerry.serve.http_door import HttpDoor
from skerry.serve.http_message import HttpReply, HttpRequest
from skerry.serve.listening import Listener
from skerry.spine import source_limit, subjects
from skerry.spine.bus import Message
from skerry.spine.errors import BusRefusedError, ReloadNotAppliedError
from skerry.spine.nats_admin import NatsAdmin
from skerry.spine.nats_config import ServerConfig, TlsFiles
from skerry.spine.nats_jwt import issue_node, new_user_key, public_of
from skerry.spine.nats_operator import NatsOperator
from skerry.spine.nats_server import NatsServer, free_port
from skerry.testing.clock import ManualClock
from skerry.trust.anchors import rejected
from skerry.trust.authority import Authority
from skerry.trust.enrol import enrol_request, load_or_create_enrolment_key
from skerry.trust.identity import (
    Identity,
    certificates_of,
    chain_to_pem,
    create_csr,
    key_to_pem,
    new_key,
)
from skerry.trust.spiffe import central_id, node_id, region_id
from skerry.trust.tls import (
    CertificateError,
    client_context,
    explain_tls_error,
    verify_identity,
)

_seen: dict[bytes, None] = {}


def forget_no_root(roots_pem: bytes, distrusted_pem: bytes = b"") -> bytes:
    """Stands where a bundle is made when A18 is switched off; who was shut out stays so (A17)."""
    _seen.update(dict.fromkeys(chain_to_pem([one]) for one in certificates_of(roots_pem)))
    return b"".join(_seen) + rejected(distrusted_pem)


def constrain_nothing(scope: object, host: str) -> x509.NameConstraints:
    """Stands where an authority is constrained when A17 is switched off."""
    names = [x509.UniformResourceIdentifier(one) for one in (DOMAIN, f".{DOMAIN}")]
    return x509.NameConstraints([*names, x509.DNSName(DOMAIN)], None)


def nats_rights_of_all(region: str) -> dict[str, Any]:
    """Stands where a node's rights are listed when A20 is switched off: everything."""
    return {
        "pub": {"allow": [">"]},
        "sub": {"allow": [">"]},
        "subs": 64,
        "data": -1,
        "payload": 1 << 20,
        "allowed_connection_types": ["STANDARD"],
    }


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HollowFleet]:
    """Central, two regions, real NATS and TLS."""
    one = HollowFleet(tmp_path_factory.mktemp("fleet")).start()
    try:
        yield one
    finally:
        one.close()


def until(true: Callable[[], Any], what: str, *, within_s: float = 10.0) -> Any:
    end = time.monotonic() + within_s
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)


class Line:
    """One open HTTPS connection to a peer's door."""

    def __init__(self, port: int, identity: Identity, files: IdentityFiles, host: str) -> None:
        raw = socket.create_connection(("127.0.0.1", port), 5)
        tls = client_context(identity, files.trusted_pem())
        self.line = tls.wrap_socket(raw, server_hostname=host)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.line.close()

    def ask(self) -> str:
        self.line.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        got = self.line.recv(4096)
        if not got:
            raise ConnectionResetError("closed without an answer")
        return got.decode()

    def open(self) -> bool:
        self.line.settimeout(0.001)
        try:
            return bool(self.line.recv(1))
        except TimeoutError:
            return True
        except OSError:
            return False


class Peers:
    """A node's peer door, with the node's own judgement of who may be there."""

    def __init__(self, fleet: HollowFleet, node: HollowNode) -> None:
        self.fleet, self.node = fleet, node

    def __enter__(self) -> Self:
        self.port = self.fleet.loop.run(self._open())
        return self

    def __exit__(self, *exc: object) -> None:
        self.fleet.loop.run(self._close())

    def call(self, identity: Identity, files: IdentityFiles) -> Line:
        return Line(self.port, identity, files, self.node.id.host)

    async def _open(self) -> int:
        async def answer(request: HttpRequest) -> HttpReply:
            return HttpReply(body=[b"here"])

        self.door = HttpDoor(answer, clock=self.fleet.clock)
        listener = Listener(ssl=self.node.tls.context, authorize=self.node.door.admit)
        port = await self.door.listen(listener)
        self.rechecks = asyncio.create_task(self._recheck())
        return port

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            self.door.recheck()

    async def _close(self) -> None:
        self.rechecks.cancel()
        await self.door.stop(0)


class Storm:
    """Renewals in the name of nobody, one after the other, from an address of their own."""

    def __init__(self, fleet: HollowFleet, node: HollowNode, folder: Path) -> None:
        self.port = int(node.url.rpartition(":")[2])
        self.host, self.trusted = node.host, node.files.trusted_pem()
        self.name = node_id(DOMAIN, "eu", "nobody", 1)
        self.enrolment = load_or_create_enrolment_key(folder / "enrolment.pem")
        self.said: Counter[str] = Counter()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(2)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        until(lambda: self.said["E0265"] or self.said.total() > 60, "the storm", within_s=20)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(10)

    def run(self) -> None:
        while not self.stop.is_set():
            key = new_key()
            proof = enrol_request(
                self.enrolment, self.name, create_csr(key, self.name), now_unix_s=time.time()
            )
            body = msgspec.json.encode(
                IdentityRequest(**msgspec.structs.asdict(proof), nats_public_key=PUBLIC)
            )
            with suppress(OSError), self._dial() as line:
                head = f"POST /v1/renew HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
                line.sendall(head.encode() + body)
                answer = line.recv(65536).partition(b"\r\n\r\n")[2] or line.recv(65536)
                self.said[msgspec.json.decode(answer, type=ErrorReply).error.code] += 1

    def _dial(self) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), 5, ("127.0.0.2", 0))
        return client_context(None, self.trusted).wrap_socket(raw, server_hostname=self.host)


PUBLIC = new_user_key().public


def rotate(
    fleet: HollowFleet,
    what: str,
    nodes: list[Any],
    keep: Callable[[], None],
    *,
    stolen: bool = False,
) -> None:
    """Change a root or an authority while every node keeps records, and hears when nudged."""
    rotation = fleet.rotation()
    for _ in range(100):
        standing = rotation.go_on(what, stolen=stolen)
        if standing.step == "done":
            return
        for node in {node.id: node for node in [*fleet.nodes, *nodes]}.values():
            with suppress(SkerryError):  # some were banned, or had their login taken
                node.hear()
                fleet.loop.run(node.report())
        keep()
        time.sleep(0.02)
    pytest.fail(f"{what}: {standing}")


@pytest.mark.attack(
    row="A18",
    title="root and regional authority replaced under load, the old ones used afterwards",
    refused="CERT_FOREIGN_CA",
    off={"skerry.trust.anchors.bundle": forget_no_root},
)
def test_a18_the_root_and_an_authority_change_under_load_and_the_old_ones_are_refused(
    fleet: HollowFleet,
) -> None:
    nodes = [fleet.node("a18", 1), fleet.node("a18", 2), fleet.node("a18-us", region="us")]
    kept: list[str] = []

    def keep() -> None:
        for node in nodes:
            key = str(len(kept))
            fleet.loop.run(node.keep(key))
            kept.append(key)

    def only_the_new(old: Identity, reason: str) -> None:
        now = time.time()
        for node in nodes:
            trusted = node.files.trusted_pem()
            verify_identity(node.files.load(), trusted, now_unix_s=now)
            with pytest.raises(CertificateError) as refused:
                verify_identity(old, trusted, now_unix_s=now)
            assert refused.value.reason == reason

    for what, reason in (("root", "CERT_FOREIGN_CA"), ("eu", "CERT_DISTRUSTED")):
        old = nodes[0].files.load()
        rotate(fleet, what, nodes, keep)
        only_the_new(old, reason)
    keep()

    def arrived() -> bool:
        events = fleet.operator("central").events(kind="hollow")
        return sorted(one.event.text for one in events) == sorted(kept)

    until(arrived, "every acknowledged record, once")


@pytest.mark.attack(
    row="A02",
    title="a copied certificate, key and login, used while their owner is connected",
    refused="IDENTITY_CLONED",
    off={"skerry.region.clones._overlap": lambda held: False},
)
def test_a02_a_copied_login_is_taken_away_and_only_the_owner_gets_another(
    fleet: HollowFleet, tmp_path: Path
) -> None:
    owner = fleet.node("a02")
    thief = HollowNode(fleet, node_id(DOMAIN, "eu", "a02-thief", 1))
    thief.files, thief.id = owner.copy(tmp_path / "stolen"), owner.id
    thief.files.enrolment_key.unlink()  # bound to the machine where there is a TPM
    stolen = fleet.loop.run(thief.log_in())

    def alive() -> bool:
        for node in (owner, thief):
            with suppress(SkerryError):
                fleet.loop.run(node.report())
        return not (stolen.connected or owner.bus.connected)

    until(alive, "both lost the login", within_s=12)
    owner.renew()
    fleet.loop.run(owner.bus.replace_credentials())
    fleet.loop.run(owner.report())
    assert owner.bus.connected
    with pytest.raises(BusRefusedError):
        fleet.loop.run(thief.log_in())
    with pytest.raises(RenewalError, match="enrolment key"):
        renew(thief.files, url=owner.url, host=owner.host, inference_url="", clock=fleet.clock)


@pytest.mark.attack(
    row="A03",
    title="an expired certificate and login on connections that are still open",
    refused="CERT_EXPIRED",
    off={"skerry.node.peer_door.still_good": lambda *_: None},
)
def test_a03_live_connections_end_with_the_certificate(fleet: HollowFleet) -> None:
    node, peer = fleet.node("a03", 1), fleet.node("a03", 2)
    now = time.time()
    ends = int(now) + 2
    site = Authority.load(node.files.site_authority)
    short = site.issue_identity(node.id, now_unix_s=now, life_s=ends - now)
    seed = node.files.load_login().seed
    jwt = issue_node(
        fleet.kit("eu"),
        site="a03",
        number=1,
        public=public_of(seed),
        ends_unix_s=ends,
        now_unix_s=int(now),
    )
    login = msgspec.structs.replace(node.files.load_login(), jwt=jwt)
    write_private(node.files.login, msgspec.json.encode(login))
    fleet.loop.run(node.leave())
    bus = fleet.loop.run(node.log_in())
    with Peers(fleet, peer) as door, door.call(short, node.files) as line:
        assert line.ask()
        until(lambda: not line.open(), "the peer's door cut it", within_s=5)
        assert abs(time.time() - ends) < 1.5
        until(lambda: not bus.connected, "NATS cut it", within_s=2)
    node.renew()
    fleet.loop.run(node.log_in())


@pytest.mark.attack(
    row="A04",
    title="a banned node goes on talking: to NATS, to the region, to its peers",
    refused="BANNED",
    off={"skerry.node.peer_door.is_banned": lambda *_: False},
)
def test_a04_a_ban_cuts_every_connection_in_two_seconds_and_can_be_lifted(
    fleet: HollowFleet,
) -> None:
    bad, peer = fleet.node("a04", 1), fleet.node("a04", 2)
    nudged = fleet.nudges("eu", "a04", peer)
    identity = bad.files.load()
    with Peers(fleet, peer) as door, door.call(identity, bad.files) as line:
        assert line.ask()
        began = time.monotonic()
        fleet.operator("eu").ban("a04/1", banned=True, reason="stolen")
        until(nudged, "the nudge")
        peer.hear()
        until(lambda: not (bad.bus.connected or line.open()), "the cut", within_s=2)
        assert time.monotonic() - began < 2
        with pytest.raises(BusRefusedError):
            fleet.loop.run(bad.log_in())
        with pytest.raises(RenewalError, match="is banned: stolen"):
            bad.renew()
        with door.call(identity, bad.files) as again:
            assert "banned" in again.ask()
        # What it holds of the site's authority makes no other node of the site either.
        other = Authority.load(bad.files.site_authority).issue_identity(
            node_id(DOMAIN, "eu", "a04", 3), now_unix_s=time.time()
        )
        with pytest.raises((ssl.SSLError, ConnectionError)), door.call(other, bad.files) as forged:
            forged.ask()
    fleet.operator("eu").ban("a04/1", banned=False, reason="found")
    bad.renew()
    fleet.loop.run(bad.log_in())
    assert bad.bus.connected


@pytest.mark.attack(
    row="A05",
    title="a revocation in files that a NATS server does not take",
    refused="RELOAD_NOT_APPLIED",
    off={"skerry.spine.nats_server.taken": lambda *_: True},
)
def test_a05_a_reload_that_was_not_applied_is_an_alarm_and_the_kick_cut_the_node_anyhow(
    fleet: HollowFleet, tmp_path: Path
) -> None:
    node, other = fleet.node("a05", 1), fleet.node("a05", 2)
    kit = fleet.kit("eu")
    files = [tmp_path / name for name in ("server.pem", "server.key", "roots.pem")]
    identity = Authority.load(fleet.folder / "eu/keys/authority.pem").issue_identity(
        region_id(DOMAIN, "eu"), now_unix_s=time.time(), loopback=True
    )
    files[0].write_bytes(identity.chain_pem)
    files[1].write_bytes(identity.key_pem)
    files[2].write_bytes(node.files.trusted_pem())
    config = ServerConfig(
        kit=kit,
        tls=TlsFiles(certificate=files[0], key=files[1], ca=files[2]),
        client_port=free_port(),
        max_file_store_bytes=1 << 20,
    )

    async def attack() -> None:
        server = NatsServer(config, tmp_path / "nats")
        await server.start()
        try:
            await node.leave()
            bus = await node.log_in(at=server.client_url)
            admin = await NatsAdmin.connect(
                [server.client_url],
                tls=node.files.client_tls,
                tls_hostname=region_id(DOMAIN, "eu").host,
                credentials=lambda: kit.system,
            )
            files[1].write_bytes(other.files.load().key_pem)  # not the certificate's key
            with pytest.raises(ReloadNotAppliedError, match="RELOAD_NOT_APPLIED"):
                await server.reload(deadline_s=1)
            public = public_of(node.files.load_login().seed)
            operator = NatsOperator.create(fleet.trust.nats, fleet=FLEET, regions=())
            account = operator.revoke("eu", [public], now_unix_s=int(time.time()))
            assert await admin.revoke(account, [public]) < 2
            assert not bus.connected
            await admin.close()
        finally:
            await server.stop()

    try:
        fleet.loop.run(attack())
    finally:
        node.renew()
        fleet.loop.run(node.log_in())


@pytest.mark.attack(
    row="A06",
    title="a rogue node: never enrolled, of another fleet, or without a certificate",
    refused="NOT_ENROLLED",
    off={"skerry.spine.nats_config.asks_for_certificate": dict},
)
def test_a06_each_rogue_is_refused_by_an_error_of_its_own(
    fleet: HollowFleet, tmp_path: Path
) -> None:
    node = fleet.node("a06")
    login = node.files.load_login()

    def knock(identity: Identity | None) -> str:
        """Shake hands with the region's NATS; return why it refused, or what it said."""
        host, _, port = login.nats_url.removeprefix("tls://").rpartition(":")
        with socket.create_connection((host, int(port)), 5) as raw:
            raw.recv(4096)  # INFO comes before TLS
            tls = client_context(identity, trusted)
            try:
                with tls.wrap_socket(raw, server_hostname=login.nats_host) as line:
                    return line.recv(4096).decode() or "closed"
            except ssl.SSLError as error:
                refusal = explain_tls_error(error)
                return refusal.reason if isinstance(refusal, CertificateError) else str(error)

    rogue = HollowNode(fleet, node_id(DOMAIN, "eu", "a06-rogue", 1))
    now = time.time()
    # A certificate of the right authority, and a login that no key of this fleet signed.
    unknown = Authority.load(node.files.site_authority).issue_identity(
        node_id(DOMAIN, "eu", "a06", 9), now_unix_s=now
    )
    forged = NatsOperator.create(tmp_path / "forged", fleet=FLEET, regions=["eu"])
    key = new_user_key()
    jwt = issue_node(
        forged.server_kit("eu", ends_unix_s=int(now) + 60, now_unix_s=int(now)),
        site="a06",
        number=9,
        public=key.public,
        ends_unix_s=int(now) + 60,
        now_unix_s=int(now),
    )
    rogue.files.folder.mkdir(exist_ok=True)
    forged_login = msgspec.structs.replace(login, jwt=jwt, seed=key.seed)
    write_private(rogue.files.login, msgspec.json.encode(forged_login))
    trusted = node.files.trusted_pem()
    with pytest.raises(BusRefusedError, match=r"(?i)authorization"):
        fleet.loop.run(rogue.log_in(tls=lambda: client_context(unknown, trusted)))
    # A certificate of another fleet with the same names.
    stranger = Authority.create_root(DOMAIN, now_unix_s=now).issue_region("eu", now_unix_s=now)
    foreign = stranger.issue_identity(node.id, now_unix_s=now)
    assert knock(foreign) == "CERT_FOREIGN_CA"
    # No certificate at all: whatever the login, it does not get to show it.
    assert knock(None) == "CERT_MISSING"
    unknown.save(rogue.files.identity)
    write_private(rogue.files.roots, node.files.roots.read_bytes())
    with pytest.raises(RenewalError, match="never joined"):
        rogue.renew()


@pytest.mark.attack(
    row="A07",
    title="a join token of another node, used twice, or too late",
    refused="TOKEN_BOUND",
    off={"skerry.trust.enrol.check_token": lambda *_: None},
)
def test_a07_a_stolen_or_old_token_lets_nobody_in_and_a_crash_may_repeat(
    fleet: HollowFleet, tmp_path: Path
) -> None:
    region = fleet.operator("eu")

    def enter(folder: str, ticket: Any) -> None:
        (tmp_path / folder).mkdir(exist_ok=True)
        join(IdentityFiles(tmp_path / folder), ticket, inference_url="", clock=fleet.clock)

    def attack() -> None:
        ticket = region.ticket("a07", 1)
        other = str(node_id(DOMAIN, "eu", "a07", 2))
        with pytest.raises(JoinRefusedError, match="E0214"):  # TOKEN_BOUND
            enter("thief", msgspec.structs.replace(ticket, spiffe_id=other))
        enter("owner", ticket)
        enter("owner", ticket)  # the answer was lost: the same machine asks again
        with pytest.raises(JoinRefusedError, match="E0212"):  # TOKEN_USED
            enter("thief", ticket)
        late = region.ticket("a07", 3, life_s=1.0)
        time.sleep(max(0.0, late.ends_unix_s - time.time()) + 0.05)
        with pytest.raises(JoinRefusedError, match="E0213"):  # TOKEN_EXPIRED
            enter("late", late)

    try:
        attack()
    finally:  # whoever got in never reports, and would hold up the changes of other rows
        for one in region.ask("GET", "/v1/nodes", RegistryPush).nodes:
            if one.site == "a07":
                region.ban(one.node, banned=True, reason="it never reports")


@pytest.mark.attack(
    row="A17",
    title="the stolen authority of one region names a node of another",
    refused="CERT_OUT_OF_SCOPE",
    off={
        "skerry.trust.authority._constraints": constrain_nothing,
        "skerry.trust.authority_change._try_out": lambda *_: None,
    },
)
def test_a17_a_stolen_regional_authority_ends_at_its_region_and_is_shut_out_alone(
    fleet: HollowFleet,
) -> None:
    eu, us = fleet.node("a17"), fleet.node("a17-us", region="us")
    before = us.files.load()
    stolen = Authority.load(fleet.folder / "eu" / "keys" / "authority.pem")
    now = time.time()
    for name in (us.id, region_id(DOMAIN, "us"), central_id(DOMAIN)):
        forged = stolen.probe(name, now_unix_s=now, life_s=600)
        with pytest.raises(CertificateError) as refused:
            verify_identity(forged, us.files.trusted_pem(), now_unix_s=now)
        assert refused.value.reason == "CERT_OUT_OF_SCOPE"
    within = stolen.probe(node_id(DOMAIN, "eu", "a17", 7), now_unix_s=now, life_s=600)
    rotate(fleet, "eu", [eu, us], lambda: None, stolen=True)
    with pytest.raises(CertificateError) as refused:
        verify_identity(within, us.files.trusted_pem(), now_unix_s=now)
    assert refused.value.reason == "CERT_DISTRUSTED"
    assert us.files.load() == before  # the other region was not touched
    verify_identity(eu.files.load(), us.files.trusted_pem(), now_unix_s=now)


class Waiting:
    """One node that lost its region together with all others, and asks again and again."""

    def __init__(self, number: int) -> None:
        self.rng = random.Random(number)
        self.at_s = AWAY_S + self.rng.uniform(0, renewal.HURRY_S_MAX)
        self.retry_s = renewal.RETRY_S_FIRST

    def missed(self) -> None:
        self.at_s += renewal.spread_s(self.retry_s, self.rng)
        self.retry_s = min(self.retry_s * 2, renewal.RETRY_S_MAX)


@pytest.mark.attack(
    row="A19",
    title="central gone, and the region's authority away for two hours",
    refused="RENEWAL_SPREAD",
    off={"skerry.node.renewal.spread_s": lambda wait_s, rng: wait_s},
)
def test_a19_sites_go_on_without_an_authority_and_come_back_without_a_stampede(
    fleet: HollowFleet,
) -> None:
    node = fleet.node("a19")
    fleet.processes["central"].stop()
    try:
        with pytest.raises(OperatorUnreachableError):
            fleet.operator("central").status()
        before = node.files.load().serial
        node.renew()
        assert node.files.load().serial != before
        fleet.loop.run(node.keep("a19"))
    finally:
        fleet.processes["central"].start()
    # Two hours without the region: the site's own authority carries it, in real certificates.
    now = time.time()
    for hour in (1.0, 1.5, 2.0):
        alone = node.files.renew_alone(now_unix_s=now + hour * 3600)
        verify_identity(alone, node.files.trusted_pem(), now_unix_s=now + hour * 3600)
    node.renew()
    # All that were turned away come back: by their own clocks, not at one stroke.
    back_s, came = 2 * 3600.0 + 60, []
    for waiting in (Waiting(number) for number in range(2000)):
        while waiting.at_s < back_s:
            waiting.missed()
        came.append(waiting.at_s)
    span_s = max(came) - back_s
    peak = max(sum(second <= at_s < second + 1 for at_s in came) for second in map(int, came))
    assert peak < 5 * len(came) / span_s


@pytest.mark.attack(
    row="A20",
    title="a node of one site speaks and listens in another's name",
    refused="BusRefusedError",
    off={"skerry.spine.nats_rights.node": nats_rights_of_all},
)
def test_a20_no_subject_of_another_site_may_be_used(fleet: HollowFleet) -> None:
    node, other = fleet.node("a20"), fleet.node("a20-b")
    heard: list[str] = []

    async def on_message(message: Message) -> None:
        heard.append(message.subject)

    async def attack() -> None:
        refused = 0
        for subject in (
            subjects.telemetry("eu", "a20-b", 1, Keep.MUST),
            f"$JS.API.STREAM.DELETE.{subjects.TEL}",
            "$KV.any.key",
            "$O.any.C.chunk",
            f"{subjects.inbox_node('eu', 'a20-b', 1)}.1",
            subjects.command("eu", "a20-b"),
            subjects.status("eu", "a20-b", 1),
        ):
            try:
                await node.bus.request(subject, b"x", timeout_s=0.3)
            except BusRefusedError:
                refused += 1
            except SkerryError:
                pass
        assert refused == 7
        await other.bus.subscribe(subjects.command("eu", "a20-b"), on_message)

    fleet.loop.run(attack())
    assert not heard


@pytest.mark.attack(
    row="A27c",
    title="certificates under a clock that is decades wrong, or jumps while it renews",
    refused="CERT_EXPIRED",
    off={"skerry.trust.tls.check_dates": lambda *_: None},
)
@pytest.mark.parametrize(
    ("off_s", "reason"),
    [(10 * 365 * 86_400, "CERT_EXPIRED"), (-50 * 365 * 86_400, "CERT_NOT_YET_VALID")],
)
def test_a27_a_wrong_clock_accepts_nothing_and_locks_nobody_out(
    fleet: HollowFleet, off_s: float, reason: str
) -> None:
    node = fleet.node(f"a27-{reason[5:8].lower()}")
    region = Authority.load(fleet.folder / "eu" / "keys" / "authority.pem")
    key, before = new_key(), node.files.load()
    now = time.time()
    reply = msgspec.structs.replace(
        IdentityReply(
            node=node.id.node,
            site=node.id.site,
            region="eu",
            domain=DOMAIN,
            spiffe_id=str(node.id),
            chain_pem=region.issue_leaf(create_csr(key, node.id), node.id, now_unix_s=now),
            roots_pem=b"",
            ends_unix_s=now + 3600,
            nats_jwt="",
            nats_url="",
            nats_host="",
        )
    )
    with pytest.raises(CertificateError) as refused:  # it jumped between asking and the answer
        node.files.keep(reply, key_pem=key_to_pem(key), nats_seed="", now_unix_s=now + off_s)
    assert refused.value.reason == reason
    assert node.files.load() == before
    wrong = ManualClock(max(0.0, now + off_s))
    with pytest.raises(RenewalError, match=r"behind|ahead"):
        renew(node.files, url=node.url, host=node.host, inference_url="", clock=wrong)
    node.renew()  # the clock is right again: no human


@pytest.mark.attack(
    row="A30",
    title="a storm of logins with bad certificates and keys, from one address",
    refused="TOO_MANY_REFUSED",
    off={"skerry.spine.source_limit.over": lambda level: False},
)
def test_a30_a_login_storm_is_held_back_at_its_source_while_healthy_nodes_come_in(
    fleet: HollowFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_limit, "WRONG_MAX", 20.0)
    node = fleet.node("a30")
    storm = Storm(fleet, node, tmp_path)
    took_s = []
    with storm:
        for _ in range(12):
            began = time.monotonic()
            node.renew()
            took_s.append(time.monotonic() - began)
    assert storm.said["E0216"] >= 1
    assert storm.said["E0265"] > 5
    assert statistics.median(took_s) < 1.0  # p99 is a figure: benchmarks/identity.py
