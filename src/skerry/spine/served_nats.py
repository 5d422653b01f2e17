"""A NATS server and the one identity that it, its process and that process's API show.

Central and every region are such a pair. The process issues its own certificate from its own
authority, renews it at half life, and starts the server again whenever that ends.

Errors: those of `NatsServer.start`.
"""

import logging
import random
import ssl
from pathlib import Path

import anyio

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.spine.errors import ServerStartError
from skerry.spine.nats_config import HubLink, ServerConfig, TlsFiles
from skerry.spine.nats_jwt import ServerKit
from skerry.spine.nats_server import NatsServer
from skerry.trust.anchors import rejected
from skerry.trust.authority import Authority
from skerry.trust.identity import Identity
from skerry.trust.spiffe import SpiffeId
from skerry.trust.tls import LiveServerContext, client_context, verify_identity

log = logging.getLogger(__name__)

RETRY_S = 1.0
RESTART_S_MAX = 15.0
LOOK_S = 0.05


class ServedNats:
    """One server, its certificate and the door of the API beside it.

    `identity_file` is where the server reads its certificate and key; `roots` is the file of
    the roots that everybody here trusts. Lives are in seconds.
    """

    def __init__(
        self,
        authority: Authority,
        who: SpiffeId,
        *,
        life_s: float,
        identity_file: Path,
        roots: Path,
        clock: Clock,
    ) -> None:
        self._authority, self._who, self._life_s = authority, who, life_s
        self._file, self._roots, self._clock = identity_file, roots, clock
        self._roots_pem = roots.read_bytes()
        self._rejected = b""
        self._identity = self._issue()
        self.door = LiveServerContext(self._identity, self._roots_pem, require_client=False)
        """What the HTTPS API serves with."""
        self.up = False
        """Whether the server runs, as far as is known."""

    @property
    def identity(self) -> Identity:
        """What is shown now."""
        return self._identity

    @property
    def host(self) -> str:
        """The name in the certificate, which whoever dials the server checks."""
        return self._who.host

    @property
    def url(self) -> str:
        """Where the process itself connects."""
        return self._nats.client_url

    def client_tls(self) -> ssl.SSLContext:
        """Return a context that shows the identity of now."""
        return client_context(self._identity, self._roots_pem)

    async def start(
        self,
        kit: ServerKit,
        folder: Path,
        *,
        host: str,
        client_port: int,
        leaf_port: int | None = None,
        hub: HubLink | None = None,
    ) -> None:
        """Start the server; a hub has a `leaf_port`, a region's server a `hub`."""
        tls = TlsFiles(certificate=self._file, key=self._file, ca=self._roots)
        config = ServerConfig(
            kit=kit, tls=tls, client_port=client_port, host=host, leaf_port=leaf_port, hub=hub
        )
        self._nats = NatsServer(config, folder)
        await self._nats.start()
        self.up = True

    async def stop(self) -> None:
        """Stop the server."""
        await self._nats.stop()

    def use_kit(self, kit: ServerKit) -> None:
        """Take another kit: its leaf's login now, all of it at the server's next start."""
        self._nats.use_kit(kit)

    async def restart(self, kit: ServerKit) -> None:
        """Start the server anew with another kit; raises `ServerStartError` if it does not."""
        self._nats.use_kit(kit)
        pid = self._nats.pid
        self._nats.end()
        with anyio.move_on_after(RESTART_S_MAX):
            while not self.up or self._nats.pid in (pid, None):
                await anyio.sleep(LOOK_S)
            return
        raise ServerStartError(self._who.host, "not anew with other keys", self._nats.log_tail())

    async def renew(self, rng: random.Random) -> None:
        """Show a new certificate at half life: API by swap, NATS by reload; no link drops."""
        while True:
            wait_s = self._identity.renew_at_unix_s(rng) - self._clock.unix_s()
            await self._clock.sleep(max(1.0, wait_s))
            try:
                await self.use(self._authority)
            except SkerryError as error:
                log.error("%s", error)  # what is served goes on; the next round tries again

    async def use(self, authority: Authority) -> None:
        """Show an identity of this authority, and trust the roots that now lie in the file.

        No link drops: new connections see the new identity. Raises `CertificateError` where
        peers would refuse it, `ReloadNotAppliedError` where the server did not take it.
        """
        roots_pem = self._roots.read_bytes()
        self._authority = authority
        identity = self._issue()
        self._identity, self._roots_pem = identity, roots_pem
        self.door.renew(identity, roots_pem + self._rejected)
        await self._nats.reload()

    def reject(self, authorities_pem: bytes) -> None:
        """Refuse at the API's door whoever these authorities certified, beside the roots' own."""
        self._rejected = rejected(authorities_pem)
        self.door.renew(self._identity, self._roots_pem + self._rejected)

    async def watch(self) -> None:
        """Start the server again whenever it ends; the bus reconnects by itself."""
        while True:
            status = await self._nats.watch()
            self.up = False
            log.warning("nats-server ended with %s; starting it again", status)
            try:
                await self._nats.start()
                self.up = True
            except SkerryError as error:
                log.error("%s", error)  # its text says it all
                await anyio.sleep(RETRY_S)

    def _issue(self) -> Identity:
        now_unix_s = self._clock.unix_s()
        identity = self._authority.issue_identity(
            self._who, now_unix_s=now_unix_s, life_s=self._life_s, loopback=True
        )
        verify_identity(identity, self._roots.read_bytes(), now_unix_s=now_unix_s)
        identity.save(self._file)
        return identity
