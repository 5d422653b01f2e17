"""Attacks on the update channel: each is refused by its own name, and the true state taken after.

Rows U1 to U24 of the Uptane and TUF lists, restated for one repository: central's online role
directs, the offline roles say what exists.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tuf.api.metadata import Metadata, TargetFile
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from skerry.node import reconcile
from skerry.node.activation import adopt
from skerry.node.folder import NodeFolder
from skerry.node.reconcile import BUNDLE_S_MAX, UNREACHABLE_S_MAX, Reconciler
from skerry.schema.model import Member
from skerry.schema.observed import Observed, ObservedModel, State, Window
from skerry.schema.release import Facts, release_target
from skerry.spine.blobs import BlobStore
from skerry.spine.errors import BlobFetchError
from skerry.testing.signed_fleet import (
    DESIRED,
    FLEET,
    MODEL,
    MODEL_2,
    POLICY_PATH,
    SITE,
    Counter,
    Mirror,
    SignedFleet,
    content_of,
    manifest_of,
    statement,
)
from skerry.trust import acceptance, bins, floor, update_client
from skerry.trust.acceptance import AcceptedDesired, accept_desired
from skerry.trust.errors import (
    BundleMismatch,
    ClockBack,
    DirectorImageMismatch,
    HardwareMismatch,
    NeedsUnmet,
    ReleaseBelowFloor,
    TargetForged,
    TargetUnsigned,
    UpdateExpired,
    UpdateForged,
    UpdateRollback,
    UpdateSlow,
    UpdateStale,
    UpdateTooLarge,
    UpdateUnreachable,
)
from skerry.trust.update_client import FILE_S_MAX, UpdateClient

DAY_S = 86_400
TIMESTAMP = "metadata/timestamp.json"
TRUSTED = "tuf.ngclient._internal.trusted_metadata_set.TrustedMetadataSet"
CHECK_VERSIONS = "skerry.trust.update_client.check_versions"
_update_timestamp, _update_snapshot = (
    TrustedMetadataSet.update_timestamp,
    TrustedMetadataSet.update_snapshot,
)
_check_versions, _fetch_named = floor.check_versions, acceptance.fetch_named
_check_bytes = update_client.check_bytes


def forgetting(*names: str) -> dict[str, object]:
    """What stands in place of the version checks once nobody remembers these roles' versions."""

    def seen_before(trusted: Any, real: Callable[..., Any]) -> list[Any]:
        """What holds the versions that a new timestamp, or a new snapshot, is compared with."""
        held = trusted._trusted_set
        if real is _update_snapshot:
            listed = held["snapshot"].meta if "snapshot" in held else {}
            return [listed[f"{name}.json"] for name in names if f"{name}.json" in listed]
        if "timestamp" not in held:
            return []
        both = {"timestamp": held["timestamp"], "snapshot": held["timestamp"].snapshot_meta}
        return [one for name, one in both.items() if name in names]

    def forgetful(real: Callable[..., Any]) -> Callable[..., Any]:
        def update(held: Any, *given: Any, **more: Any) -> Any:
            before = [(one, one.version) for one in seen_before(held, real)]
            for one, _ in before:
                one.version = 0
            try:
                return real(held, *given, **more)
            finally:
                for one, version in before:
                    one.version = version

        return update

    def check_versions(seen: dict[str, int], found: dict[str, int]) -> None:
        _check_versions({role: at for role, at in seen.items() if role not in names}, found)

    return {
        f"{TRUSTED}.update_timestamp": forgetful(_update_timestamp),
        f"{TRUSTED}.update_snapshot": forgetful(_update_snapshot),
        CHECK_VERSIONS: check_versions,
    }


@pytest.fixture
def fleet(tmp_path: Path) -> SignedFleet:
    """A fleet whose first release is out."""
    fleet = SignedFleet.found(tmp_path)
    fleet.release_bundle(1, {})
    return fleet


def accept(fleet: SignedFleet, client: UpdateClient | None = None) -> AcceptedDesired:
    client = client or fleet.client()
    client.refresh()
    return accept_desired(client, SITE, hardware="mini-pc")


