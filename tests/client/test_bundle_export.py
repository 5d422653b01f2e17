"""From central to a stick to a region and to a node: the whole way, without the wires between."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.base.errors import UsageError
from skerry.client.bundle_export import export_bundle
from skerry.node import stick as node_stick
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings
from skerry.node.settings import write_settings as write_node_settings
from skerry.region import stick as region_stick
from skerry.region.settings import RegionFolder, RegionSettings
from skerry.region.settings import write_settings as write_region_settings
from skerry.schema.api import StampReply
from skerry.schema.bundle import BundleIndex
from skerry.schema.records import Keep
from skerry.spine.blobs import BlobStore
from skerry.spine.outbox import Entry, Outbox
from skerry.testing.signed_fleet import DOMAIN, FLEET, SITE, SignedFleet, content_of
from skerry.trust.acceptance import accept_desired
from skerry.trust.bundle import Bundle
from skerry.trust.bundle_errors import BundleElsewhere
from skerry.trust.enrol import load_or_create_enrolment_key
from skerry.trust.identity import public_key_to_pem
from skerry.trust.ledger_store import LedgerStore
from skerry.trust.registry import SqliteRegistry, TokenRow
from skerry.trust.spiffe import node_id
from skerry.trust.stick_report import read_report
from skerry.trust.update_client import UpdateClient


class Central:
    """What `Operator` reaches, without the wire between."""

    def __init__(self, fleet: SignedFleet) -> None:
        self.fleet, self.blobs = fleet, BlobStore(fleet.folder / "central")
        self.fetched: list[str] = []

    def stamp(self, life_s: float) -> StampReply:
        return StampReply(metadata=self.fleet.publisher.stamp(life_s))

    def repository_file(self, place: str) -> bytes:
        return (self.fleet.files / place).read_bytes()

    def fetch_blob(self, sha256: str, length: int, into: BlobStore) -> Path:
        self.fetched.append(sha256)
        data = self.blobs.path(sha256).read_bytes()
        return into.put([data], sha256=sha256, length=length)


class Way:
    """A fleet with two releases behind it, and the places at the other end."""

    def __init__(self, folder: Path) -> None:
        self.fleet = SignedFleet.found(folder)
        self.central = Central(self.fleet)
        self.folder = folder
        self.release(1)

    def release(self, version: int) -> None:
        self.central.blobs.put_bytes(content_of(version))
        self.fleet.release_bundle(version, {}, generation=version, version=version)

    def export(self, name: str, since: str = "") -> tuple[Path, BundleIndex]:
        central: Any = self.central
        index = export_bundle(
            central,
            self.folder / name,
            fleet=FLEET,
            sites=[SITE],
            bootstrap_root=self.fleet.first["root"],
            life_s=14 * 86_400.0,
            since=since,
            clock=self.fleet.clock,
        )
        return self.folder / name, index

    def region(self, name: str = "eu") -> RegionFolder:
        state = RegionFolder(self.folder / f"region-{name}")
        state.tuf_root.parent.mkdir(parents=True)
        state.tuf_root.write_bytes(self.fleet.first["root"])
        settings = RegionSettings(
            fleet=FLEET, domain=DOMAIN, region=name, central_url="https://c:1", hub_url="tls://c:2"
        )
        write_region_settings(state.settings, settings)
        return state

    def node(self) -> NodeFolder:
        state = NodeFolder(self.folder / "node-1").make()
        IdentityFiles(state.identity).tuf_root.write_bytes(self.fleet.first["root"])
        settings = NodeSettings(
            fleet=FLEET, domain=DOMAIN, region="eu", site=SITE, number=1, tier="closet",
            region_url="https://127.0.0.1:9", region_host="eu.clinic.example",
        )  # fmt: skip
        write_node_settings(state.settings, settings)
        return state

    def taken_by_agent(self, node: NodeFolder) -> int:
        """Let a node's own update client take what the stick brought; the model's version."""
        stick = node_stick.Stick(node, self.fleet.clock)

        def fetch(place: str, length_max: int) -> Iterator[bytes]:
            return stick.fetch(place, length_max)

        client = UpdateClient(node.trust, self.fleet.first["root"], fetch, self.fleet.clock)
        client.refresh()
        return accept_desired(client, SITE).desired.models[0].version


@pytest.fixture
def way(tmp_path: Path) -> Way:
    return Way(tmp_path)


def test_a_region_serves_what_a_stick_brought(way: Way) -> None:
    path, index = way.export("a")
    region = way.region()
    with Bundle.open(path) as bundle:
        region_stick.bring(bundle, region.folder, way.fleet.clock)
    ledger = LedgerStore(region.audit, writable=False)
    assert any(b"a bundle is taken in" in one.body for one in ledger.entries(0, 10))
    ledger.close()

    def fetch(place: str, _: int) -> Iterator[bytes]:
        yield (region.mirror / place).read_bytes()

    client = UpdateClient(way.folder / "n", way.fleet.first["root"], fetch, way.fleet.clock)
    assert client.refresh().snapshot_version == index.snapshot_version
    assert accept_desired(client, SITE).desired.models[0].version == 1
    assert len(BlobStore(region.blobs).names()) == 1
    assert not list(way.folder.glob(".a.*")), "what was fetched on the way is gone"


def test_a_region_of_another_name_takes_nothing(way: Way) -> None:
    path, _ = way.export("a")
    with Bundle.open(path) as bundle, pytest.raises(BundleElsewhere):
        region_stick.bring(bundle, way.region("us").folder, way.fleet.clock)


def test_a_node_without_a_region_takes_one_bundle_on_top_of_another(way: Way) -> None:
    first, one = way.export("a")
    node = way.node()
    with Bundle.open(first) as bundle:
        node_stick.bring(bundle, node.root, way.fleet.clock)
    assert way.taken_by_agent(node) == 1
    way.release(2)
    way.central.fetched.clear()
    later, two = way.export("b", since=str(first))
    assert two.since_snapshot_version == one.snapshot_version
    assert len(way.central.fetched) == 1, "only what is new is fetched"
    with Bundle.open(later) as bundle:
        node_stick.bring(bundle, node.root, way.fleet.clock)
    assert way.taken_by_agent(node) == 2
    assert len(BlobStore(node.stick / "blobs").names()) == 1, "what nothing names any more is gone"


def test_since_a_snapshot_leaves_out_what_it_brought(way: Way) -> None:
    _, one = way.export("a")
    _, two = way.export("b", since=str(one.snapshot_version))
    assert [m.place for m in two.members if not m.place.startswith("metadata/")] == []
    with pytest.raises(UsageError, match="does not keep snapshot 999"):
        way.export("c", since="999")


def test_an_export_that_broke_off_fetches_only_what_it_lacks(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise OSError("the stick was pulled")

    with monkeypatch.context() as patch:
        patch.setattr("skerry.client.bundle_export.write_bundle", break_off)
        with pytest.raises(OSError, match="pulled"):
            way.export("a")
    assert list(way.folder.glob(".a.parts/*"))
    assert not (way.folder / "a").exists()
    way.export("a")
    assert (way.folder / "a").exists()


def test_a_node_sends_word_back_on_the_stick(way: Way, tmp_path: Path) -> None:
    node = way.node()
    key = load_or_create_enrolment_key(IdentityFiles(node.identity).enrolment_key)
    registry = SqliteRegistry(tmp_path / "enrolment.db")
    name = str(node_id(DOMAIN, "eu", SITE, 1))
    registry.add_token(TokenRow(sha256="t", spiffe_id=name, ends_unix_s=9.0))
    registry.enrol("t", name, public_key_to_pem(key.public_key()), 1.0)
    said = read_report(node_stick.report(node.root, way.fleet.clock), registry)
    assert (said.spiffe_id, said.generation, said.models) == (name, 0, {})
    assert not said.records
    outbox = Outbox(node.outbox, region="eu", site=SITE, node_number=1, boot="b")
    what = [(Keep.LOW, "event"), (Keep.HIGH, "request"), (Keep.HIGH, "event"), (Keep.MUST, "event")]
    outbox.put_many([Entry(keep, kind, n, b"{}") for n, (keep, kind) in enumerate(what)])
    said = read_report(node_stick.report(node.root, way.fleet.clock, records=True), registry)
    assert [(one.keep, one.at_unix_ms) for one in said.records] == [(Keep.MUST, 3), (Keep.HIGH, 2)]
    assert len(outbox.take(10)) == 4, "they stay, for nobody said that they arrived"
    outbox.close()
