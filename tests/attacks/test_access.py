"""Attacks on who may do what: other sites' and regions' things, residency, policies, insiders.

Real certificates, TLS and HTTPS servers on loopback; the policy engine is the real one.
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from skerry.base.clock import SystemClock
from skerry.base.errors import Exit
from skerry.base.https import HttpReply, https_call
from skerry.central.http_api import CentralApi
from skerry.central.settings import CentralSettings
from skerry.central.sqlite_store import SqliteStore
from skerry.region.http_api import RegionApi
from skerry.region.settings import RegionSettings
from skerry.route.choose import Question as Way
from skerry.route.choose import choose
from skerry.route.errors import RefusedByResidencyError
from skerry.route.journey import admit, table_of
from skerry.schema import api
from skerry.schema.access import AccessPolicy, Action, Door
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.schema.desired import Peer
from skerry.schema.oip import InferRequest
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.spine.access_api import AccessApi
from skerry.spine.https_server import HttpsServer, Route
from skerry.trust.access import AccessSet, Who, ask, check_publishable
from skerry.trust.access_channel import AccessChannel
from skerry.trust.access_data import explain_data, forbids_of
from skerry.trust.access_errors import (
    ApprovalNeededError,
    PolicyInvalidError,
    SelfApprovalError,
)
from skerry.trust.access_gate import Caller, Gate
from skerry.trust.access_store import AccessStore
from skerry.trust.authority import Authority
from skerry.trust.identity import Identity
from skerry.trust.residency import ResidencyTable
from skerry.trust.spiffe import Role, SpiffeId, central_id, node_id, operator_id, region_id
from skerry.trust.tls import client_context, server_context

FLEET, DOMAIN = "clinic", "clinic.example"
CLOCK = SystemClock()
ALL = ("viewer", "operator", "releaser", "security", "auditor")
PEOPLE = {"ann": ALL, "bo": ALL, "eve": ("viewer",)}
NAMED = AccessPolicy(fleet=FLEET, generation=1, people=PEOPLE)


class Fleet:
    """Central and a region over real TLS, in one loop of a thread of its own."""

    def __init__(self, folder: Path) -> None:
        now = time.time()
        self.root = Authority.create_root(DOMAIN, now_unix_s=now)
        self.regions = {name: self.root.issue_region(name, now_unix_s=now) for name in ("eu", "us")}
        self.central = self.root.issue_central(now_unix_s=now)
        self.roots = self.root.certificate_pem
        self.noted: list[AuditEvent] = []
        self.routes: list[Route] = []
        self.approved: list[str] = []
        self._stop, self._ready = asyncio.Event(), threading.Event()
        self.urls: dict[str, tuple[str, str]] = {}
        self._folder, self._loop = folder, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._ready.wait(10)

    async def note(self, event: AuditEvent) -> None:
        self.noted.append(event)

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        store = SqliteStore(self._folder / "central.db")
        self.store = store
        mirror = self._folder / "mirror"
        for site in ("oslo", "bergen"):
            data = f"desired state of {site}".encode()
            digest = hashlib.sha256(data).hexdigest()
            place = mirror / "targets" / "desired" / f"{digest}.{site}.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        servers = []
        for name, host, authority in (
            ("central", central_id(DOMAIN), self.central),
            ("eu", region_id(DOMAIN, "eu"), self.regions["eu"]),
        ):
            access_store = AccessStore(self._folder / f"{name}.access.db")
            gate = Gate(FLEET, access_store, note=self.note, clock=CLOCK)
            assert gate.adopt(NAMED)
            access = AccessApi(
                gate,
                access_store,
                clock=CLOCK,
                policy=lambda: POLICY,
                tokens=name == "central",
                audit=self._folder,
            )
            apis: list[Route] = access.routes()
            apis += self._central(gate, store) if name == "central" else self._region(gate, mirror)
            identity = authority.issue_identity(host, now_unix_s=time.time())
            context = server_context(identity, self.roots, require_client=False)
            self.routes += apis
            server = HttpsServer(apis, context, authorise=access.authorise)
            port = await server.start("127.0.0.1", 0)
            self.urls[name] = (f"https://127.0.0.1:{port}", host.host)
            servers.append((server, access_store))
        self._ready.set()
        await self._stop.wait()
        for server, access_store in servers:
            await server.stop()
            access_store.close()
        store.close()

    def _central(self, gate: Gate, store: SqliteStore) -> list[Route]:
        async def account(region: str, revoked: list[str]) -> str:
            return ""

        async def approve(by: str, reason: str, *, any_time: bool) -> Any:
            self.approved.append(by)
            moving = api.RolloutStatus(
                generation=2, phase="running", ring=1, ring_names=("a", "b"), rings=((), ()),
                started_unix_s=0.0, since_unix_s=0.0,
            )  # fmt: skip
            return SimpleNamespace(status=lambda: moving)

        parts: Any = dict.fromkeys(("notary", "reports", "blobs", "alarms", "desk"))
        made = CentralApi(
            CentralSettings(fleet=FLEET, domain=DOMAIN),
            store=store,
            conductor=cast(Any, SimpleNamespace(wake=lambda: None, approve=approve)),
            repository=self._folder,
            gate=gate,
            clock=CLOCK,
            nats_ready=lambda: True,
            account=account,
            anchors=cast(Any, SimpleNamespace(version=1, chain_bytes=b"")),
            note=self.note,
            issuers=tuple,
            **parts,
        )
        return made.routes()

    def _region(self, gate: Gate, mirror: Path) -> list[Route]:
        parts: Any = dict.fromkeys(
            ("admission", "registry", "roster", "blobs", "anchors", "refused", "desk")
        )
        made = RegionApi(
            RegionSettings(fleet=FLEET, domain=DOMAIN, region="eu", central_url="", hub_url=""),
            mirror=cast(Any, SimpleNamespace(folder=mirror)),
            gate=gate,
            clock=CLOCK,
            push=cast(Any, None),
            on_change=lambda: None,
            on_ban=cast(Any, None),
            health=cast(Any, None),
            **parts,
        )
        return made.routes()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def identity(self, who: SpiffeId) -> Identity:
        machine = who.role in (Role.NODE, Role.REGION)
        issuer = self.regions[who.region] if machine else self.central
        return issuer.issue_identity(who, now_unix_s=time.time())

    def call(
        self, where: str, who: SpiffeId | None, method: str, path: str, body: object = None
    ) -> HttpReply:
        url, host = self.urls[where]
        identity = self.identity(who) if who is not None else None
        tls = client_context(identity, self.roots)
        data = msgspec.json.encode(body) if body is not None else None
        return https_call(method, url, path, tls=tls, name=host, body=data)

    def refusal(self, reply: HttpReply) -> str:
        assert reply.status == 403, reply
        return msgspec.json.decode(reply.body, type=api.ErrorReply).error.code


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    one = Fleet(tmp_path_factory.mktemp("access"))
    yield one
    one.close()


OSLO, BERGEN = node_id(DOMAIN, "eu", "oslo", 1), node_id(DOMAIN, "eu", "bergen", 1)
EU, US = region_id(DOMAIN, "eu"), region_id(DOMAIN, "us")


# --- A20: other sites and regions -------------------------------------------------------------

A20 = pytest.mark.attack(
    row="A20",
    title="a node or region reaches for what belongs to another",
    refused="CALL_REFUSED",
    off={"skerry.central.http_api.is_own_region": lambda push, caller: True},
)


def registry(region: str, node: str) -> api.RegistryPush:
    one = api.Registration(node=node, site="x", region=region, inference_url="", joined_unix_s=0.0)
    return api.RegistryPush(region=region, region_url="", nats_url="", nodes=(one,))


@A20
def test_a20_a_region_cannot_register_nodes_of_another(fleet: Fleet) -> None:
    forged = fleet.call("central", US, "PUT", "/v1/registry", registry("eu", "oslo/9"))
    assert fleet.refusal(forged) == "E0340"
    assert [node.node for node in fleet.store.nodes()] == []


def test_a_region_may_register_its_own(fleet: Fleet) -> None:
    reply = fleet.call("central", EU, "PUT", "/v1/registry", registry("eu", "oslo/1"))
    assert reply.status == 200, reply.body
    empty = msgspec.structs.replace(registry("eu", "oslo/1"), nodes=())
    assert fleet.call("central", EU, "PUT", "/v1/registry", empty).status == 200


def test_every_call_names_what_is_asked(fleet: Fleet) -> None:
    """A call without an action would need the right to `keys`, which hides what it does."""
    nameless = [one.path for one in fleet.routes if one.who is not None and one.action is None]
    assert len(fleet.routes) > 40
    assert nameless == []


@pytest.mark.parametrize("who", [OSLO, EU, operator_id(DOMAIN, "mallory"), None])
def test_no_machine_and_no_stranger_may_do_what_people_do(fleet: Fleet, who: SpiffeId) -> None:
    for method, path in (
        ("GET", "/v1/status"),
        ("GET", "/v1/events"),
        ("POST", "/v1/apply"),
        ("POST", "/v1/rollout/pause"),
        ("PUT", "/blob/" + "0" * 64),
        ("POST", "/v1/metadata"),
        ("GET", "/v1/requests"),
        ("POST", "/v1/break-glass"),
    ):
        refused = fleet.call("central", who, method, path, {})
        assert fleet.refusal(refused) in ("E0340", "E0241"), (path, refused.body)
    if who is not None and who.path.startswith("operator/"):
        assert fleet.noted[-1].outcome is AuditOutcome.REFUSED
        assert fleet.noted[-1].actor == str(who)


# --- U25: reading along -----------------------------------------------------------------------


@pytest.mark.attack(
    row="U25",
    title="a node reads the target bytes of its neighbour",
    refused="CALL_REFUSED",
    off={"skerry.trust.access_data.may_read_target": lambda caller, path: True},
)
def test_u25_a_node_reads_desired_state_of_its_own_site_only(fleet: Fleet) -> None:
    def path(site: str) -> str:
        digest = hashlib.sha256(f"desired state of {site}".encode()).hexdigest()
        return f"/tuf/targets/desired/{digest}.{site}.json"

    assert fleet.call("eu", OSLO, "GET", path("oslo")).body == b"desired state of oslo"
    assert fleet.refusal(fleet.call("eu", BERGEN, "GET", path("oslo"))) == "E0340"
    assert fleet.refusal(fleet.call("eu", None, "GET", path("oslo"))) == "E0340"


# --- A21: residency ---------------------------------------------------------------------------

POLICY = Policy(
    fleet=FLEET,
    generation=1,
    data_classes={
        "personal": Residency(stays=Stays.JURISDICTIONS, jurisdictions=("DE", "NO")),
        "public": Residency(stays=Stays.ANYWHERE),
    },
    model_classes={"triage": ("personal", "public")},
    places={
        site: Place(site=site, region=region, jurisdiction=country)
        for site, region, country in (
            ("hamburg", "eu", "DE"),
            ("oslo", "eu", "NO"),
            ("tampa", "us", "US"),
        )
    },
)
A21 = pytest.mark.attack(
    row="A21",
    title="personal data is sent where it may not be opened",
    refused="personal-jurisdictions",
    off={"skerry.trust.residency.travels": lambda *_, **__: True},
)


def peer(site: str, region: str) -> Peer:
    return Peer(
        node=f"{site}/1",
        site=site,
        region=region,
        tier="closet",
        url=f"https://{site}.example",
        round_trip_ms=1.0,
    )


def asked(origin: str, data_class: str | None = "personal") -> InferRequest:
    request = InferRequest(model="triage", inputs=[], data_class=data_class)
    request.origin_site = origin
    return request


@A21
def test_a21_data_is_not_opened_on_a_node_where_it_may_not_be() -> None:
    """By API: Hamburg hands a request over, and the node in Tampa judges it before any model."""
    table = table_of(POLICY, ("closet",), (), {}, node="tampa/1")
    here: Any = {"site": "tampa", "node": "tampa/1", "tier": "closet", "answers_here": True}
    with pytest.raises(RefusedByResidencyError) as refused:
        admit(table, asked("hamburg"), **here)
    assert "DE, NO" in str(refused.value)
    admit(table, asked("hamburg", "public"), **here)


@A21
def test_a21_a_failed_site_sends_nobody_across_the_border() -> None:
    """By retry: with every place at home gone, Tampa is no candidate; the request is refused."""
    table = table_of(POLICY, ("closet",), (peer("tampa", "us"),), {}, node="hamburg/1")
    way = Way(
        model="triage",
        data_class="personal",
        origin="hamburg",
        hops=0,
        now_s=0.0,
        deadline_s=1.0,
    )
    choice = choose(way, table.peers, table.residency, table.tier_ranks)
    assert choice.candidates == []
    assert [one.verdict for one in choice.ruled_out] == ["residency"]


@A21
def test_a21_placement_names_no_site_that_may_not_answer() -> None:
    table = ResidencyTable(POLICY)
    assert table.may_go("personal", "hamburg", "tampa") is not None
    assert table.destinations("personal", "hamburg") == {"hamburg", "oslo"}


@A21
def test_a21_a_site_that_the_inventory_does_not_know_has_no_jurisdiction() -> None:
    """By missing attribute: no jurisdiction is a no, in the rule and in the policy engine."""
    shipped = AccessSet(NAMED)
    for site in ("atlantis", ""):
        verdict = explain_data(shipped, POLICY, "personal", "hamburg", site)
        assert not verdict.allowed
    refused = explain_data(shipped, POLICY, "personal", "hamburg", "tampa")
    assert (refused.allowed, refused.policies[0]) == (False, "personal-jurisdictions")
    assert explain_data(shipped, POLICY, "personal", "hamburg", "oslo").allowed


def test_a_node_that_lies_about_where_it_is_changes_nothing() -> None:
    """Sites and jurisdictions come from the signed inventory; a fleet's own rule reads those."""
    own = msgspec.structs.replace(
        NAMED,
        policies="""
        @id("not-in-us")
        forbid (principal, action == Action::"open-data", resource == DataClass::"public")
        when { principal.jurisdiction == "US" && context.origin_jurisdiction == "DE" };
        """,
    )
    forbids = forbids_of(own, POLICY)
    assert forbids is not None
    refused = forbids("public", "hamburg", "tampa")
    assert refused is not None
    assert "not-in-us" in refused.text
    assert forbids("public", "hamburg", "oslo") is None
    assert forbids("public", "hamburg", "atlantis") is not None
    table = ResidencyTable(POLICY, forbids)
    assert table.may_go("public", "hamburg", "tampa") == refused
    assert table.destinations("public", "hamburg") == {"hamburg", "oslo"}


