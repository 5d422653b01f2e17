"""Desired documents: one per site, with its own models, peers and rules, the same every time."""

from collections.abc import Callable

import msgspec
import pytest

from skerry.fleet.desired import desired_documents, nodes_of, policy_of
from skerry.fleet.errors import ModelNotAddedError
from skerry.fleet.place import misplaced
from skerry.schema.fleet import Fleet

Load = Callable[..., Fleet]


def endpoints(fleet: Fleet) -> dict[str, str]:
    return {node: f"https://{node}" for site in fleet.sites for node in nodes_of(site)}


def test_every_site_gets_its_own_document(clinic: Fleet) -> None:
    documents = desired_documents(clinic, 7, endpoints(clinic), "p" * 64)
    assert set(documents) == {site.name for site in clinic.sites}
    oslo = documents["oslo"]
    assert (oslo.generation, oslo.region, oslo.jurisdiction) == (7, "region-eu", "NO")
    assert [(m.name, m.version, m.standin) for m in oslo.models] == [
        ("magika", 1, "magika-small"),
        ("magika-small", 1, None),
    ]
    assert oslo.tier_order == ("closet", "room", "cloud")
    assert [(peer.node, peer.round_trip_ms) for peer in oslo.peers] == [
        ("oslo/1", 0.3),
        ("oslo/2", 0.3),
        ("region-eu/1", 28.0),
        ("cloud/1", 38.0),
    ]
    assert oslo.gate == clinic.rollout.gate


def test_a_node_that_has_not_joined_is_no_peer(clinic: Fleet) -> None:
    documents = desired_documents(clinic, 1, {"oslo/1": "https://a"}, "p")
    assert [peer.node for peer in documents["oslo"].peers] == ["oslo/1"]


def test_the_same_fleet_gives_the_same_bytes(clinic: Fleet) -> None:
    first = desired_documents(clinic, 1, endpoints(clinic), "p")
    again = desired_documents(clinic, 1, dict(reversed(endpoints(clinic).items())), "p")
    assert msgspec.json.encode(first) == msgspec.json.encode(again)


def test_a_rollout_gives_single_sites_their_own_generation(clinic: Fleet) -> None:
    documents = desired_documents(clinic, 1, {}, "p", generations={"bergen": 2})
    assert (documents["bergen"].generation, documents["oslo"].generation) == (2, 1)


def test_a_model_without_bytes_is_refused_by_name(clinic_with: Load) -> None:
    with pytest.raises(ModelNotAddedError, match=r"not in fleet.lock: magika v1, magika-small v1"):
        desired_documents(clinic_with(locked=False), 1, {}, "p")


def test_the_policy_holds_every_place_and_class(clinic: Fleet) -> None:
    policy = policy_of(clinic, 3)
    assert policy.places["bergen"].jurisdiction == "NO"
    assert policy.model_classes["magika"] == ("health", "internal", "public")
    assert policy.data_classes == clinic.data_classes


def test_a_site_that_is_elsewhere_than_signed_is_named(clinic: Fleet) -> None:
    """What is applied lies where the signed inventory says, or data is judged by the wrong law."""
    signed = policy_of(clinic, 1)
    assert misplaced(clinic, signed) == ""
    moved = msgspec.structs.replace(signed.places["oslo"], jurisdiction="US")
    other = msgspec.structs.replace(signed, places={**signed.places, "oslo": moved})
    assert misplaced(clinic, other) == "oslo has the jurisdiction NO, and US is signed"
    unknown = {name: place for name, place in signed.places.items() if name != "oslo"}
    other = msgspec.structs.replace(signed, places=unknown)
    assert misplaced(clinic, other) == "the signed policy knows no site oslo"
    other = msgspec.structs.replace(signed, model_classes={})
    assert "is signed" in misplaced(clinic, other)
