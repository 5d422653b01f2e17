"""Signing across people: what is shown is what is signed, and no threshold is met by one alone."""

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.base.errors import SkerryError
from skerry.testing.clock import ManualClock
from skerry.trust import ceremony
from skerry.trust._tuf import Metadata
from skerry.trust.ceremony import Known, Published, SigningFile
from skerry.trust.ceremony_changes import Rotation, founding, release, renewal, rotation
from skerry.trust.ceremony_errors import (
    KeySharedError,
    NotAHolderError,
    RotationError,
    SigningFileError,
    ThresholdUnreachableError,
    TooFewSignaturesError,
)
from skerry.trust.ceremony_keys import Holder, read_holder
from skerry.trust.ceremony_show import changes
from skerry.trust.errors import KeyFileError
from skerry.trust.publisher import Publisher
from skerry.trust.roles import ONLINE, OfflineKeys, OnlineKeys

NAMES = ("alice", "bob", "carol")
MODEL = "prod/model/magika/1.json"


@dataclass
class House:
    """A fleet of three holders where root and models want two of them."""

    folder: Path
    clock: ManualClock
    online: OnlineKeys
    publisher: Publisher
    roots: list[bytes]

    def keys(self, name: str) -> OfflineKeys:
        return OfflineKeys.load(self.folder / name)

    def sign(self, file: SigningFile, *names: str) -> SigningFile:
        for name in names:
            file = ceremony.sign(file, self.keys(name).all_signers(), name)
        return file

    @property
    def published(self) -> Published:
        roles = {r: self.publisher.role_bytes(r) for r in ("targets", "models", "canary")}
        return Published(roots=tuple(self.roots), roles=roles)

    def publish(self, file: SigningFile) -> None:
        self.publisher.publish(signed=file.offered, targets=file.files)
        if "root" in file.offered:
            self.roots.append(file.offered["root"])

    def release(self, version: int) -> SigningFile:
        path = f"prod/model/magika/{version}.json"
        now = self.clock.unix_s()
        return release("clinic", self.published, "models", {path: b"{}"}, now_unix_s=now)

    def rotate(self, change: Rotation, **more: Any) -> SigningFile:
        now = self.clock.unix_s()
        return rotation("clinic", self.published, change, now_unix_s=now, **more)


@pytest.fixture
def house(tmp_path: Path) -> House:
    clock = ManualClock()
    holders = [OfflineKeys.create(tmp_path / name, holder=name).public_holder() for name in NAMES]
    online = OnlineKeys.create(tmp_path / "online")
    file = founding(
        "clinic",
        holders,
        online.public(),
        {"root": 2, "models": 2},
        now_unix_s=clock.unix_s(),
    )
    for name in NAMES[:2]:
        file = ceremony.sign(file, OfflineKeys.load(tmp_path / name).all_signers(), name)
    publisher = Publisher.found(tmp_path / "repository", online, file.offered, clock)
    return House(tmp_path, clock, online, publisher, [file.offered["root"]])


def test_one_signature_of_two_publishes_nothing_and_two_do(house: House) -> None:
    file = house.sign(house.release(1), "alice")
    assert [str(one) for one in ceremony.wanted(file)] == [
        "models: 1 signed, 2 wanted; by alice; open: bob, carol"
    ]
    with pytest.raises(TooFewSignaturesError, match=r"1 of 2 keys signed it: alice; .*bob, carol"):
        house.publish(file)
    house.publish(house.sign(file, "carol"))
    assert MODEL.encode() in house.publisher.role_bytes("models")


def test_signing_twice_is_one_signature(house: House) -> None:
    file = house.sign(house.release(1), "alice", "alice")
    assert ceremony.wanted(file)[0].standing.missing == 1


def test_copies_signed_side_by_side_are_merged(house: House) -> None:
    file = house.release(1)
    both = ceremony.merge([house.sign(file, "bob"), house.sign(file, "carol")])
    ceremony.check_complete(both)
    house.clock.advance(5)
    later = house.release(1)
    with pytest.raises(SigningFileError, match="is another"):
        ceremony.merge([file, later])


def test_the_difference_is_shown_before_signing(house: House) -> None:
    dave = OfflineKeys.create(house.folder / "dave", holder="dave").public_holder()
    file = house.rotate(Rotation(roles=("root", "models"), add=dave, remove="carol"))
    lines = changes(file)
    assert lines[0].startswith("root: version 1 -> 2, ends 20")
    assert any("of carol no longer signs root" in line for line in lines)
    assert any("of dave signs models" in line for line in lines)
    assert not any("carol" in line and "signs targets" in line for line in lines)
    assert "+ prod/model/magika/1.json" in "\n".join(changes(house.release(1)))