# --- A22: policies that are wrong -------------------------------------------------------------

A22 = pytest.mark.attack(
    row="A22",
    title="a policy that is wrong, forbids everything or cannot be evaluated",
    refused="POLICY_INVALID",
    off={"skerry.trust.access.is_allowed": lambda answer: answer.decision.value == "Allow"},
)


def named(text: str, generation: int = 2) -> AccessPolicy:
    return msgspec.structs.replace(NAMED, policies=text, generation=generation)


@A22
def test_a22_a_forbid_that_fails_to_evaluate_lets_nobody_through() -> None:
    """It passes the schema and overflows when it is asked; Cedar then skips it, and allows."""
    broken = check_publishable(
        named(
            '@id("limit") forbid (principal, action == Action::"drill", resource)'
            " when { 9223372036854775807 + 1 == 0 };"
        )
    )
    who = Who("Person", "ann", frozenset({"operator"}))
    verdict = broken.decide(ask(who, Action.DRILL, FLEET, door=Door.CERTIFICATE))
    assert not verdict.allowed
    assert "overflow" in verdict.text


def test_a_wrong_policy_is_not_published_and_the_old_one_stays(tmp_path: Path) -> None:
    store = AccessStore(tmp_path / "access.db")
    gate = Gate(FLEET, store, note=_nothing, clock=CLOCK)
    assert gate.adopt(NAMED)
    before = gate.policies
    for text in (
        'permit (principal, action == Action::"look", resource) when { context.orgin == 1 };',
        "forbid (principal, action, resource);",
        "permit (",
    ):
        with pytest.raises(PolicyInvalidError):
            check_publishable(named(text))
        assert not gate.adopt(named(text))
        assert gate.policies is before
    assert not gate.adopt(msgspec.structs.replace(NAMED, generation=0))
    store.close()


