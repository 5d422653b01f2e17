"""Who a node is, as it lies on its disk: enrolment key, certificate, NATS login.

    enrolment.pem       the lasting key; proof of it brings the node back from any absence
    identity.pem        certificate chain and key, one hour, replaced at half life
    site-authority.pem  the site's own authority: renews the certificate while cut off; where there
                        is a TPM its key is sealed, and opens on this machine and boot only
    roots.pem           whom the node trusts
    anchors.json        the signed statements that led there
    refused.json        whom the region has banned
    login.json          NATS login and where the region is reached; ends with the certificate

Everything here is private to this user. A new identity is checked as its peers will
check it before it replaces the old one.
"""

import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.base.files import write_private
from skerry.node.errors import NotJoinedError
from skerry.node.folder import NodeFolder
from skerry.node.settings import NodeSettings
from skerry.schema.api import IdentityReply, Refused
from skerry.spine.nats_jwt import Credentials
from skerry.trust.anchors import AnchorStore, issuer_key_ids, key_ids, rejected
from skerry.trust.attest.errors import TpmError
from skerry.trust.attest.sealer import Sealer
from skerry.trust.attest.tpm import opener
from skerry.trust.authority import Authority
from skerry.trust.errors import KeyFileError
from skerry.trust.identity import Identity, certificates_of, seal_key_and_chain
from skerry.trust.tls import client_context, verify_identity

