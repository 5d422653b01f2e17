"""The next release of a fleet: which artifacts belong together, and what is signed beside them.

A release is made where its members, or what is said of them, differ from the last one. Old ones
stay signed for a while: a rollout that is under way has sites on both.

Errors:  PublishError, where the fleet file asks for a `min_release` that does not exist yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from skerry.schema.fleet import Fleet
from skerry.schema.model import manifest_target
from skerry.schema.policy import policy_target
from skerry.schema.release import Facts, Release, release_target
from skerry.trust.errors import PublishError

RELEASES_KEPT = 16
CHANNEL = "prod"
ROLE = "models"


@dataclass(frozen=True, slots=True)
class NextRelease:
    """What to sign for a release; nothing in `files` and `facts` if the last one still holds."""

    number: int
    files: dict[str, bytes] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    withdraw: tuple[str, ...] = ()


def members_of(fleet: Fleet, policy_sha256: str) -> dict[str, str]:
    """Return the artifacts of a fleet, target path to SHA-256."""
    return {policy_target(fleet.name): policy_sha256} | {
        manifest_target(CHANNEL, model.name, model.version): model.manifest_sha256
        for model in fleet.models
    }


def facts_of(
    fleet: Fleet, signed: Mapping[str, Facts], provenance: Mapping[str, str]
) -> dict[str, Facts]:
    """Return what is to be said of each model of a fleet, on top of what is said already.

    `provenance` maps a model's target to that of its statement, where that is new.
    """
    paths = {
        model.name: (manifest_target(CHANNEL, model.name, model.version), model.manifest_sha256)
        for model in fleet.models
    }
    updates = fleet.trust.updates
    return {
        path: msgspec.structs.replace(
            held := signed.get(path, Facts()),
            provenance=provenance.get(path, held.provenance),
            hw=updates.hw.get(name, ()),
            needs={paths[other][0]: paths[other][1] for other in updates.needs.get(name, ())},
        )
        for name, (path, _) in paths.items()
    }


def next_release(
    fleet: Fleet,
    policy_sha256: str,
    signed: Mapping[str, Facts],
    last: Release | None,
    provenance: Mapping[str, str] | None = None,
) -> NextRelease:
    """Return the release that a fleet needs.

    `signed` maps what is signed now to what is said of it, `last` is the newest release there.
    """
    members = members_of(fleet, policy_sha256)
    said = {
        path: facts
        for path, facts in facts_of(fleet, signed, provenance or {}).items()
        if signed.get(path, Facts()) != facts
    }
    least = fleet.trust.updates.min_release
    if last is not None:
        held = signed.get(release_target(fleet.name, last.release), Facts())
        if last.members == members and held.min_release == least and not said:
            return NextRelease(last.release)
    number = last.release + 1 if last else 1
    if least > number:
        why = f"trust.updates.min_release is {least}, and this is release {number}"
        raise PublishError(ROLE, why)
    path = release_target(fleet.name, number)
    release = Release(fleet=fleet.name, release=number, members=members)
    old = release_target(fleet.name, number - RELEASES_KEPT)
    return NextRelease(
        number,
        {path: msgspec.json.encode(release)},
        said | {path: Facts(min_release=least)},
        (old,) if old in signed else (),
    )


def newest_release(fleet: str, paths: Mapping[str, Facts]) -> int:
    """Return the number of the newest release that is signed; 0 for none."""
    before, after = release_target(fleet, 0).split("0.json")[0], ".json"
    numbers = (
        path.removeprefix(before).removesuffix(after) for path in paths if path.startswith(before)
    )
    return max((int(number) for number in numbers if number.isdigit()), default=0)
