"""Attestation on a real central and region: joined, renewed, reported, quarantined, let back in."""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.client.signing import sign_release
from skerry.local.hollow_fleet import DOMAIN, HollowFleet
from skerry.node.attestation import Reporting
from skerry.node.attester import Attester
from skerry.node.enrol import join, renew
from skerry.node.errors import JoinRefusedError, RenewalError
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.quarantine import read_quarantine
from skerry.node.trust_news import take_refused
from skerry.region.attestation import SignedReference
from skerry.schema.attestation import Mode, Reference, reference_target
from skerry.testing.simulated_boot import boot, loaded, reference_of, simulated_boot
from skerry.testing.swtpm import SoftwareTpm, TestMaker, installed
from skerry.trust.attest.errors import SealLostError
from skerry.trust.attest.event_log import Event, build_event_log
from skerry.trust.attest.sealer import Sealer
from skerry.trust.roles import OfflineKeys
from skerry.trust.spiffe import node_id, region_id

MAKER = TestMaker.create()


def until(true: Callable[[], Any], what: str, *, within_s: float = 15.0) -> Any:
    end = time.monotonic() + within_s
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"not within {within_s:g} s: {what}")
        time.sleep(0.05)


@dataclass
class Node:
    """A machine with a chip, in a fleet."""

    fleet: HollowFleet
    site: str
    chip: SoftwareTpm

    def __post_init__(self) -> None:
        self.folder = NodeFolder(self.fleet.folder / self.site).make()
        self.files = IdentityFiles(
            self.folder.identity, Sealer(self.chip.open, self.folder.sealed_key)
        )
        self.attester = Attester(self.chip.open, self.folder.root / "log")
        self.where = {"url": self.fleet.urls["eu"], "host": region_id(DOMAIN, "eu").host}
        self.starts(simulated_boot())

    def starts(self, events: list[Event]) -> None:
        self.chip.restart()
        with self.chip.open() as tpm:
            boot(tpm, events)
        (self.folder.root / "log").write_bytes(build_event_log(events))

    def ek_sha256(self) -> str:
        with self.chip.open() as tpm:
            return hashlib.sha256(tpm.endorsement()[2][0]).hexdigest()

    def join(self, *, tpm: bool = True, ek: str = "") -> None:
        ticket = self.fleet.operator("eu").ticket(self.site, 1, ek_sha256=ek)
        attester = self.attester if tpm else None
        join(self.files, ticket, inference_url="", clock=self.fleet.clock, attester=attester)

    def renew(self, *, tpm: bool = True) -> None:
        attester = self.attester if tpm else None
        renew(self.files, inference_url="", clock=self.fleet.clock, attester=attester, **self.where)

    def report(self) -> str:
        """Report once, and return the quarantine that follows."""
        Reporting(
            self.attester,
            self.folder,
            self.files,
            clock=self.fleet.clock,
            rng=random.Random(0),
            on_change=lambda: None,
            on_note=lambda _: None,
            **self.where,
        ).once()
        return read_quarantine(self.folder.quarantine).reason

    def stands(self) -> str:
        """Return how central sees it."""
        status = self.fleet.operator("central").status()
        return next(one.attestation.state for one in status.nodes if one.site == self.site)


def demand(fleet: HollowFleet, reference: Reference) -> None:
    """Sign reference values offline, publish them, and wait until the region goes by them."""
    kept = fleet.folder / "eu" / "reference.json"

    def generation() -> int:
        return msgspec.json.decode(kept.read_bytes(), type=Reference).generation

    wanted = generation() + 1 if kept.exists() else 1
    newer = msgspec.structs.replace(reference, generation=wanted)
    sign_release(
        "clinic",
        "models",
        {reference_target("clinic"): msgspec.json.encode(newer)},
        OfflineKeys.load(fleet.trust.offline),
        fleet.operator("central"),
        folder=fleet.folder,
        clock=fleet.clock,
    )
    until(lambda: kept.exists() and generation() == wanted, "the region took them")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HollowFleet]:
    if not installed():
        pytest.skip("needs swtpm")
    pytest.importorskip("tpm2_pytss", reason="needs tpm2-pytss")
    one = HollowFleet(tmp_path_factory.mktemp("fleet"), regions=("eu",)).start()
    try:
        demand(one, reference_of(simulated_boot(), MAKER.root_pem))
        yield one
    finally:
        one.close()