def test_a_channel_that_brings_rubbish_leaves_the_old_set(tmp_path: Path) -> None:
    class Client:
        data = msgspec.json.encode(NAMED)

        def target_sha256(self, path: str) -> str | None:
            return hashlib.sha256(self.data).hexdigest()

        def target_bytes(self, path: str) -> bytes:
            return self.data

        def generation_floor(self, path: str) -> int:
            return 0

        def raise_floor(self, path: str, generation: int) -> None: ...

    client = Client()
    channel = AccessChannel(tmp_path / "access.json", FLEET)
    assert channel.accept(cast(Any, client))
    for data in (b"", b"{}", b"[" * 100_000, msgspec.json.encode(named("permit ("))):
        client.data = data
        with pytest.raises(PolicyInvalidError):
            channel.accept(cast(Any, client))
    assert AccessChannel(tmp_path / "access.json", FLEET).document == NAMED


async def _nothing(event: AuditEvent) -> None: ...


APPROVE = "/v1/rollout/approve"


# --- A29: one person alone --------------------------------------------------------------------


class Office:
    """A gate whose actions are written down in place of done."""

    def __init__(self, folder: Path) -> None:
        self.store = AccessStore(folder / "access.db")
        self.noted: list[AuditEvent] = []
        self.done: list[str] = []
        self.gate = Gate(FLEET, self.store, note=self._note, clock=CLOCK)
        everything = msgspec.structs.replace(NAMED, two_person=(*NAMED.two_person, Action.APPLY))
        assert self.gate.adopt(everything)
        self.gate.performs("any", self._perform)

    async def _note(self, event: AuditEvent) -> None:
        self.noted.append(event)

    async def _perform(self, body: bytes, asker: Caller) -> None:
        self.done.append(f"{asker.name}: {body.decode()}")

    def who(self, name: str) -> Caller:
        return self.gate.by_certificate(operator_id(DOMAIN, name))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    one = Office(tmp_path)
    yield one
    one.store.close()


