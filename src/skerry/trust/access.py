"""Who may do what: Cedar policies, prepared once, asked locally, and *no* whenever in doubt.

    allowed = the decision is Allow, and nothing failed to evaluate

Cedar skips a policy that meets a missing attribute, so a `forbid` would fail open: any error
here means no, and every request is checked against the schema. A decision depends on policy and
question alone, never on time, so equal questions are answered from memory.

Units:   none.
Errors:  PolicyInvalidError from `AccessSet` and `check_publishable`; a refusal is a `Verdict`.
Source:  Cedar 4 (docs.cedarpolicy.com), through cedarpy.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec

from skerry.schema.access import ROLES, AccessPolicy, Action, Door
from skerry.trust.access_errors import PolicyInvalidError

if TYPE_CHECKING:  # 6 MB: loaded by the first process that decides, not by whoever imports this
    import cedarpy

POLICY_CHARS_MAX: Final = 256 * 1024
ANSWERS_KEPT: Final = 4096
TWO_PERSON_ID: Final = "two-person"
"""The policy that asks for a second person."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks, as proven: a person with roles, or a machine with its certificate's place."""

    kind: str
    """`Person`, `Node`, `Region` or `Site`."""
    name: str
    roles: frozenset[str] = frozenset()
    site: str = ""
    region: str = ""
    jurisdiction: str = ""
    """Of a site, from the signed inventory; empty where that does not know the site."""


