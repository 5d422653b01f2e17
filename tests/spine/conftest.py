"""A small authority, and real NATS servers with it."""

import datetime
import ipaddress
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skerry.base.clock import SystemClock
from skerry.spine import subjects
from skerry.spine.nats_bus import NatsBus
from skerry.spine.nats_config import HubLink, ServerConfig, TlsFiles
from skerry.spine.nats_jwt import (
    Credentials,
    ServerKit,
    UserKey,
    issue_node,
    new_user_key,
)
from skerry.spine.nats_operator import NatsOperator, create_operator
from skerry.spine.nats_server import NatsServer, free_port

HOUR_S = 3600


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Authority:
    """A certificate authority that lives as long as a test session."""

    folder: Path
    name: str = "test authority"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        self.root = (
            self._builder(subject, subject, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.ca = self.folder / "ca.pem"
        self.ca.write_bytes(self.root.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, issuer: x509.Name, public: Any) -> Any:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    def files(self, host: str) -> TlsFiles:
        """Issue a certificate whose one name is `host`, good for 127.0.0.1 too."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(host), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
        certificate = (
            self._builder(x509.Name([]), self.root.subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        chain, secret = self.folder / f"{host}.pem", self.folder / f"{host}.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return TlsFiles(certificate=chain, key=secret, ca=self.ca)

    def context(self, files: TlsFiles | None) -> ssl.SSLContext:
        """Make a client's context; without files it shows no certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if files is not None:
            context.load_cert_chain(files.certificate, files.key)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def make_authority() -> type[Authority]:
    return Authority


@dataclass
class Tiers:
    """A hub and a region's server, as real processes, with logins for everyone."""

    folder: Path
    authority: Authority
    stack: AsyncExitStack
    regions: tuple[str, ...] = ("eu", "us")
    servers: dict[str, NatsServer] = field(default_factory=dict)
    kits: dict[str, ServerKit] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.operator: NatsOperator = create_operator(
            self.folder / "operator", fleet="test", regions=self.regions
        )
        self.client_files = self.authority.files("client.test")
        self.leaf_port = free_port()
        for name in ("central", *self.regions):
            self.kits[name] = self.operator.server_kit(
                name, ends_unix_s=int(time.time()) + HOUR_S, now_unix_s=int(time.time())
            )

    async def start(self, name: str, *, hub_port: int | None = None) -> NatsServer:
        """Start `central` or a region's server; it keeps its ports and its state folder."""
        if name not in self.servers:
            hub = HubLink(url=f"tls://127.0.0.1:{hub_port or self.leaf_port}")
            config = ServerConfig(
                kit=self.kits[name],
                tls=self.authority.files(f"{name}.test"),
                client_port=free_port(),
                leaf_port=self.leaf_port if name == "central" else None,
                hub=None if name == "central" else hub,
                max_file_store_bytes=256 << 20,
            )
            self.servers[name] = NatsServer(config, self.folder / name)
            self.stack.push_async_callback(self.servers[name].stop)
        await self.servers[name].start()
        return self.servers[name]

    async def login(
        self,
        server: str,
        credentials: Callable[[], Credentials],
        inbox: str,
        *,
        domain: str | None = None,
    ) -> NatsBus:
        """Connect someone, noting trouble in `notes`."""
        bus = await NatsBus.connect(
            [self.servers[server].client_url],
            name=inbox,
            inbox_prefix=inbox,
            tls=lambda: self.authority.context(self.client_files),
            tls_hostname=f"{server}.test",
            credentials=credentials,
            domain=domain,
            on_note=self.notes.append,
            timeout_s=3.0,
        )
        self.stack.push_async_callback(bus.close)
        return bus

    async def central(self) -> NatsBus:
        """Log in the central process."""
        login = self.kits["central"].process
        return await self.login(
            "central", lambda: login, subjects.INBOX_CENTRAL, domain=subjects.CENTRAL_DOMAIN
        )

    async def region(self, name: str = "eu", *, at: str | None = None) -> NatsBus:
        """Log in a region's process at its own server, or somewhere it does not belong."""
        login = self.kits[name].process
        return await self.login(at or name, lambda: login, subjects.inbox_region(name), domain=name)

    def node_login(
        self,
        site: str,
        number: int = 1,
        *,
        region: str = "eu",
        ends_s: int = HOUR_S,
        key: UserKey | None = None,
    ) -> Credentials:
        """Mint a node's login."""
        key = key or new_user_key()
        now = int(time.time())
        jwt = issue_node(
            self.kits[region],
            site=site,
            number=number,
            public=key.public,
            ends_unix_s=now + ends_s,
            now_unix_s=now,
        )
        return Credentials(jwt=jwt, seed=key.seed)

    async def node(self, site: str = "oslo", number: int = 1, *, region: str = "eu") -> NatsBus:
        """Log in a node at its region."""
        login = self.node_login(site, number, region=region)
        return await self.login(region, lambda: login, subjects.inbox_node(region, site, number))


@pytest.fixture
async def tiers(tmp_path: Path, authority: Authority) -> AsyncIterator[Tiers]:
    async with AsyncExitStack() as stack:
        yield Tiers(tmp_path, authority, stack)


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def rng() -> random.Random:
    return random.Random(7)


async def _until(
    true: Callable[[], bool | Awaitable[bool]], *, within_s: float = 10.0, what: str = "it"
) -> None:
    with anyio.move_on_after(within_s):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await anyio.sleep(0.02)
    pytest.fail(f"waited {within_s} s for {what}")


@pytest.fixture
def until() -> Any:
    return _until
