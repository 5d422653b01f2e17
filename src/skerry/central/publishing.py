"""What publishing signed metadata amounts to: models, a policy, or who signs what.

A policy counts as changed when its digest does, whether its bytes were sent along or lie here
from before: who may only publish models cannot bring an old policy back either.

Errors:  PolicyInvalidError, PublishError.
"""

import logging
from collections.abc import Mapping, Sequence

import msgspec

from skerry.central.notary import Notary
from skerry.schema.access import AccessPolicy, Action, access_target
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note
from skerry.schema.policy import Policy, policy_target
from skerry.trust.access import check_publishable
from skerry.trust.access_channel import read_policy
from skerry.trust.access_errors import PolicyInvalidError
from skerry.trust.access_gate import Gate
from skerry.trust.errors import PublishError

log = logging.getLogger(__name__)

WHO_SIGNS = frozenset({"root", "targets"})


def action_of(
    signed: Mapping[str, bytes], targets: Mapping[str, bytes], notary: Notary, fleet: str
) -> Action:
    """Return what it takes the right to do."""
    if WHO_SIGNS & set(signed):
        return Action.CHANGE_ROOT
    offered = notary.listed(signed["models"]) if "models" in signed else {}
    before = notary.listed(notary.role_bytes("models"))
    access = access_target(fleet)
    if "models" in signed and offered.get(access) != before.get(access):
        if access not in offered:  # without one, everybody would hold every role again
            raise PolicyInvalidError("it cannot be withdrawn; publish another in its place")
        if access not in targets:
            raise PolicyInvalidError("an old one is named again; publish it as a new generation")
        return Action.PUBLISH_POLICY
    residency = policy_target(fleet)
    if residency in offered and offered[residency] != before.get(residency):
        new, old = targets.get(residency), notary.target_bytes(residency)
        if old is not None and (new is None or widens(new, old)):
            return Action.PUBLISH_POLICY
    return Action.PUBLISH


async def check_signed(
    notary: Notary,
    signed: Mapping[str, bytes],
    targets: Mapping[str, bytes],
    actor: str,
    note: Note,
) -> None:
    """Raise what publishing would refuse, before anybody is asked; the attempt is noted."""
    try:
        await notary.check(signed, targets)
    except PublishError as error:
        await note(
            AuditEvent(
                kind=AuditKind.PUBLISH,
                outcome=AuditOutcome.REFUSED,
                actor=actor,
                target=", ".join(sorted(signed)) or "nothing",
                reason=error.reason,
                text=str(error),
            )
        )
        raise


def widens(new: bytes, old: bytes) -> bool:
    """Say whether a residency policy changes what it said before, other than by adding to it."""
    try:
        now, then = (msgspec.json.decode(one, type=Policy) for one in (new, old))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    return (
        (then.provenance_required and not now.provenance_required)
        or not _only_fewer(now.builders, then.builders)
        or any(now.data_classes.get(name) != rule for name, rule in then.data_classes.items())
        or any(now.places.get(name, place) != place for name, place in then.places.items())
        or any(
            not set(now.model_classes.get(name, classes)) <= set(classes)
            for name, classes in then.model_classes.items()
        )
    )


def _only_fewer(now: Sequence[str], then: Sequence[str]) -> bool:
    """Say whether builders were at most taken away, while none at all lets everybody build."""
    return not then or (bool(now) and set(now) <= set(then))


def access_in(targets: Mapping[str, bytes], fleet: str) -> AccessPolicy | None:
    """Return the access policy among files to publish; raises `PolicyInvalidError`."""
    data = targets.get(access_target(fleet))
    return read_policy(data, fleet) if data is not None else None


def check_publishing(access: AccessPolicy | None, gate: Gate) -> None:
    """Refuse a policy that must not be published; raises `PolicyInvalidError`."""
    if access is None:
        return
    before = gate.policies.document
    if access.generation <= before.generation:
        raise PolicyInvalidError(
            f"its generation is {access.generation}, and {before.generation} is in force"
        )
    check_publishable(access)


def adopt_published(gate: Gate, notary: Notary) -> None:
    """Take the access policy that is published here; where it cannot be used, none is in force."""
    fleet = gate.policies.document.fleet
    data = notary.target_bytes(access_target(fleet))
    if data is None:
        return
    try:
        document = access_in({access_target(fleet): data}, fleet)
    except PolicyInvalidError as error:
        log.error("%s", error)
        return
    if document is not None:
        gate.adopt(document)


def residency_of(notary: Notary, fleet: str) -> Policy | None:
    """Return the residency policy that is published, None where there is none."""
    data = notary.target_bytes(policy_target(fleet))
    return msgspec.json.decode(data, type=Policy) if data else None
