"""Central says what is signed of each artifact, and names the oldest release that has them all."""

from pathlib import Path

import msgspec

from skerry.central.notary import Notary
from skerry.schema.release import Facts, release_target
from skerry.testing.signed_fleet import FLEET, MODEL, SITE, SignedFleet
from skerry.trust.acceptance import accept_desired


def test_what_central_says_is_what_a_node_accepts(tmp_path: Path) -> None:
    fleet = SignedFleet.found(tmp_path)
    fleet.release_bundle(1, {MODEL: Facts(hw=("mini-pc",))})
    notary = Notary(fleet.publisher, lambda: None)
    completed = notary.completed(fleet.desired(generation=2))
    assert (completed.release, completed.artifacts[MODEL].hw) == (1, ("mini-pc",))
    fleet.send(completed)
    client = fleet.client()
    client.refresh()
    assert accept_desired(client, SITE, hardware="mini-pc").desired == completed


def test_a_newer_release_with_nothing_new_changes_no_document(tmp_path: Path) -> None:
    fleet = SignedFleet.found(tmp_path)
    fleet.release_bundle(1, {})
    notary = Notary(fleet.publisher, lambda: None)
    before = notary.completed(fleet.desired())
    fleet.release_bundle(2, {})
    assert notary.completed(fleet.desired()) == before
    fleet.release_bundle(3, {release_target(FLEET, 3): Facts(min_release=2)})
    assert notary.completed(fleet.desired()).release == 2  # release 1 was ruled out


def test_a_fleet_that_counts_no_releases_is_named_as_before(tmp_path: Path) -> None:
    fleet = SignedFleet.found(tmp_path)
    fleet.release()
    completed = Notary(fleet.publisher, lambda: None).completed(fleet.desired())
    assert completed.release == 0
    assert msgspec.structs.replace(completed, artifacts={}) == fleet.desired()
