"""The access policy as a signed target: taken from a real repository, kept, never an older one."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.schema.access import AccessPolicy, access_target
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.trust.access_channel import AccessChannel
from skerry.trust.access_data import forbids_of
from skerry.trust.access_errors import PolicyInvalidError
from skerry.trust.errors import ReleaseBelowFloor

FLEET = "clinic"
PATH = access_target(FLEET)


def policy(generation: int, text: str = "") -> AccessPolicy:
    return AccessPolicy(fleet=FLEET, generation=generation, policies=text)


def publish(repo: Any, document: AccessPolicy) -> None:
    repo.add({PATH: msgspec.json.encode(document)})


def accept(repo: Any, channel: AccessChannel) -> bool:
    client = repo.client()
    client.refresh()
    return channel.accept(client)


def test_a_newer_policy_is_taken_kept_and_known_after_a_start(repo: Any, tmp_path: Path) -> None:
    channel = AccessChannel(tmp_path / "access.json", FLEET)
    assert not accept(repo, channel)
    publish(repo, policy(1))
    assert accept(repo, channel)
    assert not accept(repo, channel)
    publish(repo, policy(2))
    assert accept(repo, channel)
    assert AccessChannel(tmp_path / "access.json", FLEET).document == policy(2)


def test_an_older_generation_never_wins_even_without_the_file(repo: Any, tmp_path: Path) -> None:
    channel = AccessChannel(tmp_path / "access.json", FLEET)
    publish(repo, policy(5))
    assert accept(repo, channel)
    publish(repo, policy(4))
    for one in (channel, AccessChannel(tmp_path / "lost.json", FLEET)):
        with pytest.raises(ReleaseBelowFloor, match="generation 4, and 5"):
            accept(repo, one)
    assert channel.document == policy(5)


def test_a_policy_that_cannot_be_used_leaves_the_one_before(repo: Any, tmp_path: Path) -> None:
    channel = AccessChannel(tmp_path / "access.json", FLEET)
    publish(repo, policy(1))
    assert accept(repo, channel)
    publish(repo, policy(2, "permit ("))
    with pytest.raises(PolicyInvalidError):
        accept(repo, channel)
    other = msgspec.structs.replace(policy(3), fleet="other")
    publish(repo, other)
    with pytest.raises(PolicyInvalidError, match="'other'"):
        accept(repo, channel)
    assert channel.document == policy(1)


PLACES = {
    site: Place(site=site, region="eu", jurisdiction=country)
    for site, country in (("oslo", "NO"), ("hamburg", "DE"))
}
RESIDENCY = Policy(
    fleet=FLEET,
    generation=1,
    data_classes={"public": Residency(stays=Stays.ANYWHERE)},
    model_classes={"triage": ("public",)},
    places=PLACES,
)


def test_a_fleet_without_policies_of_its_own_asks_no_engine() -> None:
    assert forbids_of(None, RESIDENCY) is None
    assert forbids_of(policy(1), RESIDENCY) is None


def test_where_a_policy_cannot_be_prepared_nothing_leaves_its_site() -> None:
    forbids = forbids_of(policy(1, "permit ("), RESIDENCY)
    assert forbids is not None
    assert forbids("public", "oslo", "oslo") is None
    refused = forbids("public", "oslo", "hamburg")
    assert refused is not None
    assert refused.rule == "POLICY_INVALID"