@dataclass(frozen=True, slots=True)
class Question:
    """May `who` do `action` to `resource`? `context` holds what the action's schema wants."""

    who: Who
    action: str
    resource: tuple[str, str]
    """Entity type and name: `("Fleet", "clinic")`."""
    context: tuple[tuple[str, str | bool], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, with the policies that gave it."""

    allowed: bool
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    said: str = ""
    """What a rule that is no policy says of it."""

    @property
    def text(self) -> str:
        """Why, in one sentence."""
        if self.said:
            return self.said
        if self.errors:
            return f"it could not be decided, which means no: {self.errors[0]}"
        named = ", ".join(self.policies)
        if self.allowed:
            return f"permitted by {named}"
        return f"forbidden by {named}" if named else "no policy permits it"


class AccessSet:
    """One set of policies: the shipped ones and a fleet's own, checked and prepared."""

    def __init__(self, document: AccessPolicy) -> None:
        import cedarpy

        if len(document.policies) > POLICY_CHARS_MAX:
            raise PolicyInvalidError(f"it is over {POLICY_CHARS_MAX} characters long")
        self.document = document
        text = f"{_shipped('access.cedar')}\n{document.policies}"
        schema_text = _shipped("access.cedarschema")
        _check_roles(document)
        try:
            self._policies = cedarpy.PolicySet.from_str(text)
            found = cedarpy.validate_policies(text, schema_text)
        except (ValueError, RecursionError) as error:
            raise PolicyInvalidError(str(error)) from error
        if not found.validation_passed:
            raise PolicyInvalidError("; ".join(str(one) for one in found.errors[:3]))
        self._schema = cedarpy.Schema.from_str(schema_text)
        self._ids = _policy_ids(text)
        self.sha256 = hashlib.sha256(text.encode() + msgspec.json.encode(document)).hexdigest()
        self._entities = lru_cache(ANSWERS_KEPT)(self._prepare)
        self._answers = lru_cache(ANSWERS_KEPT)(self._evaluate)

    def decide(self, question: Question) -> Verdict:
        """Answer a question; whatever goes wrong is a refusal that says so."""
        try:
            return self._answers(question)
        except Exception as error:  # an engine that fails has not said yes
            return Verdict(False, errors=(f"{type(error).__name__}: {error}",))

    def needs_two(self, action: str) -> bool:
        """Say whether this fleet asks for a second person; where nobody is named there is none."""
        return bool(self.document.people) and action in self.document.two_person

    def _prepare(self, who: Who, resource: tuple[str, str]) -> "cedarpy.Entities":
        import cedarpy

        kind, name = resource
        entities = [
            {
                "uid": {"type": who.kind, "id": who.name},
                "attrs": _attributes(who),
                "parents": [{"type": "Role", "id": role} for role in sorted(who.roles)],
            },
            {"uid": {"type": kind, "id": name}, "attrs": {}, "parents": []},
        ]
        entities += [
            {"uid": {"type": "Role", "id": role}, "attrs": {}, "parents": []} for role in who.roles
        ]
        text = msgspec.json.encode(entities).decode()
        return cedarpy.Entities.from_json_str(text, self._schema)

    def _evaluate(self, question: Question) -> Verdict:
        import cedarpy

        request = {
            "principal": {"type": question.who.kind, "id": question.who.name},
            "action": {"type": "Action", "id": question.action},
            "resource": {"type": question.resource[0], "id": question.resource[1]},
            "context": msgspec.json.encode(dict(question.context)).decode(),
        }
        entities = self._entities(question.who, question.resource)
        answer = cedarpy.is_authorized(request, self._policies, entities, self._schema)
        allowed = is_allowed(answer)
        told = answer.diagnostics
        named = sorted(self._ids.get(one, one) for one in told.reasons)
        return Verdict(allowed, tuple(named), tuple(told.errors))


def is_allowed(answer: Any) -> bool:
    """Say whether Cedar's answer is a yes: an error beside an *Allow* makes it a no."""
    return answer.decision.value == "Allow" and not answer.diagnostics.errors


def ask(
    who: Who,
    action: str,
    fleet: str,
    *,
    door: Door,
    two_person: bool = False,
    approved: bool = False,
    own: bool = False,
    in_scope: bool = True,
) -> Question:
    """Put a call to a process of the fleet as a question."""
    context = (
        ("approved", approved),
        ("own", own),
        ("two_person", two_person),
        ("in_scope", in_scope),
        ("door", str(door)),
    )
    return Question(who, action, ("Fleet", fleet), context)


def check_publishable(document: AccessPolicy) -> AccessSet:
    """Prepare a set that is about to be published; refuse one that would lock the fleet out.

    Machines must still fetch signed state and regions register, or nothing could mend it; and
    somebody (two, where the fleet asks for two) must be able to publish the next one.
    """
    made = AccessSet(document)
    fleet = document.fleet
    machines = (
        (Who("Node", "probe", site="probe", region="probe"), Action.FETCH),
        (Who("Region", "probe"), Action.FETCH),
        (Who("Region", "probe"), Action.REGISTER),
    )
    for who, action in machines:
        if not made.decide(ask(who, action, fleet, door=Door.CERTIFICATE)).allowed:
            raise PolicyInvalidError(f"a {who.kind.lower()} could not {action} any more")
    named = document.people or {"operator": ROLES}
    able = [
        name
        for name, roles in named.items()
        if made.decide(
            ask(
                Who("Person", name, frozenset(roles)),
                Action.PUBLISH_POLICY,
                fleet,
                door=Door.CERTIFICATE,
                two_person=made.needs_two(Action.PUBLISH_POLICY),
                approved=True,
            )
        ).allowed
    ]
    wanted = 2 if made.needs_two(Action.PUBLISH_POLICY) else 1
    if len(able) < wanted:
        found = ", ".join(able) or "nobody"
        raise PolicyInvalidError(
            f"it takes {wanted} to publish the next policy, and {found} could: everybody else is "
            "forbidden to or lacks the role"
        )
    return made


def _attributes(who: Who) -> dict[str, str]:
    """Return what the schema knows of a caller; what is missing is left out, and so refused."""
    if who.kind == "Node":
        return {"site": who.site, "region": who.region}
    if who.kind == "Site":
        known = {"region": who.region, "jurisdiction": who.jurisdiction}
        return {name: value for name, value in known.items() if value}
    return {}


def _check_roles(document: AccessPolicy) -> None:
    for name, roles in document.people.items():
        unknown = sorted(set(roles) - set(ROLES))
        if unknown:
            raise PolicyInvalidError(
                f"{name} has the role {unknown[0]!r}, wanted {', '.join(ROLES)}"
            )


def _policy_ids(text: str) -> dict[str, str]:
    """Return the parser's name of each policy to its `@id`; refuse two of one name."""
    import cedarpy

    parsed: dict[str, Any] = msgspec.json.decode(cedarpy.policies_to_json_str(text))
    named = {
        key: policy.get("annotations", {}).get("id") or key
        for key, policy in parsed.get("staticPolicies", {}).items()
    }
    seen = _twice(named.values())
    if seen:
        raise PolicyInvalidError(f"two policies are called {seen!r}; each @id is used once")
    if parsed.get("templates"):
        raise PolicyInvalidError("templates are not linked here; write each policy out")
    return named


def _twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _shipped(name: str) -> str:
    return files("skerry.trust").joinpath(name).read_text()