@pytest.fixture
def node(fleet: HollowFleet, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    site = f"s{len(request.node.name)}"
    with SoftwareTpm(tmp_path / "tpm", MAKER) as chip:
        yield Node(fleet, site, chip)


def test_a_machine_joins_and_renews_by_its_tpm_and_not_without(node: Node) -> None:
    with pytest.raises(JoinRefusedError, match="E0272"):
        node.join(tpm=False)
    node.join()
    node.renew()
    with pytest.raises(RenewalError, match="E0272"):
        node.renew(tpm=False)
    until(lambda: node.stands() == "passed", "central hears that it passed")
    nodes = node.fleet.operator("central").status().nodes
    shown = {one.site: one.attestation.ek_sha256 for one in nodes}
    assert shown[node.site] == node.ek_sha256()


def test_a_modified_boot_is_quarantined_everywhere_and_a_sound_one_ends_it(node: Node) -> None:
    node.join()
    name = str(node_id(DOMAIN, "eu", node.site, 1))
    node.starts([*simulated_boot(), loaded(b"rogue")])
    assert node.report().startswith("UNKNOWN_COMPONENT: PCR 4")
    node.renew()  # it goes on fetching and reporting
    until(lambda: node.stands() == "quarantine", "central hears of it")
    take_refused(node.files, **node.where)
    assert name in node.files.refused().ids
    node.starts(simulated_boot())
    assert node.report() == ""
    until(lambda: node.stands() == "passed", "central hears that it passed")
    take_refused(node.files, **node.where)
    assert name not in node.files.refused().ids


def test_an_opened_lid_shows_in_the_next_report_until_the_machine_restarts(node: Node) -> None:
    node.join()
    Sealer(node.chip.open, node.folder.sealed_key).forget("LID_OPEN")
    assert node.report().startswith("LOG_REPLAY: the event log does not lead to PCR 14")
    node.starts(simulated_boot())
    assert node.report() == ""


def test_the_sites_authority_opens_on_this_machine_and_boot_only_and_is_replaced(
    node: Node, tmp_path: Path
) -> None:
    node.join()
    now_unix_s = node.fleet.clock.unix_s()
    assert b"ENCRYPTED" in node.files.site_authority.read_bytes()
    node.files.renew_alone(now_unix_s=now_unix_s)
    with SoftwareTpm(tmp_path / "thief", MAKER) as chip:
        stolen = IdentityFiles(node.files.folder, Sealer(chip.open, node.folder.sealed_key))
        with pytest.raises(SealLostError):
            stolen.renew_alone(now_unix_s=now_unix_s)
    node.starts([*simulated_boot(), loaded(b"rogue")])
    with pytest.raises(SealLostError):
        node.files.renew_alone(now_unix_s=now_unix_s)
    before = node.files.site_authority.read_bytes()
    node.renew()  # a boot in doubt is given no other
    assert node.files.site_authority.read_bytes() == before
    demand(node.fleet, reference_of([*simulated_boot(), loaded(b"rogue")], MAKER.root_pem))
    node.renew()  # an update that was announced: sealed anew, to the boot of now
    assert node.files.site_authority.read_bytes() != before
    node.files.renew_alone(now_unix_s=now_unix_s)
    demand(node.fleet, reference_of(simulated_boot(), MAKER.root_pem))


def test_verdicts_are_in_the_regions_ledger(node: Node) -> None:
    node.join()
    node.starts(simulated_boot(secure=False))
    node.report()

    def written() -> bool:
        data = b"".join(path.read_bytes() for path in (node.fleet.folder / "eu").rglob("*.db*"))
        return b"SECUREBOOT_OFF" in data

    until(written, "the ledger has the reason")


def test_a_stolen_disk_renews_nothing_and_its_owner_goes_on(node: Node, tmp_path: Path) -> None:
    node.join()
    with SoftwareTpm(tmp_path / "thief", MAKER) as chip:
        thief = Attester(chip.open, node.folder.root / "log")
        with pytest.raises(RenewalError, match="IDENTITY_CLONED"):
            renew(
                node.files, inference_url="", clock=node.fleet.clock, attester=thief, **node.where
            )
    node.renew()


def test_a_ticket_for_one_chip_lets_no_other_in(node: Node) -> None:
    with pytest.raises(JoinRefusedError, match="E0214"):
        node.join(ek="0" * 64)
    node.join(ek=node.ek_sha256())


def test_a_chip_of_another_maker_is_told_why(fleet: HollowFleet, tmp_path: Path) -> None:
    with SoftwareTpm(tmp_path / "tpm", TestMaker.create()) as chip:
        stranger = Node(fleet, "stranger", chip)
        with pytest.raises(JoinRefusedError, match="EK_UNTRUSTED"):
            stranger.join()


def test_optional_lets_machines_without_a_tpm_in_and_marks_them(
    fleet: HollowFleet, tmp_path: Path
) -> None:
    newest = reference_of(simulated_boot(), MAKER.root_pem)
    loose = msgspec.structs.replace(newest, mode=Mode.OPTIONAL)
    demand(fleet, loose)
    with SoftwareTpm(tmp_path / "tpm", MAKER) as chip:
        plain = Node(fleet, "plain", chip)
        plain.join(tpm=False)
        until(lambda: plain.stands() == "no-tpm", "central marks it")
        plain.renew(tpm=False)
    demand(fleet, newest)


class Signed:
    """As much of an update client as a region asks for reference values."""

    def __init__(self, reference: Reference) -> None:
        self.data, self.floor = msgspec.json.encode(reference), 0

    def target_sha256(self, path: str) -> str | None:
        return "signed" if path == reference_target("clinic") else None

    def target_bytes(self, path: str) -> bytes:
        return self.data

    def generation_floor(self, path: str) -> int:
        return self.floor

    def raise_floor(self, path: str, generation: int) -> None:
        self.floor = max(self.floor, generation)


def test_reference_values_outlive_a_restart_and_never_get_older(tmp_path: Path) -> None:
    strict = Reference(fleet="clinic", mode=Mode.REQUIRED, generation=2)
    kept = tmp_path / "reference.json"
    client: Any = Signed(strict)
    assert SignedReference(kept, "clinic").accept(client)
    again = SignedReference(kept, "clinic")
    assert again.current == strict
    assert not again.accept(client)
    client.data = msgspec.json.encode(Reference(fleet="clinic", generation=1))
    assert not again.accept(client)
    kept.unlink()  # the disk of last year: the floor still knows
    assert not SignedReference(kept, "clinic").accept(client)
    client.data = b"{"
    assert not again.accept(client)
    assert again.current == strict