ALONE = (
    Action.APPLY,
    Action.LIFT_BAN,
    Action.PUBLISH_POLICY,
    Action.CHANGE_ROOT,
    Action.CHANGE_PEOPLE,
    Action.ERASE_AUDIT,
)


@pytest.mark.attack(
    row="A29",
    title="an insider publishes, lifts a ban, edits the policy or erases alone",
    refused="SELF_APPROVAL",
    off={"skerry.trust.access_gate.is_own": lambda row, caller: False},
)
@pytest.mark.parametrize("action", ALONE)
@pytest.mark.anyio
async def test_a29_nobody_does_alone_what_takes_two(office: Office, action: Action) -> None:
    ann, bo, eve = office.who("ann"), office.who("bo"), office.who("eve")
    with pytest.raises(ApprovalNeededError) as needed:
        await office.gate.act(ann, action, "it", "any", b"exactly this")
    assert office.done == []
    with pytest.raises(SelfApprovalError):
        await office.gate.approve(ann, needed.value.request)
    assert office.done == []
    assert [event.outcome for event in office.noted] == [AuditOutcome.REFUSED] * 2
    assert {event.actor for event in office.noted} == {str(operator_id(DOMAIN, "ann"))}
    with pytest.raises(Exception, match="eve may not"):
        await office.gate.approve(eve, needed.value.request)
    await office.gate.approve(bo, needed.value.request)
    assert office.done == ["ann: exactly this"]
    assert office.noted[-1].outcome is AuditOutcome.DONE
    with pytest.raises(Exception, match="waits"):
        await office.gate.approve(bo, needed.value.request)
    assert len(office.done) == 1