def test_a_renewal_says_that_nothing_else_changes(house: House) -> None:
    house.clock.advance(86_400)
    file = renewal("clinic", house.published, ["models"], now_unix_s=house.clock.unix_s())
    assert changes(file)[1] == "  nothing but a new version and a later end"
    house.publish(house.sign(file, "alice", "bob"))


def _slip(role: str, edit: Any) -> Any:
    return pytest.param(role, edit, id=f"{role}-{edit.__name__}")


def consistent_snapshot(signed: Any) -> None:
    signed.consistent_snapshot = False


def unknown_field(signed: Any) -> None:
    signed.unrecognized_fields["x"] = 1


def spec_version(signed: Any) -> None:
    signed.spec_version = "1.0.0"


def threshold(signed: Any) -> None:
    signed.roles["snapshot"].threshold = 2


def facts(signed: Any) -> None:
    signed.targets[MODEL].unrecognized_fields["custom"] = {"hw": []}


def holder_name(signed: Any) -> None:
    next(iter(signed.keys.values())).unrecognized_fields["x-skerry-holder"] = "mallory"


@pytest.mark.parametrize(
    ("role", "edit"),
    [
        _slip("root", consistent_snapshot),
        _slip("root", threshold),
        _slip("root", holder_name),
        _slip("models", unknown_field),
        _slip("models", spec_version),
        _slip("models", facts),
    ],
)
def test_nothing_that_differs_passes_unseen(house: House, role: str, edit: Any) -> None:
    house.publish(house.sign(house.release(1), "alice", "bob"))
    file = renewal("clinic", house.published, [role], now_unix_s=house.clock.unix_s())
    assert "nothing but" in changes(file)[1]
    metadata: Metadata[Any] = Metadata.from_bytes(file.offered[role])
    edit(metadata.signed)
    slipped = msgspec.structs.replace(file, offered={role: metadata.to_bytes()})
    lines = changes(slipped)
    assert len(lines) == 2
    assert "nothing but" not in lines[1]


def test_a_lost_key_below_the_threshold_is_replaced_by_the_others(house: House) -> None:
    dave = OfflineKeys.create(house.folder / "dave", holder="dave").public_holder()
    offline = ("root", "targets", "models", "canary")
    file = house.rotate(Rotation(roles=offline, add=dave, remove="carol"))
    assert set(file.offered) == {"root", "targets"}  # models still stands on alice and bob
    ceremony.check_offered(file, house.clock.unix_s())
    house.publish(house.sign(file, "alice", "bob"))
    house.publish(house.sign(house.release(1), "dave", "alice"))
    with pytest.raises(NotAHolderError):
        house.sign(house.release(2), "carol")


def test_a_new_root_wants_the_old_set_and_the_new_set(house: House) -> None:
    new = [OfflineKeys.create(house.folder / n, holder=n).public_holder() for n in ("dave", "eve")]
    file = house.rotate(Rotation(roles=("root",), add=new[0], remove="alice"))
    file_by_new = house.sign(file, "dave", "bob")
    with pytest.raises(TooFewSignaturesError):  # bob alone speaks for the present keys
        house.publish(file_by_new)
    house.publish(house.sign(file, "bob", "carol"))


def test_a_holder_replaces_an_own_key_and_signs_it_in_with_the_retired_one(house: House) -> None:
    alice = house.keys("alice")
    alice.renew_key("root")
    file = house.rotate(Rotation(roles=("root",), add=alice.public_holder()))
    signed = house.sign(file, "alice")  # with the old key for the old set, the new for the new
    assert [one.standing.signed for one in ceremony.wanted(signed)] == [("alice",), ("alice",)]
    house.publish(house.sign(signed, "bob"))


def test_a_threshold_is_raised_and_never_above_the_keys(house: House) -> None:
    house.publish(
        house.sign(house.rotate(Rotation(roles=("targets",), threshold=3)), "alice", "bob", "carol")
    )
    file = house.rotate(Rotation(roles=("models",), threshold=4))
    with pytest.raises(ThresholdUnreachableError, match="wants 4 signatures of 3 keys"):
        ceremony.check_offered(file, house.clock.unix_s())
    with pytest.raises(ThresholdUnreachableError):
        house.publish(house.sign(file, *NAMES))


