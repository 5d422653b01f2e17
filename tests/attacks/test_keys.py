"""Attacks on signing keys: stolen, too few, twice counted; a mirror that lies; one insider."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from tuf.api._payload import VerificationResult
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root

from skerry.central.notary import Notary
from skerry.central.publishing import check_signed
from skerry.schema.audit import AuditEvent, AuditOutcome
from skerry.testing.clock import ManualClock
from skerry.trust import ceremony
from skerry.trust.ceremony import Published, SigningFile
from skerry.trust.ceremony_changes import Rotation, founding, release, rotation
from skerry.trust.ceremony_errors import DelegatedTwiceError, TooFewSignaturesError
from skerry.trust.errors import PublishError, UpdateForged, UpdateRefused, UpdateRollback
from skerry.trust.publisher import Publisher
from skerry.trust.roles import ONLINE, OfflineKeys, OnlineKeys, expiry
from skerry.trust.update_client import UpdateClient

HUGE = 2**62
MODEL = "prod/model/magika/1.json"
NAMES = ("alice", "bob", "carol")


@dataclass
class Fleet:
    """Three holders, two of whom must sign root and models; central, a mirror that lies, a node."""

    folder: Path
    clock: ManualClock = field(default_factory=ManualClock)
    lies: dict[str, bytes] = field(default_factory=dict)
    """Path to what the mirror says instead."""

    def __post_init__(self) -> None:
        holders = [OfflineKeys.create(self.folder / n, holder=n).public_holder() for n in NAMES]
        self.online = OnlineKeys.create(self.folder / "online")
        now, wanted = self.clock.unix_s(), {"root": 2, "models": 2}
        file = founding("clinic", holders, self.online.public(), wanted, now_unix_s=now)
        first = self.signed(file, "alice", "bob").offered
        self.files = self.folder / "repository"
        self.publisher = Publisher.found(self.files, self.online, first, self.clock)
        self.roots = [first["root"]]
        self.node = UpdateClient(self.folder / "node", first["root"], self.fetch, self.clock)

    def fetch(self, path: str, length_max: int) -> Iterator[bytes]:
        yield self.lies[path] if path in self.lies else (self.files / path).read_bytes()

    def keys(self, name: str) -> OfflineKeys:
        return OfflineKeys.load(self.folder / name)

    def signed(self, file: SigningFile, *names: str) -> SigningFile:
        for name in names:
            file = ceremony.sign(file, self.keys(name).all_signers(), name)
        return file

    def published(self) -> Published:
        roles = {r: self.publisher.role_bytes(r) for r in ("targets", "models", "canary")}
        return Published(roots=tuple(self.roots), roles=roles)

    def publish(self, file: SigningFile) -> None:
        self.publisher.publish(signed=file.offered, targets=file.files)
        if "root" in file.offered:
            self.roots.append(file.offered["root"])

    def rotate(self, *roles: str, add: Any = None, remove: str = "") -> SigningFile:
        """Offer other keys; central makes fresh ones for its own roles."""
        online = [role for role in roles if role in ONLINE]
        return rotation(
            "clinic",
            self.published(),
            Rotation(roles=roles, add=add, remove=remove),
            now_unix_s=self.clock.unix_s(),
            online=self.publisher.make_successors(online) if online else None,
        )

    def release(self, path: str, content: bytes = b"{}") -> SigningFile:
        now = self.clock.unix_s()
        return release("clinic", self.published(), "models", {path: content}, now_unix_s=now)

    def steal(self, role: str, edit: Callable[[Any], None], *thieves: Any) -> bytes:
        """Return a role as thieves of its keys would sign it, with keys as they are now."""
        metadata: Metadata[Any] = Metadata.from_bytes(self.publisher.role_bytes(role))
        edit(metadata.signed)
        metadata.signatures.clear()
        for keys in thieves:
            metadata.sign(keys._signer(role) if hasattr(keys, "_signer") else keys, append=True)
        return metadata.to_bytes()

    def steal_online(self, role: str, edit: Callable[[Any], None]) -> bytes:
        return self.steal(role, edit, self.online._keys[role])

    def jump(self, role: str, data: bytes = b"") -> None:
        """Serve timestamp and snapshot at a huge version, listing a role at one as well."""
        listed = {f"{role}.json": MetaFile(HUGE)} if data else {}

        def far(signed: Any) -> None:
            signed.version = HUGE

        def far_snapshot(signed: Any) -> None:
            signed.version = HUGE
            signed.meta |= listed

        self.lies["metadata/timestamp.json"] = self.steal_online(
            "timestamp", lambda signed: (far(signed), signed.snapshot_meta.__init__(HUGE))
        )
        self.lies[f"metadata/{HUGE}.snapshot.json"] = self.steal_online("snapshot", far_snapshot)
        if data:
            self.lies[f"metadata/{HUGE}.{role}.json"] = data


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


# --- U13 ----------------------------------------------------------------------------------


def one_will_do(self: Any, delegated_role: str, payload: bytes, signatures: dict[str, Any]) -> None:
    """python-tuf's check, with the threshold left out: any one good signature is enough."""
    found: VerificationResult = self.get_verification_result(delegated_role, payload, signatures)
    if not found.signed:
        raise UnsignedMetadataError(f"nobody signed {delegated_role}")


