"""A real central and a real region as processes: NATS, TLS and signed state, on free ports."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.base.clock import SystemClock
from skerry.base.https import HttpReply, https_call
from skerry.central.bootstrap import TrustSet, create_trust, install_central, install_region
from skerry.central.settings import CentralSettings
from skerry.fleet.desired import policy_of
from skerry.region.settings import RegionSettings, write_settings
from skerry.schema import api
from skerry.schema.desired import Gate
from skerry.schema.fleet import Fleet, Kind, Machine, Model, Rollout, Site, Tier
from skerry.schema.model import Manifest, Member, manifest_target
from skerry.schema.policy import Residency, Stays, policy_target
from skerry.spine.nats_jwt import UserKey, new_user_key
from skerry.spine.nats_server import free_port
from skerry.trust.enrol import enrol_request, load_or_create_enrolment_key
from skerry.trust.identity import Identity, create_csr, key_to_pem, new_key
from skerry.trust.roles import OfflineKeys
from skerry.trust.spiffe import SpiffeId
from skerry.trust.tls import client_context

CLOCK = SystemClock()
DOMAIN = "clinic.example"
REGION = "region-eu"
WEIGHTS = b"weights of a model" * 5000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def until(true: Callable[[], Any], what: str, *, deadline_s: float = 15.0) -> Any:
    end = time.monotonic() + deadline_s
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.05)


class Process:
    """A child of the test: started, waited for until ready, ended at the end whatever happens."""

    def __init__(self, module: str, state: Path) -> None:
        self.module, self.state = module, state
        self.child: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}
        self.start_s = 0.0

    def start(self) -> "Process":
        began = time.monotonic()
        self.child = subprocess.Popen(
            [sys.executable, "-m", self.module, "--state", str(self.state), "--with-parent"],
            stdout=subprocess.PIPE,
            stderr=(self.state.parent / f"{self.state.name}.log").open("ab"),
        )
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line, (self.state.parent / f"{self.state.name}.log").read_text()[-3000:]
        self.ready = msgspec.json.decode(line)
        self.start_s = time.monotonic() - began
        return self

    def stop(self) -> int:
        assert self.child is not None
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(15)

    def kill(self) -> None:
        assert self.child is not None
        os.kill(self.child.pid, signal.SIGKILL)
        self.child.wait(15)

    def end(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait(15)
        if self.child is not None and self.child.stdout is not None:
            self.child.stdout.close()


class Joined:
    """What a node holds after joining: its identity, login and enrolment key."""

    def __init__(self, reply: api.IdentityReply, key_pem: bytes, login: UserKey) -> None:
        self.reply, self.login = reply, login
        self.identity = Identity(chain_pem=reply.chain_pem, key_pem=key_pem)


class House:
    """One throwaway fleet of one central and one region."""

    def __init__(self, folder: Path, *, certificate_life_s: float = 3600.0) -> None:
        self.folder = folder
        self.trust: TrustSet = create_trust(
            folder / "keys",
            fleet="clinic",
            domain=DOMAIN,
            regions=[REGION],
            clock=CLOCK,
            throwaway=True,
        )
        ports = [free_port() for _ in range(3)]
        self.central_url = f"https://127.0.0.1:{ports[0]}"
        install_central(
            self.trust,
            folder / "central",
            CentralSettings(
                fleet="clinic",
                domain=DOMAIN,
                api_port=ports[0],
                leaf_port=ports[1],
                marker=self.trust.marker,
            ),
            clock=CLOCK,
        )
        install_region(self.trust, folder / "region", REGION, clock=CLOCK)
        write_settings(
            folder / "region" / "region.json",
            RegionSettings(
                fleet="clinic",
                domain=DOMAIN,
                region=REGION,
                central_url=self.central_url,
                hub_url=f"tls://127.0.0.1:{ports[1]}",
                api_port=ports[2],
                certificate_life_s=certificate_life_s,
                mirror_tick_s=0.5,
                push_tick_s=0.5,
                marker=self.trust.marker,
            ),
        )
        self.region_url = f"https://127.0.0.1:{ports[2]}"
        self.central = Process("skerry.central", folder / "central")
        self.region = Process("skerry.region", folder / "region")

    @property
    def roots(self) -> bytes:
        return self.trust.roots.read_bytes()

    @property
    def operator(self) -> Identity:
        return Identity.load(self.trust.operator("local"))

    def call(
        self,
        where: str,
        method: str,
        path: str,
        body: object = None,
        *,
        identity: Identity | None = None,
        headers: dict[str, str] | None = None,
    ) -> HttpReply:
        url, host = (
            (self.central_url, DOMAIN)
            if where == "central"
            else (self.region_url, f"{REGION}.{DOMAIN}")
        )
        data = body if isinstance(body, bytes) else None
        if data is None and body is not None:
            data = msgspec.json.encode(body)
        tls = client_context(identity, self.roots)
        return https_call(method, url, path, tls=tls, name=host, body=data, headers=headers)

    def ask(self, where: str, method: str, path: str, kind: Any, body: object = None) -> Any:
        """Call as the operator and expect it to work."""
        reply = self.call(where, method, path, body, identity=self.operator)
        assert reply.status in (200, 204), reply.body
        return msgspec.json.decode(reply.body, type=kind) if kind else None

    def refusal(self, reply: HttpReply) -> api.ApiError:
        return msgspec.json.decode(reply.body, type=api.ErrorReply).error

    # --- nodes ------------------------------------------------------------------------

    def ticket(self, site: str, number: int | None = 1, life_s: float = 900.0) -> api.JoinTicket:
        request = api.TokenRequest(site=site, number=number, life_s=life_s)
        return self.ask("region", "POST", "/v1/tokens", api.JoinTicket, request)

    def request(
        self, spiffe_id: str, enrolment: Path, *, token: str = ""
    ) -> tuple[api.IdentityRequest, bytes, UserKey]:
        key, login, name = new_key(), new_user_key(), SpiffeId.parse(spiffe_id)
        proof = enrol_request(
            load_or_create_enrolment_key(enrolment),
            name,
            create_csr(key, name),
            now_unix_s=CLOCK.unix_s(),
            token=token,
        )
        request = api.IdentityRequest(
            **msgspec.structs.asdict(proof),
            nats_public_key=login.public,
            inference_url=f"https://127.0.0.1:9{name.number:03d}",
            want_site_authority=True,
        )
        return request, key_to_pem(key), login

    def enrolment(self, site: str) -> Path:
        return self.folder / f"{site}.enrolment.pem"

    def join(self, site: str, *, life_s: float = 900.0) -> Joined:
        ticket = self.ticket(site, life_s=life_s)
        request, key_pem, login = self.request(
            ticket.spiffe_id, self.enrolment(site), token=ticket.token
        )
        reply = self.call("region", "POST", "/v1/join", request)
        assert reply.status == 200, reply.body
        return Joined(msgspec.json.decode(reply.body, type=api.IdentityReply), key_pem, login)

    def renew(self, site: str) -> HttpReply:
        name = f"spiffe://{site}.{REGION}.{DOMAIN}/node/1"
        return self.call("region", "POST", "/v1/renew", self.request(name, self.enrolment(site))[0])

    # --- changes ----------------------------------------------------------------------

    def fleet(
        self, version: int, manifest_sha256: str, *, rings: tuple[tuple[str, ...], ...]
    ) -> Fleet:
        machine = Machine(
            name="m", idle_w=1.0, busy_w=2.0, price_usd=1.0, life_years=1.0, source="t"
        )

        def tier(name: str, kind: Kind) -> Tier:
            return Tier(
                name=name,
                kind=kind,
                nodes=1,
                machine=machine,
                feed_w=10.0,
                ups_s=0.0,
                uplink_bit_per_s=1e6,
                pue_ratio=1.0,
                energy_usd_per_kwh=0.1,
                usd_per_month=0.0,
            )

        def site(name: str, tier_name: str, kind: Kind) -> Site:
            return Site(
                name=name,
                tier=tier_name,
                kind=kind,
                region=REGION,
                latitude_deg=59.0,
                longitude_deg=10.0,
                jurisdiction="NO",
                grid_zone="NO1",
                grid_g_per_kwh=20.0,
                grid_source="t",
                nodes=1,
                feed_w=10.0,
            )

        return Fleet(
            name="clinic",
            domain=DOMAIN,
            goals={},
            tiers={"closet": tier("closet", Kind.EDGE), "room": tier("room", Kind.REGIONAL)},
            sites=(
                site("oslo", "closet", Kind.EDGE),
                site("bergen", "closet", Kind.EDGE),
                site(REGION, "room", Kind.REGIONAL),
            ),
            models=(
                Model(
                    name="magika",
                    version=version,
                    manifest_sha256=manifest_sha256,
                    standin=None,
                    tiers=("closet", "room"),
                    data_classes=("internal",),
                ),
            ),
            data_classes={"internal": Residency(stays=Stays.REGION)},
            rules=(),
            rollout=Rollout(
                rings=rings,
                ring_names=tuple(f"ring-{n}" for n in range(len(rings))),
                gate=Gate(hold_s=0.0, requests_min=0),
                revert_on_fail=True,
            ),
            links=(),
        )

    def add_model(self, version: int, data: bytes = WEIGHTS) -> tuple[str, str]:
        """Upload and sign a model; returns the digests of its bytes and of its manifest."""
        data += str(version).encode()
        sha256 = hashlib.sha256(data).hexdigest()
        self.ask("central", "PUT", f"/blob/{sha256}", None, data)
        member = Member(path="model.onnx", sha256=sha256, length_bytes=len(data))
        manifest = msgspec.json.encode(Manifest(name="magika", version=version, members=(member,)))
        self.sign({manifest_target("prod", "magika", version): manifest})
        return sha256, hashlib.sha256(manifest).hexdigest()

    def sign(self, add: dict[str, bytes]) -> None:
        current = self.call("central", "GET", "/tuf/metadata/models.json", identity=self.operator)
        assert current.status == 200, current.body
        signed = OfflineKeys.load(self.trust.offline).sign_models(
            current.body, add, now_unix_s=CLOCK.unix_s()
        )
        upload = api.MetadataUpload(metadata={"models": signed}, targets=add)
        self.ask("central", "POST", "/v1/metadata", api.MetadataReply, upload)

    def apply(
        self,
        version: int,
        manifest_sha256: str,
        *,
        expected: int,
        rings: tuple[tuple[str, ...], ...] = (("oslo",), ("bergen", REGION)),
    ) -> api.ApplyReply:
        fleet = self.fleet(version, manifest_sha256, rings=rings)
        policy = msgspec.json.encode(policy_of(fleet, expected + 1))
        self.sign({policy_target("clinic"): policy})
        request = api.ApplyRequest(
            fleet=fleet,
            expected_generation=expected,
            policy_sha256=hashlib.sha256(policy).hexdigest(),
        )
        return self.ask("central", "POST", "/v1/apply", api.ApplyReply, request)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A running fleet for one test."""
    one = House(tmp_path)
    try:
        one.central.start()
        one.region.start()
        yield one
    finally:
        one.region.end()
        one.central.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running fleet for the tests of one file that leave it as it was."""
    one = House(tmp_path_factory.mktemp("house"))
    try:
        one.central.start()
        one.region.start()
        yield one
    finally:
        one.region.end()
        one.central.end()


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return until