def test_one_key_under_two_names_is_refused(house: House) -> None:
    """Else one person would count twice."""
    alice = house.keys("alice").public_holder()
    twin = msgspec.structs.replace(alice, name="twin")
    with pytest.raises(RotationError, match="in use already"):
        house.rotate(Rotation(roles=("models",), add=twin))
    cross = msgspec.structs.replace(alice, name="twin", keys={"models": alice.keys["root"]})
    file = house.rotate(Rotation(roles=("models",), add=cross))
    with pytest.raises(KeySharedError):
        ceremony.check_offered(file, house.clock.unix_s())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (Rotation(roles=("models",), remove="mallory"), "mallory holds none"),
        (Rotation(roles=("models",)), "nothing would change"),
        (Rotation(roles=("gold",), threshold=1), "it is none of"),
    ],
)
def test_a_rotation_that_cannot_be_is_named(house: House, change: Rotation, why: str) -> None:
    with pytest.raises(RotationError, match=why):
        house.rotate(change)


def test_one_holder_has_one_key_of_a_role(house: House) -> None:
    """Else somebody could slip in a second key under a colleague's name."""
    eve = OfflineKeys.create(house.folder / "eve", holder="eve").public_holder()
    file = house.rotate(Rotation(roles=("models",), add=eve))
    targets: Metadata[Any] = Metadata.from_bytes(file.offered["targets"])
    key = targets.signed.get_key(house_key_id(targets, "eve"))
    key.unrecognized_fields["x-skerry-holder"] = "alice"
    offered = file.offered | {"targets": targets.to_bytes()}
    with pytest.raises(KeySharedError, match="alice is named for 2 of its keys"):
        ceremony.check_offered(msgspec.structs.replace(file, offered=offered), house.clock.unix_s())


def house_key_id(targets: "Metadata[Any]", holder: str) -> str:
    keys = targets.signed.delegations.keys
    found = [k for k, v in keys.items() if v.unrecognized_fields["x-skerry-holder"] == holder]
    return str(found[0])


def test_online_keys_are_replaced_while_central_runs(house: House) -> None:
    public = house.publisher.make_successors(ONLINE)
    file = house.rotate(Rotation(roles=ONLINE), online=public)
    house.publisher.publish(desired={"desired/oslo.json": b"[1]"})  # with the keys in use
    before = house.online.public()
    house.publish(house.sign(file, "alice", "bob"))
    assert house.online.public() == public != before
    house.publisher.publish(desired={"desired/oslo.json": b"[2]"})
    again = Publisher.open(
        house.folder / "repository", OnlineKeys.load(house.folder / "online"), house.clock
    )
    assert again.refresh() is False
    assert not list((house.folder / "online").glob("*.next.pem"))


def test_central_dies_between_publishing_a_new_key_and_taking_it_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = house.publisher.make_successors(["timestamp"])
    file = house.sign(house.rotate(Rotation(roles=("timestamp",)), online=public), "alice", "bob")
    with monkeypatch.context() as patch:
        patch.setattr(OnlineKeys, "settle", lambda *_: None)
        house.publish(file)
    online = OnlineKeys.load(house.folder / "online")
    Publisher.open(house.folder / "repository", online, house.clock).publish(
        desired={"desired/oslo.json": b"[3]"}
    )
    assert online.public()["timestamp"] == public["timestamp"]


# --- a file from whoever ------------------------------------------------------------------


def test_a_first_use_a_signed_root_and_a_seen_root_are_told_apart(house: House) -> None:
    published = house.published
    own = {house.keys("alice").key_id("root")}
    assert ceremony.check_published(published) is Known.FIRST_USE
    assert ceremony.check_published(published, own=own) is Known.SIGNED
    assert ceremony.check_published(published, published.roots[0]) is Known.SEEN
    assert len(ceremony.fingerprint(published.roots[0]).split()) == 8


def test_a_made_up_state_is_not_signed_upon(house: House, tmp_path: Path) -> None:
    """Else a harmless difference could be shown against a state that is not the fleet's."""
    thieves = [OfflineKeys.create(tmp_path / f"t{n}", holder="alice") for n in range(2)]
    online = OnlineKeys.create(tmp_path / "thieves-online")
    fake = thieves[0].found(online.public(), now_unix_s=house.clock.unix_s())
    forged = Published(roots=(fake["root"],), roles={r: fake[r] for r in fake if r != "root"})
    with pytest.raises(SigningFileError, match="is not the one seen here before"):
        ceremony.check_published(forged, house.roots[0])
    mixed = msgspec.structs.replace(house.published, roles=forged.roles)
    with pytest.raises(SigningFileError, match="keys signed it"):
        ceremony.check_published(mixed, house.roots[0])


