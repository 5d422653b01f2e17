"""A release that several holders sign: it waits in a file, and goes out when the last one did."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tuf.api.metadata import Metadata

from skerry.client.signing import fetch_published, sign_release
from skerry.schema.api import MetadataReply, MetadataUpload
from skerry.testing.clock import ManualClock
from skerry.trust import ceremony
from skerry.trust.ceremony_changes import founding
from skerry.trust.ceremony_errors import SignaturesPendingError
from skerry.trust.ceremony_keys import read_anchor
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OfflineKeys, OnlineKeys

MODEL = "prod/model/magika/1.json"
FILES = {MODEL: b"{}"}


class Central:
    """What `Operator` reaches, without the wire between."""

    def __init__(self, publisher: Publisher, folder: Path) -> None:
        self.publisher, self.folder = publisher, folder

    def role_metadata(self, name: str) -> bytes:
        numbered = self.folder / "metadata" / f"{name}.json"
        return numbered.read_bytes() if "." in name else self.publisher.role_bytes(name)

    def put_metadata(self, upload: MetadataUpload) -> MetadataReply:
        signed = {
            name.removesuffix(".json").rpartition(".")[2]: data
            for name, data in upload.metadata.items()
        }
        self.publisher.publish(signed=signed, targets=upload.targets)
        return MetadataReply(versions={})


@pytest.fixture
def fleet(tmp_path: Path) -> Any:
    clock = ManualClock()
    keys = {n: OfflineKeys.create(tmp_path / n, holder=n) for n in ("alice", "bob")}
    online = OnlineKeys.create(tmp_path / "online")
    file = founding(
        "clinic",
        [one.public_holder() for one in keys.values()],
        online.public(),
        {"models": 2},
        now_unix_s=clock.unix_s(),
    )
    for name, one in keys.items():
        file = ceremony.sign(file, one.all_signers(), name)
    publisher = Publisher.found(tmp_path / "repository", online, file.offered, clock)
    central: Any = Central(publisher, tmp_path / "repository")

    def send(files: dict[str, bytes], who: Any = keys["alice"]) -> None:
        sign_release("clinic", "models", files, who, central, folder=tmp_path, clock=clock)

    return SimpleNamespace(
        folder=tmp_path, clock=clock, keys=keys, central=central, publisher=publisher, send=send
    )


def countersign(fleet: Any, path: Path) -> None:
    file = ceremony.read_signing(path.read_bytes())
    file = ceremony.sign(file, fleet.keys["bob"].all_signers(), "bob")
    path.write_bytes(ceremony.write_signing(file))


def test_the_same_command_goes_on_once_the_others_have_signed(fleet: Any) -> None:
    path = fleet.folder / "models-2.signing.json"
    with pytest.raises(SignaturesPendingError, match="1 signed, 2 wanted; by alice; open: bob"):
        fleet.send(FILES)
    fleet.clock.advance(3600)
    countersign(fleet, path)
    fleet.send(FILES)
    assert MODEL.encode() in fleet.publisher.role_bytes("models")
    assert not path.exists()
    assert read_anchor(fleet.folder / "alice") == fetch_published(fleet.central).roots[-1]


def test_a_signature_is_never_carried_to_other_files(fleet: Any) -> None:
    path = fleet.folder / "models-2.signing.json"
    with pytest.raises(SignaturesPendingError):
        fleet.send(FILES)
    countersign(fleet, path)
    with pytest.raises(SignaturesPendingError):
        fleet.send({MODEL: b"another"})
    assert ceremony.wanted(ceremony.read_signing(path.read_bytes()))[0].standing.signed == (
        "alice",
    )


def test_a_file_that_came_back_changed_is_made_anew(fleet: Any) -> None:
    """Whoever had it in hands may not slip in what the first holder never saw."""
    path = fleet.folder / "models-2.signing.json"
    with pytest.raises(SignaturesPendingError):
        fleet.send(FILES)
    file = ceremony.read_signing(path.read_bytes())
    models: Any = Metadata.from_bytes(file.offered["models"])
    models.signed.unrecognized_fields["x-more"] = "slipped in"
    models.signatures.clear()
    changed = msgspec.structs.replace(file, offered={"models": models.to_bytes()})
    changed = ceremony.sign(changed, fleet.keys["bob"].all_signers(), "bob")
    path.write_bytes(ceremony.write_signing(changed))
    with pytest.raises(SignaturesPendingError, match="1 signed, 2 wanted; by alice; open: bob"):
        fleet.send(FILES)
    assert b"slipped in" not in ceremony.read_signing(path.read_bytes()).offered["models"]


def test_an_operator_without_keys_prepares_the_file(fleet: Any) -> None:
    nobody = OfflineKeys(fleet.folder / "nobody", "nobody", {}, [])
    with pytest.raises(SignaturesPendingError, match="0 signed, 2 wanted; by nobody"):
        fleet.send(FILES, nobody)