# -- rollback ---------------------------------------------------------------------------------


@pytest.mark.attack(
    row="U01",
    title="an older timestamp is served again",
    refused="UPDATE_ROLLBACK",
    off=forgetting("timestamp"),
)
def test_u01_an_older_timestamp_is_refused(fleet: SignedFleet) -> None:
    old = (fleet.files / TIMESTAMP).read_bytes()
    fleet.clock.advance(DAY_S / 2 + 1)
    assert fleet.publisher.refresh()
    client = fleet.client()
    client.refresh()
    fleet.mirror.lie(TIMESTAMP, old)
    with pytest.raises(UpdateRollback):
        client.refresh()
    with pytest.raises(UpdateUnreachable, match="not refreshed"):
        client.target_bytes(MODEL)  # a refused check hands nothing out
    fleet.mirror.lies.clear()
    client.refresh()


@pytest.mark.attack(
    row="U02",
    title="a stolen timestamp key signs a new timestamp of an older snapshot",
    refused="UPDATE_ROLLBACK",
    off=forgetting("snapshot", "desired"),
)
def test_u02_an_older_snapshot_is_refused(fleet: SignedFleet) -> None:
    held = json.loads(fleet.publisher.role_bytes("snapshot"))["signed"]["version"]
    fleet.send(fleet.desired(generation=2))
    client = fleet.client()
    client.refresh()

    def point_back(timestamp: Any) -> None:
        timestamp.snapshot_meta.version = held
        timestamp.snapshot_meta.hashes = timestamp.snapshot_meta.length = None

    fleet.mirror.lie(TIMESTAMP, fleet.forge("timestamp", point_back))
    with pytest.raises(UpdateRollback):
        client.refresh()


@pytest.mark.attack(
    row="U03",
    title="stolen online keys list an older channel role",
    refused="UPDATE_ROLLBACK",
    off=forgetting("models"),
)
def test_u03_an_older_channel_role_is_refused(fleet: SignedFleet) -> None:
    client = fleet.client()
    client.refresh()
    fleet.plant(models=fleet.first["models"])
    with pytest.raises(UpdateRollback):
        client.refresh()


U04: dict[str, Any] = {
    "row": "U04",
    "title": "a stolen channel key signs a release that was ruled out, under a higher version",
    "refused": "RELEASE_BELOW_FLOOR",
    "off": {"skerry.trust.acceptance.check_release": lambda *_: None},
}


@pytest.mark.attack(**U04)
def test_u04_a_release_below_the_floor_is_refused(fleet: SignedFleet) -> None:
    fleet.release_bundle(3, {MODEL: Facts(min_release=3)}, generation=2)
    client = fleet.client()
    client.raise_release_floor(accept(fleet, client).min_release)  # as at a commit
    fleet.release_bundle(2, {}, generation=3)
    with pytest.raises(ReleaseBelowFloor, match="release 2, and 3"):
        accept(fleet)
    fleet.release_bundle(4, {}, generation=4)
    assert accept(fleet).desired.release == 4


@pytest.mark.attack(**U04)
def test_u04_the_floor_in_the_tpm_outlives_a_disk_that_was_put_back(fleet: SignedFleet) -> None:
    counter = Counter()
    fleet.copy("old")
    fleet.release_bundle(3, {MODEL: Facts(min_release=3)}, generation=2)
    client = fleet.client(counter=counter)
    client.raise_release_floor(accept(fleet, client).min_release)
    shutil.rmtree(fleet.folder / "node")
    fleet.restore("old")
    with pytest.raises(ReleaseBelowFloor, match="release 1, and 3"):
        accept(fleet, fleet.client(counter=counter))


@pytest.mark.attack(
    row="U05",
    title="local metadata is wiped, then an old repository served",
    refused="UPDATE_ROLLBACK",
    off={CHECK_VERSIONS: forgetting("timestamp", "snapshot", "desired")[CHECK_VERSIONS]},
)
def test_u05_an_old_repository_is_refused_after_a_wipe(fleet: SignedFleet) -> None:
    fleet.copy("old")
    fleet.send(fleet.desired(generation=2))
    fleet.client().refresh()
    shutil.rmtree(fleet.folder / "node" / "metadata")
    fleet.restore("old")
    with pytest.raises(UpdateRollback, match="was seen before"):
        fleet.client().refresh()