def test_a_withheld_root_is_noticed(house: House) -> None:
    change = Rotation(roles=("root",), remove="carol")
    old = house.published
    house.publish(house.sign(house.rotate(change), "alice", "bob"))
    ceremony.check_published(house.published, house.roots[0])
    with pytest.raises(SigningFileError, match="it is withheld"):
        ceremony.check_published(old, house.roots[1])


def test_names_cannot_hide_a_line(house: House) -> None:
    eve = OfflineKeys.create(house.folder / "eve", holder="eve\x1b[2K\r").public_holder()
    lines = changes(house.rotate(Rotation(roles=("models",), add=eve)))
    assert all(line.isprintable() for line in lines)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SigningFileError):
        ceremony.read_signing(data)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.one_of(st.just("alice"), st.text(max_size=12), st.just("../../etc/x")),
    pem=st.one_of(st.binary(max_size=60), st.just(b"-----BEGIN PUBLIC KEY-----\nAAAA\n")),
    cut=st.integers(0, 200),
)
def test_a_holders_file_from_anybody_is_read_or_refused(
    tmp_path: Path, name: str, pem: bytes, cut: int
) -> None:
    data = msgspec.json.encode(Holder(name=name, keys={"models": pem}))
    (tmp_path / "holder.json").write_bytes(data[:cut] if cut < 100 else data)
    with pytest.raises(KeyFileError):
        read_holder(tmp_path / "holder.json")


_VALUES = st.one_of(
    st.none(), st.integers(), st.text(max_size=8), st.just([]), st.just({}), st.just(-1)
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("fuzz")
    keys = [OfflineKeys.create(folder / name, holder=name) for name in NAMES]
    online = OnlineKeys.create(folder / "online")
    clock = ManualClock()
    holders = [one.public_holder() for one in keys]
    file = founding("clinic", holders, online.public(), {"root": 2}, now_unix_s=clock.unix_s())
    return b"\n".join(file.offered.values())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_metadata_is_refused_by_name_and_at_once(whole: bytes, data: st.DataObject) -> None:
    """One value anywhere in a founding is replaced."""
    texts = whole.split(b"\n")
    which = data.draw(st.integers(0, 3))
    document = json.loads(texts[which])
    _damage(document, data)
    texts[which] = json.dumps(document).encode()
    offered = {"root": texts[0], "targets": texts[1], "models": texts[2], "canary": texts[3]}
    file = SigningFile(fleet="clinic", why="", published=Published(), offered=offered)
    fake = Published(roots=(texts[0],), roles={r: b for r, b in offered.items() if r != "root"})
    began_s = time.thread_time()
    with pytest.raises(SigningFileError):  # nobody has signed it
        ceremony.check_published(fake)
    with contextlib.suppress(SkerryError):
        ceremony.check_offered(file, ManualClock().unix_s())
        changes(file)
        ceremony.wanted(file)
    assert time.thread_time() - began_s < 0.5  # 100 ms and a busy machine


def _damage(document: Any, data: st.DataObject) -> None:
    while True:
        names = sorted(document) if isinstance(document, dict) else list(range(len(document)))
        name = data.draw(st.sampled_from(names))
        inner = document[name]
        if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
            document = inner
            continue
        document[name] = data.draw(_VALUES)
        return


# --- key folders --------------------------------------------------------------------------


def test_a_passphrase_is_stretched_and_an_old_file_still_opens(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    OfflineKeys.create(tmp_path / "k", passphrase="correct horse", roles=("models",))
    assert (tmp_path / "k/models.pem").read_bytes().startswith(b"skerry-scrypt: ")
    assert OfflineKeys.load(tmp_path / "k", passphrase="correct horse").public().keys() == {
        "models"
    }
    with pytest.raises(KeyFileError, match="the passphrase is another"):
        OfflineKeys.load(tmp_path / "k", passphrase="wrong horse")
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"correct horse"),
    )
    (tmp_path / "k/models.pem").write_bytes(pem)
    OfflineKeys.load(tmp_path / "k", passphrase="correct horse")


def test_metadata_names_the_holders(house: House) -> None:
    root: Metadata[Any] = Metadata.from_bytes(house.roots[0])
    names = [key.unrecognized_fields.get("x-skerry-holder") for key in root.signed.keys.values()]
    assert names.count("central") == 2  # snapshot and timestamp
    assert sorted(set(names)) == sorted({*NAMES, "central"})