U13 = pytest.mark.attack(
    row="U13",
    title="metadata by strangers, by 1 of 2 root keys, by one key counted twice",
    refused="UPDATE_FORGED",
    off={"tuf.api._payload._DelegatorMixin.verify_delegate": one_will_do},
)


def next_root(signed: Root) -> None:
    signed.version += 1
    signed.expires = expiry("root", ManualClock().unix_s())


@U13
def test_u13_a_root_by_one_of_two_is_forged_and_by_two_is_taken(fleet: Fleet) -> None:
    fleet.node.refresh()
    alice, bob = fleet.keys("alice"), fleet.keys("bob")
    fleet.lies["metadata/2.root.json"] = fleet.steal("root", next_root, alice)
    with pytest.raises(UpdateForged) as refusal:
        fleet.node.refresh()
    assert refusal.value.reason == "UPDATE_FORGED"
    fleet.lies["metadata/2.root.json"] = fleet.steal("root", next_root, alice, bob)
    fleet.node.refresh()


@U13
def test_u13_a_root_by_strangers_is_forged(fleet: Fleet, tmp_path: Path) -> None:
    thieves = [OfflineKeys.create(tmp_path / f"thief{n}") for n in range(2)]
    fleet.lies["metadata/2.root.json"] = fleet.steal("root", next_root, *thieves)
    with pytest.raises(UpdateForged):
        fleet.node.refresh()


@U13
def test_u13_one_signature_written_twice_is_forged(fleet: Fleet) -> None:
    root = json.loads(fleet.steal("root", next_root, fleet.keys("alice")))
    root["signatures"] *= 2
    fleet.lies["metadata/2.root.json"] = json.dumps(root).encode()
    with pytest.raises(UpdateForged):
        fleet.node.refresh()


# --- U21 ----------------------------------------------------------------------------------


def keep_keys(self: OnlineKeys, roles: Any) -> dict[str, bytes]:
    """A rotation that names the keys in use once more."""
    return {role: self.public()[role] for role in roles}


U21 = pytest.mark.attack(
    row="U21",
    title="fast-forward to version 2**62 with stolen keys, then recovery through root",
    refused="UPDATE_ROLLBACK",
    off={"skerry.trust.roles.OnlineKeys.make_successors": keep_keys},
)


@U21
def test_u21_a_jump_with_stolen_online_keys_blocks_until_root_names_new_ones(fleet: Fleet) -> None:
    fleet.node.refresh()
    fleet.jump("")
    fleet.node.refresh()  # nothing tells it from a true one yet
    fleet.lies.clear()
    with pytest.raises(UpdateRollback) as refusal:
        fleet.node.refresh()
    assert refusal.value.reason == "UPDATE_ROLLBACK"
    fleet.publish(fleet.signed(fleet.rotate(*ONLINE), "alice", "carol"))
    fleet.publisher.publish(desired={"desired/oslo.json": b"[1]"})
    fleet.node.refresh()
    assert fleet.node.target_bytes("desired/oslo.json") == b"[1]"


@U21
def test_u21_a_jump_of_models_too_is_healed(fleet: Fleet) -> None:
    """Two stolen release keys beside central's: the worst that root can still mend."""
    fleet.node.refresh()
    thieves = [fleet.keys(name) for name in ("bob", "carol")]

    def far(signed: Any) -> None:
        signed.version = HUGE

    fleet.jump("models", fleet.steal("models", far, *thieves))
    fleet.node.refresh()
    assert fleet.node.target_sha256(MODEL) is None  # the huge version is the one in force
    fleet.lies.clear()
    with pytest.raises(UpdateRollback):
        fleet.node.refresh()
    for name in ("bob", "carol"):
        keys = fleet.keys(name)
        keys.renew_key("models")
        roles = ("models", *ONLINE) if name == "carol" else ("models",)
        file = fleet.rotate(*roles, add=keys.public_holder())
        fleet.publish(fleet.signed(file, "alice", name))
    fleet.publish(fleet.signed(fleet.release(MODEL), "bob", "alice"))
    fleet.node.refresh()
    assert fleet.node.target_bytes(MODEL) == b"{}"


# --- U22 ----------------------------------------------------------------------------------


def any_version(self: Any, data: bytes) -> Root:
    """python-tuf's `update_root` without its look at the version."""
    root, payload, signatures = self._load_data(Root, data, self.root)
    root.verify_delegate(Root.type, payload, signatures)
    self._add(Root.type, root, Root.type)
    return root


U22 = pytest.mark.attack(
    row="U22",
    title="a root version is skipped; forty true rotations are met after a long absence",
    refused="UPDATE_ROLLBACK",
    off={"tuf.ngclient._internal.trusted_metadata_set.TrustedMetadataSet.update_root": any_version},
)


def rotate_root(fleet: Fleet, times: int) -> None:
    """Alice replaces her root key again and again; bob agrees each time."""
    for _ in range(times):
        alice = fleet.keys("alice")
        alice.renew_key("root")
        fleet.publish(fleet.signed(fleet.rotate("root", add=alice.public_holder()), "alice", "bob"))


