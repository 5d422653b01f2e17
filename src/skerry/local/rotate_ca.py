"""Changing a fleet's root, or a region's authority, while everything goes on.

    root     announce   both roots are published; whoever has not taken them holds the change up
             certify    each authority, its key unchanged, gets a certificate under the new root,
                        and whoever hangs on the old one renews
             drop       the old root is no longer published, and is refused from then on
    add-root            a root of somebody else is trusted beside the fleet's own
    REGION   switch     the region makes a new authority key and a new key for logins
             drop       the old authority is shut out everywhere, its login key with it

Each step is done once everybody has taken the one before it. What was done lies in
`rotation.json` beside the keys, so the change can be interrupted anywhere and goes on.

Errors:  OperatorError and OperatorUnreachableError (nothing of that step is lost, repeat it),
         KeyFileError for a wrong passphrase, RotationError.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import Exit, UsageError
from skerry.base.files import private_folder, write_atomic, write_private
from skerry.central.bootstrap import TrustSet
from skerry.client.operator import Operator
from skerry.local.errors import LocalError
from skerry.schema.api import AuthorityGrant, FleetStatus
from skerry.spine.nats_operator import NatsOperator
from skerry.trust.anchors import AnchorChain, bundle, key_id, read_chain, sign_next
from skerry.trust.authority import Authority
from skerry.trust.identity import Identity, certificates_of, chain_to_pem

ROOT, ADD_ROOT = "root", "add-root"


class RotationError(LocalError):
    """Another change of roots or authorities is not finished yet.

    One at a time: finish it by the same command, then start the next.
    """

    code = "E0263"
    exit_code = Exit.REFUSED

    def __init__(self, wanted: str, under_way: str) -> None:
        super().__init__(wanted, under_way)
        self.wanted, self.under_way = wanted, under_way

    def __str__(self) -> str:
        return f"{self.wanted} cannot be changed while the change of {self.under_way} is under way"

    @property
    def hint(self) -> str:
        """Name the command that finishes it."""
        return f"skerry trust rotate-ca {self.under_way}"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a change has come: the file `rotation.json`."""

    what: str
    """`root`, or a region."""
    step: str
    """The step that was done last."""
    version: int
    """Which version of the fleet's trust everybody has to take before the next step."""
    old_key_id: str
    old_pem: bytes
    signer: str = ""
    """The public key that signs the region's logins from now on."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is under way, and who holds it up; nothing is under way once `step` is `done`."""

    step: str
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One fleet, as whoever holds its root's key reaches it."""

    trust: TrustSet
    central: Callable[[], Operator]
    regions: Mapping[str, Callable[[], Operator]]
    clock: Clock
    passphrase: str | None = None

    def go_on(self, what: str, *, stolen: bool = False, root_pem: bytes = b"") -> Standing:
        """Do the next step if everybody took the last; say what was done, or who is missing.

        `root_pem` is for `add-root`. `stolen` waits for nobody before a region's old authority is
        shut out: its nodes come back by their enrolment keys.
        """
        progress = self._progress()
        if progress is None:
            if what == ADD_ROOT:
                return self._add_root(root_pem)
            return self._announce() if what == ROOT else self._switch(what)
        if progress.what != what:
            raise RotationError(what, progress.what)
        hurried = stolen and progress.step == "switch"
        waiting = () if hurried else missing(self.central().status(), progress)
        if waiting:
            return Standing(progress.step, waiting)
        match progress.step:
            case "announce":
                return self._certify(progress)
            case "certify":
                return self._drop_root(progress)
            case "switch":
                return self._shut_out(progress)
            case _:
                (self.trust.folder / "rotation.json").unlink()
                return Standing("done")

    # --- the root ---------------------------------------------------------------------

    def _announce(self) -> Standing:
        old = self._root()
        if not self.trust.next_root.exists():
            made = Authority.create_root(old.domain, now_unix_s=self.clock.unix_s())
            made.save(self.trust.next_root, passphrase=self.passphrase)
        roots_pem = old.certificate_pem + self._next_root().certificate_pem + self._others()
        version = self._publish(old, roots_pem=roots_pem)
        return self._did(
            Progress(
                what=ROOT,
                step="announce",
                version=version,
                old_key_id=old.key_id,
                old_pem=old.certificate_pem,
            )
        )

    def _certify(self, progress: Progress) -> Standing:
        old, new = self._root(), self._next_root()
        now_unix_s = self.clock.unix_s()
        held = {"central": self.trust.central}
        held |= {name: self.trust.region(name) for name in self.regions}
        for name, path in held.items():
            place = self.central() if name == "central" else self.regions[name]()
            asked = place.ask_authority(new_key=False)
            chain_pem = new.issue_requested(asked.csr_pem, now_unix_s=now_unix_s)
            place.grant_authority(AuthorityGrant(chain_pem=chain_pem))
            if path.exists():  # the key of the founding days may have been left behind by now
                key = Authority.load(path).key
                chain = certificates_of(chain_pem)
                if key.public_key() == chain[0].public_key():
                    Authority(chain, key).save(path)
        self._certify_operators(now_unix_s)
        roots_pem = new.certificate_pem + old.certificate_pem + self._others()
        version = self._publish(new, old, roots_pem=roots_pem, leaving=(old.key_id,))
        return self._did(msgspec.structs.replace(progress, step="certify", version=version))

    def _certify_operators(self, now_unix_s: float) -> None:
        """Put every operator's certificate under the new root; keys stay."""
        central = Authority.load(self.trust.central)
        for path in (self.trust.folder / "operators").glob("*.pem"):
            identity = Identity.load(path)
            chain_pem = central.issue_leaf(
                identity.leaf.public_key(),  # type: ignore[arg-type]  # P-256, as all of ours
                identity.id,
                now_unix_s=now_unix_s,
                life_s=identity.ends_unix_s - now_unix_s,
            )
            Identity(chain_pem, identity.key_pem).save(path)

    def _drop_root(self, progress: Progress) -> Standing:
        new = self._next_root() if self.trust.next_root.exists() else self._root()
        version = self._publish(new, roots_pem=new.certificate_pem + self._others())
        if self.trust.next_root.exists():
            retired = private_folder(self.trust.folder / "retired")
            if self.trust.root.exists():  # a crash may have come between the two
                self.trust.root.replace(retired / f"root-{progress.old_key_id[:8]}.pem")
            self.trust.next_root.replace(self.trust.root)
        return self._did(msgspec.structs.replace(progress, step="drop", version=version))

    def _add_root(self, root_pem: bytes) -> Standing:
        root = self._root()
        try:
            added = chain_to_pem(certificates_of(root_pem))
        except ValueError as error:
            raise UsageError("the root to add cannot be read", "give it as PEM") from error
        roots_pem = root.certificate_pem + self._others() + added
        version = self._publish(root, roots_pem=roots_pem)
        return self._did(
            Progress(what=ADD_ROOT, step="add", version=version, old_key_id="", old_pem=b"")
        )

    def _others(self) -> bytes:
        """Return the roots of somebody else that the fleet trusts beside its own."""
        last, progress = self._chain().last(), self._progress()
        own = {progress.old_key_id} if progress else set()
        own |= {Authority.load(path, passphrase=self.passphrase).key_id for path in self._held()}
        roots = certificates_of(last.roots_pem) if last else []
        return chain_to_pem([one for one in roots if key_id(one) not in own])

    def _held(self) -> list[Path]:
        return [path for path in (self.trust.root, self.trust.next_root) if path.exists()]

    # --- a region ---------------------------------------------------------------------

    def _switch(self, region: str) -> Standing:
        root, place = self._root(), self.regions[region]()
        asked = place.ask_authority(new_key=True)
        now_unix_s = self.clock.unix_s()
        old_pem = self._certificate_in_use(region)
        account_jwt = self._nats(region).add_node_signer(region, asked.node_signer)
        chain_pem = root.issue_requested(asked.csr_pem, now_unix_s=now_unix_s)
        place.grant_authority(AuthorityGrant(chain_pem=chain_pem, account_jwt=account_jwt))
        old_key_id = key_id(certificates_of(old_pem)[0])
        version = self._publish(root, leaving=(old_key_id,))
        self._keep_chain(region, chain_pem)
        return self._did(
            Progress(
                what=region,
                step="switch",
                version=version,
                old_key_id=old_key_id,
                old_pem=old_pem,
                signer=asked.node_signer,
            )
        )

    def _shut_out(self, progress: Progress) -> Standing:
        root, region = self._root(), progress.what
        last = self._chain().last()
        distrusted = (last.distrusted_pem if last else b"") + progress.old_pem
        account_jwt = self._nats(region).drop_node_signers(region, keep=progress.signer)
        chain_pem = self.trust.region_chain(region).read_bytes()
        grant = AuthorityGrant(chain_pem=chain_pem, account_jwt=account_jwt)
        self.regions[region]().grant_authority(grant)
        version = self._publish(root, distrusted_pem=distrusted)
        return self._did(msgspec.structs.replace(progress, step="drop", version=version))

    def _certificate_in_use(self, region: str) -> bytes:
        """Return the certificate of the authority that a region is about to leave."""
        chain = self.trust.region_chain(region)
        if chain.exists():
            return chain_to_pem(certificates_of(chain.read_bytes())[:1])
        return Authority.load(self.trust.region(region)).certificate_pem

    def _keep_chain(self, region: str, chain_pem: bytes) -> None:
        """Keep what the region shows now; the key of the founding days has had its day."""
        write_atomic(self.trust.region_chain(region), chain_pem)
        if self.trust.region(region).exists():
            retired = private_folder(self.trust.folder / "retired")
            self.trust.region(region).replace(retired / f"{region}.pem")

    def _nats(self, region: str) -> NatsOperator:
        return NatsOperator.create(self.trust.nats, fleet=self.trust.fleet, regions=(region,))

    # --- what both share --------------------------------------------------------------

    def _publish(self, *signers: Authority, **what: object) -> int:
        """Sign the next version of whom the fleet trusts, and hand it to central."""
        chain = self._chain()
        last = chain.last()
        roots_pem = last.roots_pem if last else signers[0].certificate_pem
        kept = {"roots_pem": roots_pem, "distrusted_pem": last.distrusted_pem if last else b""}
        signed = sign_next(chain, *signers, **{**kept, **what})  # type: ignore[arg-type]
        encoded = msgspec.json.encode(signed)
        self.central().put_anchors(encoded)
        write_atomic(self.trust.anchors, encoded)
        now = signed.last()
        assert now is not None  # noqa: S101 - it was just signed
        write_atomic(self.trust.roots, bundle(now.roots_pem, now.distrusted_pem))
        return now.version

    def _chain(self) -> AnchorChain:
        """Return the statements so far: central's, where a step was cut off before it was noted."""
        here = self.trust.anchors.read_bytes() if self.trust.anchors.exists() else b""
        theirs = self.central().anchors()
        chains = [read_chain(here), read_chain(theirs)]
        return max(chains, key=lambda chain: len(chain.versions))

    def _root(self) -> Authority:
        return Authority.load(self.trust.root, passphrase=self.passphrase)

    def _next_root(self) -> Authority:
        return Authority.load(self.trust.next_root, passphrase=self.passphrase)

    def _progress(self) -> Progress | None:
        path = self.trust.folder / "rotation.json"
        return msgspec.json.decode(path.read_bytes(), type=Progress) if path.exists() else None

    def _did(self, progress: Progress) -> Standing:
        write_private(self.trust.folder / "rotation.json", msgspec.json.encode(progress))
        return Standing(progress.step, missing(self.central().status(), progress))


def missing(status: FleetStatus, progress: Progress) -> tuple[str, ...]:
    """Return who has not taken a change yet: central, regions and nodes that are not banned.

    Before a drop nobody may hang on what is left; after it, all must have heard.
    """
    stands = [("central", status.anchors_version, status.issuers)]
    stands += [(one.region, one.anchors_version, one.issuers) for one in status.regions]
    for node in status.nodes:
        seen = node.observed
        if not node.banned:
            stands.append(
                (node.node, seen.anchors_version, seen.issuers) if seen else (node.node, 0, ())
            )
    leaving = progress.step in ("certify", "switch")
    return tuple(
        name
        for name, version, issuers in stands
        if version < progress.version or (leaving and progress.old_key_id in issuers)
    )
