"""A small fleet's authorities, a signed repository, and real TLS handshakes on loopback."""

import hashlib
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.schema.desired import Desired, DesiredModel, Gate, desired_target
from skerry.schema.model import Manifest, Member, manifest_target
from skerry.schema.policy import Place, Policy, Residency, Stays, policy_target
from skerry.schema.release import Facts, Release, Statement, release_target
from skerry.testing.clock import ManualClock
from skerry.trust.authority import Authority
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OfflineKeys, OnlineKeys
from skerry.trust.spiffe import SpiffeId
from skerry.trust.tls import peer_id
from skerry.trust.update_client import UpdateClient

DOMAIN = "clinic.example"
WAIT_S = 10


@dataclass
class Authorities:
    """Root, two regions, one site and central, made at the machine's own time."""

    now_unix_s: float
    root: Authority
    eu: Authority
    us: Authority
    oslo: Authority
    central: Authority


@pytest.fixture(scope="session")
def ca() -> Authorities:
    now = time.time()
    root = Authority.create_root(DOMAIN, now_unix_s=now)
    eu = root.issue_region("eu", now_unix_s=now)
    return Authorities(
        now_unix_s=now,
        root=root,
        eu=eu,
        us=root.issue_region("us", now_unix_s=now),
        oslo=eu.issue_site("oslo", now_unix_s=now),
        central=root.issue_central(now_unix_s=now),
    )


@dataclass
class Handshake:
    """Who each side saw, or why it refused."""

    client: SpiffeId | Exception
    server: SpiffeId | Exception
    serial: int = 0
    ticket: bool = False


def _shake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> Handshake:
    outcome = Handshake(client=RuntimeError("not run"), server=RuntimeError("not run"))

    def serve(listener: socket.socket) -> None:
        try:
            with listener.accept()[0] as raw:
                raw.settimeout(WAIT_S)
                with server.wrap_socket(raw, server_side=True) as tls:
                    tls.sendall(b"x")
                    outcome.server = peer_id(tls)
        except Exception as error:
            outcome.server = error

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=WAIT_S) as raw,
                client.wrap_socket(raw, server_hostname=host) as tls,
            ):
                outcome.client = peer_id(tls)
                if tls.recv(1) != b"x":
                    outcome.client = ConnectionResetError("closed without a byte")
                outcome.ticket = bool(tls.session and tls.session.has_ticket)
        except Exception as error:
            outcome.client = error
        thread.join(WAIT_S)
    return outcome


@pytest.fixture
def shake() -> Callable[[ssl.SSLContext, ssl.SSLContext, str], Handshake]:
    """One mutual handshake over a loopback socket, and a byte, so that a late refusal shows."""
    return _shake


MANIFEST = Manifest(
    name="magika",
    version=1,
    members=(Member(path="model.onnx", sha256="a" * 64, length_bytes=3),),
)
POLICY = Policy(
    fleet="clinic",
    generation=1,
    data_classes={"health": Residency(stays=Stays.SITE)},
    model_classes={"magika": ("health",)},
    places={"oslo": Place(site="oslo", region="eu", jurisdiction="NO")},
)


@dataclass
class Repository:
    """Offline and online keys, a publisher, a hostile-able mirror, and clients of it."""

    folder: Path
    clock: ManualClock
    offline: OfflineKeys
    online: OnlineKeys
    first: dict[str, bytes]
    publisher: Publisher
    served: list[str] = field(default_factory=list)
    bytes_served: int = 0
    lies: dict[str, Callable[[], Iterator[bytes]]] = field(default_factory=dict)
    """Path to what the mirror says instead."""

    @property
    def files(self) -> Path:
        return self.folder / "repository"

    def fetch(self, path: str, length_max: int) -> Iterator[bytes]:
        self.served.append(path)
        source = self.lies.get(path)
        chunks = source() if source else iter([(self.files / path).read_bytes()])
        for chunk in chunks:
            self.bytes_served += len(chunk)
            yield chunk

    def client(self, name: str = "node", **more: Any) -> UpdateClient:
        return UpdateClient(self.folder / name, self.first["root"], self.fetch, self.clock, **more)

    def lie(self, path: str, data: bytes) -> None:
        self.lies[path] = lambda: iter([data])

    def add(
        self,
        files: dict[str, bytes],
        role: str = "models",
        facts: dict[str, Facts] | None = None,
    ) -> None:
        signed = self.offline.sign_models(
            self.publisher.role_bytes(role),
            files,
            now_unix_s=self.clock.unix_s(),
            role=role,
            facts=facts,
        )
        self.publisher.publish(signed={role: signed}, targets=files)

    def release(self, **changes: object) -> Desired:
        """Sign the manifest and the policy offline, and a desired document for oslo online."""
        files = {
            manifest_target("prod", "magika", 1): msgspec.json.encode(MANIFEST),
            policy_target("clinic"): msgspec.json.encode(POLICY),
        }
        self.add(files)
        desired = self.desired(**changes)
        self.send(desired)
        return desired

    def release_bundle(self, release: int, facts: dict[str, Facts], generation: int = 1) -> Desired:
        """Sign a release of the model and the policy, and have central name it, as it would."""
        files = {
            manifest_target("prod", "magika", 1): msgspec.json.encode(MANIFEST),
            policy_target("clinic"): msgspec.json.encode(POLICY),
        }
        members = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        bundle = Release(fleet="clinic", release=release, members=members)
        files[release_target("clinic", release)] = msgspec.json.encode(bundle)
        self.add(files, facts={path: facts.get(path, Facts()) for path in files})
        desired = self.desired(
            generation=generation,
            release=release,
            artifacts={
                path: Statement(
                    sha256=hashlib.sha256(data).hexdigest(),
                    length_bytes=len(data),
                    hw=facts.get(path, Facts()).hw,
                )
                for path, data in files.items()
            },
        )
        self.send(desired)
        return desired

    def desired(self, **changes: object) -> Desired:
        digest = hashlib.sha256
        whole = Desired(
            generation=1,
            fleet="clinic",
            domain=DOMAIN,
            region="eu",
            site="oslo",
            tier="closet",
            jurisdiction="NO",
            models=(
                DesiredModel(
                    name="magika",
                    version=1,
                    manifest_sha256=digest(msgspec.json.encode(MANIFEST)).hexdigest(),
                ),
            ),
            policy_sha256=digest(msgspec.json.encode(POLICY)).hexdigest(),
            tier_order=("closet",),
            peers=(),
            gate=Gate(hold_s=1),
        )
        return msgspec.structs.replace(whole, **changes)

    def send(self, desired: Desired) -> None:
        path = desired_target("oslo")
        self.publisher.publish(desired={path: msgspec.json.encode(desired)})

    def copy(self, name: str) -> Path:
        """Keep the repository as it is now, for an attacker to serve later."""
        return Path(shutil.copytree(self.files, self.folder / name))

    def restore(self, name: str) -> None:
        """Serve an older copy again."""
        shutil.rmtree(self.files)
        shutil.copytree(self.folder / name, self.files)


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    clock = ManualClock()
    offline = OfflineKeys.create(tmp_path / "offline")
    online = OnlineKeys.create(tmp_path / "online")
    first = offline.found(online.public(), now_unix_s=clock.unix_s())
    publisher = Publisher.found(tmp_path / "repository", online, first, clock)
    return Repository(tmp_path, clock, offline, online, first, publisher)