@U22
def test_u22_a_root_under_another_number_is_refused(fleet: Fleet) -> None:
    fleet.node.refresh()
    # Bob and carol sign 2 and 3: both would pass for the next root, by signatures alone.
    for _ in range(2):
        root = rotation_free_renewal(fleet)
        fleet.publish(root)
    fleet.lies["metadata/2.root.json"] = (fleet.files / "metadata/3.root.json").read_bytes()
    with pytest.raises(UpdateRefused) as refusal:
        fleet.node.refresh()
    assert refusal.value.reason == "UPDATE_ROLLBACK"
    fleet.lies.clear()
    fleet.node.refresh()


@U22
def test_u22_forty_rotations_are_followed_by_a_node_that_was_away(fleet: Fleet) -> None:
    fleet.node.refresh()
    rotate_root(fleet, 40)
    fleet.node.refresh()
    root = json.loads((fleet.folder / "node/metadata/root.json").read_bytes())
    assert root["signed"]["version"] == 41


def rotation_free_renewal(fleet: Fleet) -> SigningFile:
    from skerry.trust.ceremony_changes import renewal

    fleet.clock.advance(60)
    now = fleet.clock.unix_s()
    return fleet.signed(
        renewal("clinic", fleet.published(), ["root"], now_unix_s=now), "bob", "carol"
    )


# --- U23 ----------------------------------------------------------------------------------


U23 = pytest.mark.attack(
    row="U23",
    title="one role name delegated by two roles, or twice by one",
    refused="DELEGATED_TWICE",
    off={"skerry.trust.state_check.lint_delegated_once": lambda *_: None},
)


@U23
def test_u23_models_cannot_delegate_to_canary_as_targets_does(fleet: Fleet) -> None:
    """python-tuf keeps a delegated role by its name: two delegators would share one `canary`."""
    targets: Metadata[Any] = Metadata.from_bytes(fleet.publisher.role_bytes("targets"))

    def delegate(signed: Any) -> None:
        signed.version += 1
        signed.delegations = targets.signed.delegations

    data = fleet.steal("models", delegate, fleet.keys("alice"), fleet.keys("bob"))
    with pytest.raises(DelegatedTwiceError) as refusal:
        fleet.publisher.publish(signed={"models": data})
    assert refusal.value.reason == "DELEGATED_TWICE"


@U23
def test_u23_targets_cannot_name_one_role_twice(fleet: Fleet) -> None:
    """The second entry would win, unseen."""

    def renew(signed: Any) -> None:
        signed.version += 1

    document = json.loads(fleet.steal("targets", renew, fleet.keys("alice")))
    document["signed"]["delegations"]["roles"] *= 2
    with pytest.raises(PublishError, match="cannot be read"):
        fleet.publisher.publish(signed={"targets": json.dumps(document).encode()})


# --- A29, the key half --------------------------------------------------------------------


A29 = pytest.mark.attack(
    row="A29b",
    title="one holder of two publishes a model, a policy, or a root of their own",
    refused="TOO_FEW_SIGNATURES",
    off={"skerry.trust.state_check.check_threshold": lambda *_: None},
)


@A29
@pytest.mark.parametrize("what", [MODEL, "prod/policy/clinic.json", "root"])
def test_a29b_one_insider_alone_changes_nothing_and_the_attempt_is_noted(
    fleet: Fleet, what: str
) -> None:
    before = {role: fleet.publisher.role_bytes(role) for role in ("root", "models", "timestamp")}
    file = fleet.rotate("root", remove="bob") if what == "root" else fleet.release(what, b"of mine")
    offered = fleet.signed(file, "alice")
    noted: list[AuditEvent] = []

    async def note(event: AuditEvent) -> None:
        noted.append(event)

    async def attempt() -> None:
        notary = Notary(fleet.publisher, lambda: None)
        await check_signed(notary, offered.offered, offered.files, "spiffe://x/operator/a", note)
        await notary.take(offered.offered, offered.files)

    with pytest.raises(TooFewSignaturesError, match="1 of 2 keys signed it: alice"):
        anyio.run(attempt)
    assert [(event.outcome, event.reason) for event in noted] == [
        (AuditOutcome.REFUSED, "TOO_FEW_SIGNATURES")
    ]
    assert before == {role: fleet.publisher.role_bytes(role) for role in before}


@A29
def test_a29b_a_copy_of_a_colleagues_signature_helps_nobody(fleet: Fleet) -> None:
    """A signature is over one version of one role: it cannot be carried to another."""
    one = fleet.signed(fleet.release(MODEL), "alice")
    other = fleet.signed(fleet.release(MODEL, b"evil"), "bob")
    mixed: Metadata[Any] = Metadata.from_bytes(other.offered["models"])
    mixed.signatures |= Metadata.from_bytes(one.offered["models"]).signatures
    cheat = msgspec.structs.replace(other, offered={"models": mixed.to_bytes()})
    with pytest.raises(TooFewSignaturesError):
        partial(fleet.publish, cheat)()