OPENS_BYTES = 32


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """The NATS login and the address it is for."""

    nats_url: str
    nats_host: str
    jwt: str
    seed: str


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """The identity folder of one node."""

    folder: Path
    sealer: Sealer | None = None
    """Keeps what opens the site's authority, where the machine has a TPM."""

    @property
    def enrolment_key(self) -> Path:
        """The lasting key."""
        return self.folder / "enrolment.pem"

    @property
    def identity(self) -> Path:
        """Certificate chain and key."""
        return self.folder / "identity.pem"

    @property
    def site_authority(self) -> Path:
        """The site's own authority."""
        return self.folder / "site-authority.pem"

    @property
    def roots(self) -> Path:
        """Whom the node trusts."""
        return self.folder / "roots.pem"

    @property
    def anchors(self) -> AnchorStore:
        """Whom the node trusts, and how that came to be."""
        return AnchorStore(self.roots)

    def trusted_pem(self) -> bytes:
        """Return what TLS checks peers against: the roots, without authorities of banned nodes."""
        return self.anchors.roots_pem + rejected(self.refused().authorities_pem)

    def refused(self) -> Refused:
        """Return whom the region has banned, as last heard."""
        try:
            return msgspec.json.decode((self.folder / "refused.json").read_bytes(), type=Refused)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return Refused()

    def keep_refused(self, refused: Refused) -> None:
        """Heed this list from now on."""
        write_private(self.folder / "refused.json", msgspec.json.encode(refused))

    @property
    def login(self) -> Path:
        """The NATS login."""
        return self.folder / "login.json"

    @property
    def tuf_root(self) -> Path:
        """Root metadata that the update client starts from."""
        return self.folder / "1.root.json"

    def keep(
        self,
        reply: IdentityReply,
        *,
        key_pem: bytes,
        nats_seed: str,
        now_unix_s: float,
        joining: bool = False,
    ) -> None:
        """Check what the region issued and put it in place, the certificate last.

        Raises `CertificateError` where peers would refuse it; then nothing changed.
        """
        identity = Identity(chain_pem=reply.chain_pem, key_pem=key_pem)
        if joining:  # the ticket vouched for these roots
            verify_identity(identity, reply.roots_pem, now_unix_s=now_unix_s)
            self.anchors.begin(reply.roots_pem, reply.anchors)
        else:  # from here on only a root vouches for another
            self.anchors.take(reply.anchors, reply.domain)
            verify_identity(identity, self.trusted_pem(), now_unix_s=now_unix_s)
        if reply.tuf_root and not self.tuf_root.exists():
            write_private(self.tuf_root, reply.tuf_root)
        if reply.site_authority_pem:
            self._keep_site_authority(reply.site_authority_pem)
        login = Login(
            nats_url=reply.nats_url, nats_host=reply.nats_host, jwt=reply.nats_jwt, seed=nats_seed
        )
        write_private(self.login, msgspec.json.encode(login))
        identity.save(self.identity)

    def _keep_site_authority(self, pem: bytes) -> None:
        """Put the site's authority in place; where it cannot be sealed, the next renewal asks."""
        if self.sealer is not None:
            opens = secrets.token_bytes(OPENS_BYTES)
            try:
                self.sealer.seal(opens)
            except TpmError:
                return
            pem = seal_key_and_chain(pem, opens.hex())
        write_private(self.site_authority, pem)

    def _load_site_authority(self) -> Authority:
        """Raises `KeyFileError`; `TpmError` where the TPM does not open it."""
        opens = None if self.sealer is None else self.sealer.unseal().hex()
        return Authority.load(self.site_authority, passphrase=opens)

    def renew_alone(self, *, now_unix_s: float) -> Identity:
        """Issue the next certificate from the site's own authority: no region, no network.

        Raises `KeyFileError` where this node holds no site authority, `SealLostError` where this
        boot may not open it.
        """
        authority = self._load_site_authority()
        identity = authority.issue_identity(self.load().id, now_unix_s=now_unix_s)
        verify_identity(identity, self.trusted_pem(), now_unix_s=now_unix_s)
        identity.save(self.identity)
        return identity

    def load(self) -> Identity:
        """Return the identity; raises `NotJoinedError` where there is none."""
        if not self.identity.exists():
            raise NotJoinedError(str(self.folder))
        return Identity.load(self.identity)

    def credentials(self) -> Credentials:
        """Return the NATS login; read afresh, so that a reconnect uses the newest."""
        login = self.load_login()
        return Credentials(jwt=login.jwt, seed=login.seed)

    def load_login(self) -> Login:
        """Return login and address; raises `NotJoinedError` where there is none."""
        if not self.login.exists():
            raise NotJoinedError(str(self.folder))
        return msgspec.json.decode(self.login.read_bytes(), type=Login)

    def client_tls(self) -> ssl.SSLContext:
        """Return a context that shows this node and checks others, from the newest files."""
        return client_context(self.load(), self.trusted_pem())

    def wants_site_authority(self, *, now_unix_s: float) -> bool:
        """Tell whether to ask for a site authority: none here, half its life over, or left."""
        try:
            authority = self._load_site_authority()
        except (KeyFileError, TpmError):
            return True
        half_s = (authority.ends_unix_s - authority.starts_unix_s) / 2
        return now_unix_s > authority.starts_unix_s + half_s or self.is_leaving(authority.chain_pem)

    def is_leaving(self, chain_pem: bytes) -> bool:
        """Tell whether an authority above this chain is being left, or is shut out."""
        anchors = self.anchors.anchors
        if anchors is None:
            return False
        out = key_ids(anchors.distrusted_pem) | set(anchors.leaving)
        return not out.isdisjoint(issuer_key_ids(chain_pem))

    def shut_out(self) -> frozenset[str]:
        """Return the key ids of authorities that nobody here believes any more."""
        anchors = self.anchors.anchors
        fleet_wide = key_ids(anchors.distrusted_pem) if anchors else frozenset()
        return fleet_wide | key_ids(self.refused().authorities_pem)


def identity_files(folder: NodeFolder, settings: NodeSettings) -> IdentityFiles:
    """Return a node's identity folder, sealing with its TPM where it has one."""
    tpm = settings.tpm
    sealer = Sealer(opener(tpm), folder.sealed_key) if tpm else None
    return IdentityFiles(folder.identity, sealer)


def issued_by_site(identity: Identity) -> bool:
    """Tell whether the site's own authority issued it: then its chain has one link more."""
    return len(certificates_of(identity.chain_pem)) > len(("leaf", "region"))
