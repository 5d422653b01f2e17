"""The first keys of a fleet, and which of them go into which process's folder.

    root.pem                     fleet root                        offline
    central.pem                  authority of central, operators   central
    regions/<region>.pem         authority of a region             that region
    regions/<region>.chain.pem   what it shows since its last change; its key is there alone
    operators/<name>.pem         a person's certificate            that person
    offline/                     TUF root, targets, models         offline
    nats/                        NATS operator and account keys    offline, or central
    roots.pem, 1.root.json       public anchors                    everyone
    anchors.json                 how roots.pem changed, signed     everyone

A local fleet makes all of it in one folder and marks it THROWAWAY; a real fleet makes the
same set on a machine that is off, and carries each part where it belongs. Every step is
idempotent: what exists is kept, what is missing (a region that is new) is added.

Units:   seconds; times are unix seconds from the clock given.
Errors:  those of `skerry.trust` and `skerry.spine.nats_jwt`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.base.clock import Clock
from skerry.base.files import private_folder, write_atomic, write_private
from skerry.central.settings import CentralFolder, CentralSettings, write_settings
from skerry.spine.nats_jwt import ServerKit
from skerry.spine.nats_operator import NatsOperator
from skerry.trust.anchors import AnchorStore
from skerry.trust.authority import Authority
from skerry.trust.identity import Identity
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OfflineKeys, OnlineKeys, PublicKeys
from skerry.trust.spiffe import operator_id

MARKER = "THROWAWAY"
MARKER_TEXT = """\
THROWAWAY

These keys were made on the spot, all on one machine, so that a fleet can be tried here.
Whoever reads this folder can sign models, admit nodes and speak for the whole fleet.
Use them for nothing that matters. docs/explanation/processes.md says where each key of a
real fleet belongs.
"""
OPERATOR_LIFE_S = 30 * 86_400.0


First = Callable[[PublicKeys], Mapping[str, bytes] | None]
"""Given central's public keys, the signed first roles; None where people have yet to sign them."""


@dataclass(frozen=True, slots=True)
class TrustSet:
    """The folder with a fleet's first keys."""

    folder: Path
    fleet: str
    domain: str

    @property
    def root(self) -> Path:
        """The fleet root's authority; offline."""
        return self.folder / "root.pem"

    @property
    def roots(self) -> Path:
        """The root's certificate; public."""
        return self.folder / "roots.pem"

    @property
    def next_root(self) -> Path:
        """The root that follows, while a change of roots is under way; offline."""
        return self.folder / "root.next.pem"

    @property
    def anchors(self) -> Path:
        """How the roots became what they are, signed; public, absent until they first change."""
        return self.folder / "anchors.json"

    @property
    def central(self) -> Path:
        """Central's authority."""
        return self.folder / "central.pem"

    @property
    def offline(self) -> Path:
        """TUF keys of the offline roles."""
        return self.folder / "offline"

    @property
    def nats(self) -> Path:
        """NATS keys."""
        return self.folder / "nats"

    @property
    def tuf_root(self) -> Path:
        """Root metadata that every node starts from; public."""
        return self.folder / "1.root.json"

    def region(self, name: str) -> Path:
        """A region's authority."""
        return self.folder / "regions" / f"{name}.pem"

    def region_chain(self, name: str) -> Path:
        """What a region's authority shows since it was changed; public."""
        return self.folder / "regions" / f"{name}.chain.pem"

    def operator(self, name: str) -> Path:
        """A person's identity."""
        return self.folder / "operators" / f"{name}.pem"

    @property
    def marker(self) -> str:
        """`THROWAWAY` for keys that were made for a trial, else nothing."""
        return MARKER if (self.folder / MARKER).exists() else ""


def create_trust(
    folder: Path,
    *,
    fleet: str,
    domain: str,
    regions: Sequence[str],
    clock: Clock,
    operator: str = "local",
    throwaway: bool = False,
    passphrase: str | None = None,
    offline: bool = True,
) -> TrustSet:
    """Make a fleet's keys, or open them and add what is missing.

    The operator's certificate is issued anew once half its life is over. `passphrase` seals
    the root and the offline TUF keys; without `offline`, key holders bring those.
    """
    trust = TrustSet(private_folder(folder), fleet, domain)
    now_unix_s = clock.unix_s()
    fresh = not trust.root.exists()
    if throwaway and fresh:
        write_atomic(folder / MARKER, MARKER_TEXT.encode())
    if fresh:
        root = Authority.create_root(domain, now_unix_s=now_unix_s)
        write_atomic(trust.roots, root.certificate_pem)
        root.save(trust.root, passphrase=passphrase)
    else:
        root = Authority.load(trust.root, passphrase=passphrase)
    if not trust.central.exists():
        root.issue_central(now_unix_s=now_unix_s).save(trust.central)
    private_folder(folder / "regions")
    for region in regions:
        if not (trust.region(region).exists() or trust.region_chain(region).exists()):
            root.issue_region(region, now_unix_s=now_unix_s).save(trust.region(region))
    _issue_operator(trust, operator, now_unix_s)
    if offline and not trust.offline.exists():
        OfflineKeys.create(trust.offline, passphrase=passphrase)
    NatsOperator.create(trust.nats, fleet=fleet, regions=regions)
    return trust


