"""A release is signed where something differs from the last one, and only then."""

from pathlib import Path

import msgspec
import pytest

from skerry.client.release import RELEASES_KEPT, newest_release, next_release
from skerry.fleet.load import load_fleet
from skerry.schema.fleet import Fleet
from skerry.schema.model import manifest_target
from skerry.schema.policy import policy_target
from skerry.schema.release import Facts, Release, release_target
from skerry.schema.trust import Updates
from skerry.trust.errors import PublishError

CLINIC = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"
POLICY = "p" * 64


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    fleet = load_fleet(CLINIC)
    models = tuple(
        msgspec.structs.replace(model, manifest_sha256=f"{number}" * 64)
        for number, model in enumerate(fleet.models)
    )
    return msgspec.structs.replace(fleet, models=models)


def demanding(fleet: Fleet, **updates: object) -> Fleet:
    trust = msgspec.structs.replace(fleet.trust, updates=Updates(**updates))  # type: ignore[arg-type]
    return msgspec.structs.replace(fleet, trust=trust)


def signed_after(fleet: Fleet) -> tuple[dict[str, Facts], Release]:
    """What is signed once a fleet's first release is out."""
    first = next_release(fleet, POLICY, {}, None)
    last = msgspec.json.decode(first.files[release_target(fleet.name, 1)], type=Release)
    return {**dict.fromkeys(last.members, Facts()), **first.facts}, last


def test_the_first_release_holds_every_model_and_the_policy(fleet: Fleet) -> None:
    signed, last = signed_after(fleet)
    paths = {manifest_target("prod", model.name, model.version) for model in fleet.models}
    assert set(last.members) == paths | {policy_target(fleet.name)}
    assert (last.release, newest_release(fleet.name, signed)) == (1, 1)


def test_nothing_new_makes_no_release(fleet: Fleet) -> None:
    signed, last = signed_after(fleet)
    again = next_release(fleet, POLICY, signed, last)
    assert (again.number, again.files, again.facts) == (1, {}, {})


def test_other_members_or_demands_make_the_next_one(fleet: Fleet) -> None:
    signed, last = signed_after(fleet)
    assert next_release(fleet, "q" * 64, signed, last).number == 2
    one, two = fleet.models[0], fleet.models[1]
    changed = demanding(
        fleet, min_release=2, hw={one.name: ("mini-pc",)}, needs={one.name: (two.name,)}
    )
    release = next_release(changed, POLICY, signed, last)
    path = manifest_target("prod", one.name, one.version)
    need = manifest_target("prod", two.name, two.version)
    assert release.facts[path] == Facts(hw=("mini-pc",), needs={need: two.manifest_sha256})
    assert release.facts[release_target(fleet.name, 2)].min_release == 2


def test_what_others_said_of_an_artifact_stays(fleet: Fleet) -> None:
    signed, last = signed_after(fleet)
    path = manifest_target("prod", fleet.models[0].name, fleet.models[0].version)
    signed[path] = Facts(provenance="prod/policy/statement.json")
    assert not next_release(fleet, POLICY, signed, last).facts
    changed = demanding(fleet, hw={fleet.models[0].name: ("mini-pc",)})
    facts = next_release(changed, POLICY, signed, last).facts[path]
    assert (facts.provenance, facts.hw) == ("prod/policy/statement.json", ("mini-pc",))


def test_a_release_cannot_rule_itself_out(fleet: Fleet) -> None:
    with pytest.raises(PublishError, match="min_release is 3, and this is release 1"):
        next_release(demanding(fleet, min_release=3), POLICY, {}, None)


def test_old_releases_are_withdrawn_one_by_one(fleet: Fleet) -> None:
    signed = {release_target(fleet.name, number): Facts() for number in range(1, RELEASES_KEPT + 1)}
    last = Release(fleet=fleet.name, release=RELEASES_KEPT, members={})
    release = next_release(fleet, POLICY, signed, last)
    assert release.withdraw == (release_target(fleet.name, 1),)