# -- freeze and clocks ------------------------------------------------------------------------


@pytest.mark.attack(
    row="U06",
    title="a mirror serves the same metadata for ever",
    refused="UPDATE_EXPIRED, UPDATE_STALE",
    off={
        f"{TRUSTED}._check_final_timestamp": lambda _: None,
        "skerry.trust.update_client.is_stale": lambda _: False,
    },
)
def test_u06_frozen_metadata_is_refused_and_then_an_alarm(fleet: SignedFleet) -> None:
    client = fleet.client()
    client.refresh()
    fleet.clock.advance(DAY_S + 1)
    with pytest.raises(UpdateExpired):
        client.refresh()
    client.check_fresh()
    fleet.clock.advance(2 * DAY_S)
    with pytest.raises(UpdateStale, match=r"3\.0 days ago"):
        client.check_fresh()


@pytest.mark.attack(
    row="U07",
    title="the clock is set back, so that old metadata passes for fresh",
    refused="CLOCK_BACK",
    off={"skerry.trust.update_client.check_clock": lambda *_: None},
)
@pytest.mark.parametrize("to", ["60 days back", "1970"])
def test_u07_a_clock_before_a_signed_time_installs_nothing(fleet: SignedFleet, to: str) -> None:
    fleet.clock.advance(60 * DAY_S)
    fleet.publisher.refresh()
    client = fleet.client()
    client.refresh()
    back_s = 60 * DAY_S if to == "60 days back" else fleet.clock.unix_s() - 1
    fleet.clock.advance(-back_s)
    for again in (client, fleet.client()):  # the floor is on disk
        with pytest.raises(ClockBack):
            again.refresh()
    fleet.clock.advance(back_s)
    client.refresh()


@pytest.mark.attack(
    row="U08",
    title="a channel role is past its end",
    refused="UPDATE_EXPIRED",
    off={"tuf.api.metadata.Targets.is_expired": lambda *_: False},
)
def test_u08_an_expired_channel_role_installs_no_models(fleet: SignedFleet) -> None:
    fleet.clock.advance(181 * DAY_S)
    fleet.publisher.refresh()
    client = fleet.client()
    client.refresh()
    with pytest.raises(UpdateExpired):
        client.target_bytes(MODEL)
    assert client.target_bytes(DESIRED)  # its own role was signed again


@pytest.mark.attack(
    row="A27",
    title="a clock that ran ahead locks nobody out once it is right",
    refused="goes on",
    off={"skerry.trust.update_client.time_known": lambda before, _, now: max(before, now)},
)
def test_a27_a_clock_that_ran_ahead_locks_nobody_out(fleet: SignedFleet) -> None:
    client = fleet.client()
    fleet.clock.advance(10 * 365 * DAY_S)
    with pytest.raises(UpdateExpired):
        client.refresh()
    fleet.clock.advance(-10 * 365 * DAY_S)
    fleet.clock.advance(DAY_S / 2)  # not enough for anything to look expired
    client.refresh()
    fleet.clock.advance(-DAY_S / 2)
    client.refresh()
    assert fleet.client().refresh()


# -- mix and match ----------------------------------------------------------------------------

U09: dict[str, Any] = {
    "row": "U09",
    "title": "metadata of different states is put together",
    "refused": "UPDATE_FORGED",
    "off": {"tuf.api.metadata.MetaFile.verify_length_and_hashes": lambda *_: None},
}


@pytest.mark.attack(**U09)
def test_u09_another_role_of_the_same_version_is_refused(fleet: SignedFleet) -> None:
    def other(role: Any) -> None:
        role.version -= 1
        role.targets[MODEL].hashes = {"sha256": statement(manifest_of(2)).sha256}

    forged = fleet.forge("models", other)
    version = json.loads(forged)["signed"]["version"]
    fleet.mirror.lie(f"metadata/{version}.models.json", forged)
    client = fleet.client()
    client.refresh()
    with pytest.raises(UpdateForged):
        client.target(MODEL)
    fleet.mirror.lie(f"metadata/{version}.models.json", fleet.first["models"])  # v1 as v2
    with pytest.raises(UpdateForged):
        client.target(MODEL)


