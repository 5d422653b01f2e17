"""The `trust:` part of the fleet file, resolved: a value for every demand."""

from skerry.fleet.findings import Findings
from skerry.schema.access import ROLES, TWO_PERSON_ABLE, Action
from skerry.schema.fleet_file import FleetFile
from skerry.schema.trust import Access, Trust


def resolve_trust(file: FleetFile, notes: Findings) -> Trust:
    """Return what the fleet demands; what is wrong goes into `notes`."""
    return Trust(access=_access(file, notes))


def _access(file: FleetFile, notes: Findings) -> Access:
    access = file.trust.access
    for name, roles in access.people.items():
        for index, role in enumerate(roles):
            if role not in ROLES:
                path = ("trust", "access", "people", name, index)
                notes.unknown(path, "role", role, ROLES)
    known = tuple(action.value for action in TWO_PERSON_ABLE)
    for index, action in enumerate(access.two_person):
        if action not in known:
            notes.unknown(("trust", "access", "two_person", index), "action", action, known)
    return Access(
        people={name: tuple(dict.fromkeys(roles)) for name, roles in access.people.items()},
        two_person=tuple(Action(one) for one in dict.fromkeys(access.two_person) if one in known),
        policies=access.policies,
    )