def _issue_operator(trust: TrustSet, name: str, now_unix_s: float) -> None:
    path = trust.operator(name)
    private_folder(path.parent)
    if path.exists():
        ends_unix_s = Identity.load(path).ends_unix_s
        if ends_unix_s - now_unix_s > OPERATOR_LIFE_S / 2:
            return
    identity = Authority.load(trust.central).issue_identity(
        operator_id(trust.domain, name), now_unix_s=now_unix_s, life_s=OPERATOR_LIFE_S
    )
    identity.save(path)


def install_central(
    trust: TrustSet,
    state: Path,
    settings: CentralSettings,
    *,
    clock: Clock,
    passphrase: str | None = None,
    may_revoke: bool = True,
    first: First | None = None,
) -> CentralFolder:
    """Put central's share of the keys into its state folder and found its repository.

    `may_revoke` leads central to the NATS keys, so that a ban cuts a live login for good
    with no human; without it the region cuts the connection again and again until the login
    ends, within its hour. `first` gives the repository's first roles, where several holders
    sign them; `found_repository` does later what this leaves open.
    """
    place = CentralFolder(private_folder(state))
    private_folder(state / "keys")
    now_unix_s = clock.unix_s()
    if not place.authority.exists():
        write_private(place.authority, trust.central.read_bytes())
    _install_roots(trust, place.roots)
    operator = NatsOperator.create(trust.nats, fleet=trust.fleet, regions=())
    kit = operator.server_kit(
        "central",
        ends_unix_s=int(Authority.load(trust.central).ends_unix_s),
        now_unix_s=int(now_unix_s),
    )
    write_private(place.nats_kit, msgspec.json.encode(kit))
    if may_revoke and not place.nats_operator.exists():
        # Not a copy: revocations and regions that are added later must meet in one place.
        place.nats_operator.symlink_to(trust.nats.resolve())
    online = OnlineKeys.create(place.online_keys)
    if not place.repository.exists():
        if first is None:
            offline = OfflineKeys.load(trust.offline, passphrase=passphrase)
            roles: Mapping[str, bytes] | None = offline.found(
                online.public(), now_unix_s=now_unix_s
            )
        else:
            roles = first(online.public())
        if roles is not None:
            found_repository(trust, place, roles, clock=clock)
    if not place.settings.exists():
        write_settings(place.settings, settings)
    return place


def found_repository(
    trust: TrustSet, place: CentralFolder, first: Mapping[str, bytes], *, clock: Clock
) -> None:
    """Publish a fleet's first signed roles; nodes start from their root."""
    Publisher.found(place.repository, OnlineKeys.load(place.online_keys), first, clock)
    write_atomic(trust.tuf_root, first["root"])


def install_region(trust: TrustSet, state: Path, region: str, *, clock: Clock) -> None:
    """Put a region's share of the keys into its state folder; settings are the region's own."""
    keys = private_folder(private_folder(state) / "keys")
    held = keys / "authority.pem"
    if not held.exists():
        write_private(held, trust.region(region).read_bytes())
    authority = Authority.load(held)
    _install_roots(trust, keys / "roots.pem")
    if trust.tuf_root.exists():  # else the holders have yet to sign it
        write_atomic(keys / "1.root.json", trust.tuf_root.read_bytes())
    operator = NatsOperator.create(trust.nats, fleet=trust.fleet, regions=(region,))
    kit = operator.server_kit(
        region, ends_unix_s=int(authority.ends_unix_s), now_unix_s=int(clock.unix_s())
    )
    path = keys / "nats.json"
    if not kit.node_signer_seed and path.exists():  # since it was changed, only the region has it
        before = msgspec.json.decode(path.read_bytes(), type=ServerKit)
        kit = msgspec.structs.replace(kit, node_signer_seed=before.node_signer_seed)
    write_private(path, msgspec.json.encode(kit))


def _install_roots(trust: TrustSet, path: Path) -> None:
    """Put the fleet's roots in place, or bring those that are there up to date."""
    store = AnchorStore(path)
    chain = trust.anchors.read_bytes() if trust.anchors.exists() else b""
    if path.exists():
        store.take(chain, trust.domain)
    else:
        store.begin(trust.roots.read_bytes(), chain)