@pytest.mark.attack(**U09)
def test_u09_a_snapshot_that_drops_a_role_is_refused(fleet: SignedFleet) -> None:
    client = fleet.client()
    client.refresh()
    fleet.plant()
    newest = max((fleet.files / "metadata").glob("*.snapshot.json"), key=os.path.getmtime)
    document: Metadata[Any] = Metadata.from_bytes(newest.read_bytes())
    del document.signed.meta["models.json"]
    newest.write_bytes(fleet.online.sign("snapshot", document, None))
    with pytest.raises(UpdateForged, match=r"models\.json"):
        client.refresh()


@pytest.mark.attack(**U09)
@pytest.mark.parametrize("case", ["the old one", "another one"])
def test_u09_a_hash_bin_of_another_state_is_refused(
    fleet: SignedFleet, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """One key signs all bins, and none of them says which it is."""
    monkeypatch.setattr(bins, "UNBINNED_MAX", 0)
    fleet.send(fleet.desired(generation=2))
    mine, other = sorted(bins.bin_names(2), key=lambda name: name != bins.bin_of(DESIRED, 2))
    lie = fleet.publisher.role_bytes(other if case == "another one" else mine)
    if case == "the old one":
        fleet.send(fleet.desired(generation=3))
    version = json.loads(fleet.publisher.role_bytes(mine))["signed"]["version"]
    fleet.mirror.lie(f"metadata/{version}.{mine}.json", lie)
    client = fleet.client()
    client.refresh()
    with pytest.raises(UpdateForged):
        client.target(DESIRED)
    fleet.mirror.lies.clear()
    assert client.target(DESIRED)


@pytest.mark.attack(
    row="U10",
    title="members of two releases are named together, each of them signed",
    refused="BUNDLE_MISMATCH",
    off={"skerry.trust.acceptance.check_together": lambda *_: None},
)
def test_u10_members_of_two_releases_do_not_mix(fleet: SignedFleet) -> None:
    client = fleet.client()
    held = accept(fleet, client)
    new = fleet.release_bundle(2, {}, generation=2, version=2)
    old_model = held.desired.models[0]
    said = new.artifacts | {MODEL: statement(manifest_of(1))}
    mixed = msgspec.structs.replace(new, generation=3, models=(old_model,), artifacts=said)
    fleet.send(mixed)
    with pytest.raises(BundleMismatch, match=MODEL):
        accept(fleet, client)
    assert client.generation_floor(DESIRED) == 1
    fleet.send(msgspec.structs.replace(new, generation=4))
    assert accept(fleet, client).desired.models[0].version == 2


# -- forged, endless and slow -----------------------------------------------------------------


@pytest.mark.attack(
    row="U12",
    title="a file of the signed length has other bytes",
    refused="TARGET_FORGED",
    off={
        "skerry.trust.update_client.check_bytes": lambda target, data: (
            None if target.path == MODEL else _check_bytes(target, data)
        )
    },
)
def test_u12_other_bytes_of_the_same_length_are_not_kept(fleet: SignedFleet) -> None:
    client = fleet.client()
    client.refresh()
    (place,) = (fleet.files / "targets/prod/model/magika").iterdir()
    fleet.mirror.lie(str(place.relative_to(fleet.files)), place.read_bytes().swapcase())
    with pytest.raises(TargetForged):
        client.target_bytes(MODEL)
    assert not any((fleet.folder / "node" / "targets").iterdir())
    fleet.mirror.lies.clear()
    assert client.target_bytes(MODEL) == manifest_of(1)


@pytest.mark.attack(
    row="U16",
    title="a mirror sends without end",
    refused="UPDATE_TOO_LARGE",
    off={"skerry.trust.update_client.too_long": lambda *_: False},
)
def test_u16_endless_data_is_cut_off(fleet: SignedFleet) -> None:
    mega = b" " * 2**20

    def fifty() -> Iterator[bytes]:
        yield from (mega for _ in range(50))

    client = fleet.client()
    fleet.mirror.lies[TIMESTAMP] = fifty
    with pytest.raises(UpdateTooLarge):
        client.refresh()
    assert fleet.mirror.bytes_served < 2 * len(mega)
    fleet.mirror.lies.clear()
    client.refresh()
    (place,) = (fleet.files / "targets/prod/model/magika").iterdir()
    fleet.mirror.lie(str(place.relative_to(fleet.files)), place.read_bytes() + b" ")
    with pytest.raises(UpdateTooLarge):
        client.target_bytes(MODEL)
    assert sum(f.stat().st_size for f in (fleet.folder / "node").rglob("*") if f.is_file()) < 2**20


@pytest.mark.attack(
    row="U17",
    title="a mirror trickles, so that no gap is ever long",
    refused="UPDATE_SLOW",
    off={"skerry.base.pace.Pace.too_slow": lambda *_: ""},
)
def test_u17_a_trickle_is_cut_off(fleet: SignedFleet) -> None:
    whole = (fleet.files / TIMESTAMP).read_bytes()

    def trickle() -> Iterator[bytes]:
        for at in range(len(whole)):
            fleet.clock.advance(0.4)
            yield whole[at : at + 1]

    fleet.mirror.lies[TIMESTAMP] = trickle
    with pytest.raises(UpdateSlow):
        fleet.client().refresh()


U18: dict[str, Any] = {
    "row": "U18",
    "title": "the first mirror refuses, breaks off, hangs or lies",
    "refused": "next mirror, then UPDATE_UNREACHABLE",
    "off": {"skerry.trust.update_client.asking_order": lambda *_: [0]},
}


@pytest.mark.attack(**U18)
@pytest.mark.parametrize("fault", ["404", "reset", "hang", "nonsense"])
def test_u18_the_next_mirror_is_asked(fleet: SignedFleet, fault: str) -> None:
    def gone() -> Iterator[bytes]:
        raise FileNotFoundError(TIMESTAMP)
        yield b""

    def hang() -> Iterator[bytes]:
        fleet.clock.advance(10)  # as long as the transport waits for a byte
        raise TimeoutError("no bytes came in time")
        yield b""

    first, second = fleet.mirror, Mirror(fleet.files)
    fleet.also = [second]
    if fault == "reset":
        first.die()
    elif fault == "nonsense":
        first.lie(TIMESTAMP, b"{}")
    else:
        first.lies[TIMESTAMP] = gone if fault == "404" else hang
    started_s = fleet.clock.monotonic_s()
    assert accept(fleet).desired.generation == 1
    assert fleet.clock.monotonic_s() - started_s < FILE_S_MAX
    assert TIMESTAMP in second.served
    second.die()
    with pytest.raises((UpdateUnreachable, UpdateForged, UpdateSlow)):
        fleet.client().refresh()


# -- the director and the image role ----------------------------------------------------------


@pytest.mark.attack(
    row="U14",
    title="stolen central names an artifact otherwise than it was signed",
    refused="DIRECTOR_IMAGE_MISMATCH",
    off={"skerry.trust.acceptance.check_signed": lambda *given: given[-1]},
)
@pytest.mark.parametrize(
    "change", [{"sha256": "0" * 64}, {"length_bytes": 7}, {"hw": ("mini-pc",)}]
)
def test_u14_central_alone_cannot_alter_an_artifact(
    fleet: SignedFleet, change: dict[str, Any]
) -> None:
    desired = fleet.release_bundle(2, {}, generation=2)
    altered = msgspec.structs.replace(desired.artifacts[MODEL], **change)
    said = desired.artifacts | {MODEL: altered}
    fleet.send(msgspec.structs.replace(desired, generation=3, artifacts=said))
    with pytest.raises(DirectorImageMismatch):
        accept(fleet)


EVIL = manifest_of(2)


def _fetch_newest(client: UpdateClient, wanted: dict[str, str]) -> dict[str, bytes]:
    """What a node would fetch if it took whatever is signed."""
    if client.target(MODEL_2) is not None:
        client.target_bytes(MODEL_2)
    return _fetch_named(client, wanted)


@pytest.mark.attack(
    row="U15",
    title="stolen offline keys sign an artifact that central does not name",
    refused="not fetched",
    off={"skerry.trust.acceptance.fetch_named": _fetch_newest},
)
def test_u15_what_central_does_not_name_is_not_fetched(fleet: SignedFleet) -> None:
    fleet.add({MODEL_2: EVIL})
    fleet.send(fleet.desired(generation=2))
    accepted = accept(fleet)
    assert [model.version for model in accepted.desired.models] == [1]
    assert not any(statement(EVIL).sha256 in path for path in fleet.mirror.served)


U19: dict[str, Any] = {
    "row": "U19",
    "title": "an artifact for other machines, or of a key for other paths",
    "refused": "HW_MISMATCH, TARGET_UNSIGNED",
    "off": {"skerry.trust.acceptance.check_hardware": lambda *_: None},
}


@pytest.mark.attack(**U19)
def test_u19_an_artifact_for_other_machines_is_refused(fleet: SignedFleet) -> None:
    fleet.release_bundle(2, {MODEL: Facts(hw=("jetson",))}, generation=2)
    with pytest.raises(HardwareMismatch):
        accept(fleet)


@pytest.mark.attack(**U19)
def test_u19_a_canary_key_names_no_production_path(fleet: SignedFleet) -> None:
    def name_it(role: Any) -> None:
        role.targets[MODEL_2] = TargetFile.from_data(MODEL_2, EVIL, ["sha256"])

    fleet.plant(canary=fleet.forge("canary", name_it))
    client = fleet.client()
    client.refresh()
    with pytest.raises(TargetUnsigned):
        client.target_bytes(MODEL_2)


@pytest.mark.attack(
    row="U20",
    title="an artifact needs one that nobody signed",
    refused="NEEDS_UNMET",
    off={"skerry.trust.acceptance.check_needs": lambda *_: None},
)
def test_u20_unsigned_needs_are_refused_before_a_byte_is_fetched(fleet: SignedFleet) -> None:
    fleet.release_bundle(2, {MODEL: Facts(needs={MODEL_2: ""})}, generation=2)
    with pytest.raises(NeedsUnmet, match="nobody who may has signed"):
        accept(fleet)
    assert not any("prod/" in path for path in fleet.mirror.served)


# -- a node, its disk and its power -----------------------------------------------------------


class Killed(BaseException):
    """The process ended here."""


class Node:
    """A node of the fleet: the real hands and update client, a worker and files by hand."""

    def __init__(self, fleet: SignedFleet) -> None:
        self.fleet = fleet
        self.folder = NodeFolder(fleet.folder / "state").make()
        self.served: dict[str, int] = {}
        self.blocked: set[int] = set()
        self.told: list[str] = []
        self.start()

    def start(self) -> None:
        """Start the agent, as after a kill."""
        client = self.fleet.client("state/trust")
        self.agent = Reconciler(
            self.folder,
            SITE,
            client,
            self,  # type: ignore[arg-type]
            clock=self.fleet.clock,
            observe=self.observe,
            tell=self.tell,
            hardware="mini-pc",
        )
        self.agent._worker = self  # type: ignore[assignment]

    def tell(self, kind: str, text: str, **detail: Any) -> None:
        self.told.append(str(detail.get("reason", kind)))

    def turn(self) -> None:
        self.agent.refresh()
        self.agent.round()

    def cold(self) -> tuple[int, int, int]:
        """What a cold start finds: versions of the model, by its link, document and policy."""
        current = AcceptedDesired.load(self.folder.current)
        links = [int(link.name) for link in self.folder.serving.glob("magika/*") if link.is_dir()]
        if current is None:
            return (max(links, default=0), 0, 0)
        return (max(links, default=0), current.desired.models[0].version, current.policy.generation)

    # The worker and the mirror.

    def load(self, folders: dict[str, Path]) -> None:
        self.served |= {model: int(place.name) for model, place in folders.items()}

    def unload(self, model: str) -> None:
        del self.served[model]

    def serving(self) -> dict[str, int]:
        return dict(self.served)

    def fetch_member(self, member: Member, into: BlobStore) -> Path:
        for version in (1, 2):
            if statement(content_of(version)).sha256 == member.sha256:
                if version in self.blocked:
                    raise BlobFetchError("https://mirror", "held back")
                into.put_bytes(content_of(version))
        return into.path(member.sha256)

    def observe(self) -> Observed:
        models = tuple(ObservedModel(name=n, version=v, ready=True) for n, v in self.served.items())
        return Observed(
            node=f"{SITE}/1",
            site=SITE,
            region="eu",
            boot="b",
            at_unix_s=self.fleet.clock.unix_s(),
            generation=0,
            desired_sha256="",
            in_sync=False,
            state=State.OK,
            reason="",
            models=models,
            window=Window(
                duration_s=10,
                requests=100,
                errors=0,
                local=100,
                latency_ms_p50=5.0,
                latency_ms_p95=5.0,
            ),
        )


@pytest.fixture
def node(fleet: SignedFleet, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node that runs the first release."""
    monkeypatch.setattr(reconcile, "worker_pid", lambda _: os.getpid())
    monkeypatch.setattr(os, "kill", lambda *_: None)
    node = Node(fleet)
    node.turn()
    assert node.cold() == (1, 1, 1)
    return node


@pytest.mark.attack(
    row="U11",
    title="one file of a release is held back for ever",
    refused="BUNDLE_INCOMPLETE",
    off={"skerry.node.reconcile.overdue": lambda *_: False},
)
def test_u11_an_incomplete_release_is_not_activated_and_an_alarm(node: Node) -> None:
    node.blocked = {2}
    node.fleet.release_bundle(2, {}, generation=2, version=2)
    node.turn()
    node.fleet.clock.advance(BUNDLE_S_MAX + 1)
    for _ in range(2):
        node.turn()
    assert (node.cold(), node.served) == ((1, 1, 1), {"magika": 1})
    assert node.told.count("BUNDLE_INCOMPLETE") == 1
    assert node.agent.standing.alarm.startswith("BUNDLE_INCOMPLETE")
    node.blocked = set()
    node.turn()
    node.turn()
    assert (node.cold(), node.agent.standing.alarm) == ((2, 2, 2), "")


@pytest.mark.attack(**U18)
def test_u18_all_mirrors_dead_is_an_alarm(node: Node) -> None:
    good = Mirror(node.fleet.files)
    node.fleet.also = [good]
    node.start()
    node.fleet.mirror.die()
    node.turn()
    node.fleet.clock.advance(UNREACHABLE_S_MAX + 1)
    node.turn()
    assert node.agent.standing.alarm == ""  # the second one answers
    good.die()
    node.turn()
    node.fleet.clock.advance(UNREACHABLE_S_MAX + 1)
    node.turn()
    assert node.told[-1] == "UPDATE_UNREACHABLE"
    assert node.served == {"magika": 1}


def _kill_at(patch: pytest.MonkeyPatch, number: int) -> list[int]:
    """End the process before its `number`th step on the disk; returns the count of steps."""
    steps = [0]
    for name in ("fsync", "replace", "rename", "symlink", "unlink", "mkdir", "link"):
        real = getattr(os, name)

        def step(*given: Any, real: Callable[..., Any] = real, **named: Any) -> Any:
            steps[0] += 1
            if steps[0] == number:
                raise Killed
            return real(*given, **named)

        patch.setattr(os, name, step)
    return steps


def _in_place(folder: NodeFolder, slot: str) -> None:
    """What a pointer replaces: changing what is active file by file."""
    active, made = folder.active, folder.releases / slot
    shutil.rmtree(active, ignore_errors=True)
    active.mkdir()
    for link in (made / "serving").glob("*/*"):
        place = active / "serving" / link.parent.name
        place.mkdir(parents=True)
        (place / link.name).symlink_to(link.resolve())
    if (made / "current.json").exists():
        os.replace(made / "current.json", active / "current.json")


def _adopt_once(folder: NodeFolder) -> None:
    if not folder.active.exists():
        adopt(folder)


@pytest.mark.attack(
    row="A26",
    title="the power fails at any step of an update",
    refused="old or new, never a mix",
    off={
        "skerry.node.activation.point_at": _in_place,
        "skerry.node.reconcile.adopt": _adopt_once,
    },
)
def test_a26_a_power_cut_leaves_the_old_release_or_the_new_one(
    fleet: SignedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "worker_pid", lambda _: os.getpid())
    monkeypatch.setattr(os, "kill", lambda *_: None)
    node = Node(fleet)
    node.turn()
    fleet.release_bundle(2, {release_target(FLEET, 2): Facts(min_release=2)}, 2, version=2)
    shutil.copytree(node.folder.root, fleet.folder / "before", symlinks=True)
    seen = set()
    for number in range(1, 1000):
        shutil.rmtree(node.folder.root)
        shutil.copytree(fleet.folder / "before", node.folder.root, symlinks=True)
        node.start()
        node.served = {"magika": 1}
        with pytest.MonkeyPatch.context() as patch:
            steps = _kill_at(patch, number)
            try:
                node.turn()
            except Killed:
                pass
        found = node.cold()
        assert found in ((1, 1, 1), (2, 2, 2)), f"killed at step {number}"
        seen.add(found)
        if steps[0] < number:
            break
        if number % 7 == 0:  # and it goes on from there
            node.start()
            node.served = {"magika": found[0]}
            for _ in range(2):
                node.turn()
                fleet.clock.advance(2)
            assert node.cold() == (2, 2, 2)
            assert fleet.client("state/trust").release_floor() == 2
    assert seen == {(1, 1, 1), (2, 2, 2)}
    assert number > 20


U24: dict[str, Any] = {
    "row": "U24",
    "title": "any local file is torn, at rest or by a kill",
    "refused": "recovers",
    "off": {"skerry.trust.floor._FILES": ("floor.json",)},
}


@pytest.mark.attack(**U24)
@pytest.mark.parametrize("damage", [lambda _: b"", lambda data: data[: len(data) // 2]])
def test_u24_torn_files_heal_and_the_floor_never_drops(
    fleet: SignedFleet, damage: Callable[[bytes], bytes]
) -> None:
    client = fleet.client()
    client.refresh()
    client.target_bytes(MODEL)
    client.raise_floor(DESIRED, 7)
    client.raise_release_floor(1)
    files = [f for f in (fleet.folder / "node").rglob("*") if f.is_file() and not f.is_symlink()]
    assert len(files) >= 7
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(damage(whole))
        again = fleet.client()
        again.refresh()
        assert again.target_bytes(MODEL) == manifest_of(1)
        assert (again.generation_floor(DESIRED), again.release_floor()) == (7, 1)
        file.write_bytes(whole)


@pytest.mark.attack(**U24)
def test_u24_a_kill_at_any_write_heals_and_the_floor_never_drops(
    fleet: SignedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = fleet.client()
    client.refresh()
    client.raise_floor(DESIRED, 7)
    fleet.send(fleet.desired(generation=2))
    shutil.copytree(fleet.folder / "node", fleet.folder / "before", symlinks=True)
    for number in range(1, 200):
        shutil.rmtree(fleet.folder / "node")
        shutil.copytree(fleet.folder / "before", fleet.folder / "node", symlinks=True)
        with pytest.MonkeyPatch.context() as patch:
            steps = _kill_at(patch, number)
            try:
                victim = fleet.client()
                victim.refresh()
                victim.target_bytes(MODEL)
                victim.raise_floor(DESIRED, 8)
            except Killed:
                pass
        again = fleet.client()
        again.refresh()
        assert again.target_bytes(MODEL) == manifest_of(1)
        assert again.generation_floor(DESIRED) in (7, 8)
        if steps[0] < number:
            break
    assert number > 10


def test_what_was_attacked_is_what_nodes_accept(fleet: SignedFleet) -> None:
    """The ground under every row: untouched, the release is taken."""
    assert accept(fleet).policy.generation == 1
    assert POLICY_PATH in accept(fleet).desired.artifacts