A29C = pytest.mark.attack(
    row="A29c",
    title="an insider lets the change that they applied go on to the next ring",
    refused="SELF_APPROVAL",
    off={"skerry.trust.access_gate.is_first": lambda caller, first: False},
)


@A29C
def test_a29_a_ring_waits_for_another_person_than_who_applied(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = SimpleNamespace(generation=2, applied_by="ann")
    monkeypatch.setattr(fleet.store, "applied", lambda: applied)
    monkeypatch.setattr(AccessSet, "needs_two", lambda self, action: action == Action.APPLY)
    ask = api.RolloutRequest(reason="it looks well")

    def approve(who: str) -> HttpReply:
        return fleet.call("central", operator_id(DOMAIN, who), "POST", APPROVE, ask)

    assert fleet.refusal(approve("ann")) == "E0244"
    assert fleet.approved == []
    assert approve("bo").status == 200
    assert fleet.approved == ["bo"]


@A29C
@pytest.mark.anyio
async def test_a29_who_applied_a_change_does_not_approve_its_rings(office: Office) -> None:
    ann, bo = office.who("ann"), office.who("bo")
    with pytest.raises(SelfApprovalError, match="ann asked for generation 2 and cannot") as refused:
        await office.gate.check_second(ann, "generation 2", "ann")
    assert refused.value.exit_code == Exit.REFUSED
    assert office.noted[-1].outcome is AuditOutcome.REFUSED
    await office.gate.check_second(bo, "generation 2", "ann")
    await office.gate.check_second(ann, "generation 2", "central")  # it was taken back by itself


@pytest.mark.anyio
async def test_where_apply_takes_one_person_so_does_a_ring(office: Office) -> None:
    document = msgspec.structs.replace(
        office.gate.policies.document, generation=99, two_person=(Action.ERASE_AUDIT,)
    )
    assert office.gate.adopt(document)
    await office.gate.check_second(office.who("ann"), "generation 2", "ann")


@pytest.mark.anyio
async def test_broken_glass_is_loud_and_ends(office: Office) -> None:
    ends_unix_s = await office.gate.break_glass(office.who("bo"), "the region burns, I am alone")
    assert ends_unix_s - CLOCK.unix_s() <= 1800
    assert office.noted[-1].kind is AuditKind.BREAK_GLASS
    await office.gate.act(office.who("bo"), Action.LIFT_BAN, "oslo/1", "any", b"lift")
    assert office.done == ["bo: lift"]
    with pytest.raises(ApprovalNeededError):
        await office.gate.act(office.who("bo"), Action.PUBLISH_POLICY, "it", "any", b"x")
    office.store.change("UPDATE grants SET ends_unix_s = 0")
    with pytest.raises(ApprovalNeededError):
        await office.gate.act(office.who("bo"), Action.LIFT_BAN, "oslo/1", "any", b"lift")


@pytest.mark.anyio
async def test_without_a_record_nothing_is_done(office: Office) -> None:
    async def full(event: AuditEvent) -> None:
        raise OSError("the disk is full")

    office.gate._note = full
    for action in (Action.BAN, Action.PUBLISH, Action.UPLOAD):
        with pytest.raises(OSError, match="full"):
            await office.gate.act(office.who("ann"), action, "it", "any", b"x")
    assert office.done == []


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
