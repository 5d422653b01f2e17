"""Access: shipped roles do their part and no more, a forbid wins, and doubt means no."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.schema.access import BREAK_GLASS, ROLES, AccessPolicy, Action, Door
from skerry.trust import access
from skerry.trust.access import AccessSet, Question, Who, ask, check_publishable
from skerry.trust.access_errors import PolicyInvalidError

FLEET = "clinic"
SHIPPED = AccessSet(AccessPolicy(fleet=FLEET, generation=1))
LOOKING = {Action.LOOK, Action.FETCH, Action.OWN_TOKENS}
MAY = {
    "viewer": LOOKING,
    "auditor": LOOKING | {Action.LOOK_AUDIT},
    "operator": LOOKING
    | {Action.STEER, Action.DRILL, Action.TICKET, Action.BAN, Action.BREAK_GLASS},
    "releaser": LOOKING
    | {Action.UPLOAD, Action.PUBLISH, Action.APPLY, Action.STEER, Action.BREAK_GLASS},
    "security": LOOKING
    | {Action.LOOK_AUDIT, Action.BAN, Action.LIFT_BAN, Action.PUBLISH, Action.PUBLISH_POLICY}
    | {
        Action.CHANGE_ROOT,
        Action.KEYS,
        Action.CHANGE_PEOPLE,
        Action.ERASE_AUDIT,
        Action.BREAK_GLASS,
    },
    BREAK_GLASS: (LOOKING | {Action.LOOK_AUDIT, Action.UPLOAD, Action.PUBLISH, Action.APPLY})
    | {Action.STEER, Action.DRILL, Action.TICKET, Action.BAN, Action.LIFT_BAN},
}


def policy(text: str = "", **people: tuple[str, ...]) -> AccessPolicy:
    return AccessPolicy(fleet=FLEET, generation=1, policies=text, people=people)


def may(
    action: str, *roles: str, of: AccessSet = SHIPPED, name: str = "ann", **context: bool
) -> access.Verdict:
    who = Who("Person", name, frozenset(roles))
    return of.decide(ask(who, action, FLEET, door=Door.CERTIFICATE, **context))


@pytest.mark.parametrize("role", [*ROLES, BREAK_GLASS])
def test_a_shipped_role_may_do_exactly_its_part(role: str) -> None:
    assert {action for action in Action if may(action, role).allowed} == MAY[role]


def test_who_has_no_role_may_do_nothing_but_keep_tokens() -> None:
    assert {action for action in Action if may(action).allowed} == {Action.OWN_TOKENS}


def test_a_second_person_is_asked_for_and_not_oneself() -> None:
    alone = may(Action.LIFT_BAN, "security", two_person=True)
    assert (alone.allowed, alone.policies) == (False, ("two-person",))
    assert may(Action.LIFT_BAN, "security", two_person=True, approved=True).allowed
    mine = may(Action.LIFT_BAN, "security", two_person=True, approved=True, own=True)
    assert (mine.allowed, mine.policies) == (False, ("self-approval",))


def test_broken_glass_needs_no_second_person_for_what_is_urgent_only() -> None:
    assert may(Action.LIFT_BAN, BREAK_GLASS, two_person=True).allowed
    assert may(Action.APPLY, BREAK_GLASS, two_person=True).allowed
    assert not may(Action.PUBLISH, BREAK_GLASS, two_person=True).allowed
    for never in (Action.PUBLISH_POLICY, Action.CHANGE_ROOT, Action.ERASE_AUDIT):
        assert not may(never, BREAK_GLASS).allowed


def test_a_token_does_no_more_than_its_scope() -> None:
    refused = may(Action.LOOK, *ROLES, in_scope=False)
    assert (refused.allowed, refused.policies) == (False, ("token-scope",))


def test_a_fleets_own_forbid_wins_and_is_named() -> None:
    own = AccessSet(
        policy('@id("no-drills") forbid (principal, action == Action::"drill", resource);')
    )
    assert may(Action.DRILL, "operator").allowed
    assert may(Action.DRILL, "operator", of=own).policies == ("no-drills",)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=60)
def test_whatever_is_asked_the_answer_is_a_verdict(who: str, action: str, resource: str) -> None:
    question = Question(Who("Person", who), action, ("Fleet", resource), (("approved", True),))
    assert not SHIPPED.decide(question).allowed


@pytest.mark.parametrize("kind", ["Node", "Region", "Site", "Role", "Nobody", ""])
def test_other_kinds_of_callers_may_not_act_as_people(kind: str) -> None:
    who = Who(kind, "x", frozenset(ROLES) if kind == "Role" else frozenset())
    for action in set(Action) - {Action.FETCH, Action.REGISTER}:
        assert not SHIPPED.decide(ask(who, action, FLEET, door=Door.CERTIFICATE)).allowed


def test_an_error_beside_an_allow_is_a_no() -> None:
    """Cedar skips a policy that errs, and a skipped forbid would let anybody in."""
    told = SimpleNamespace(errors=["a forbid met a missing attribute"])
    assert not access.is_allowed(
        SimpleNamespace(decision=SimpleNamespace(value="Allow"), diagnostics=told)
    )


def test_an_engine_that_fails_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    import cedarpy

    def crash(*_: object) -> None:
        raise RuntimeError("the engine is gone")

    monkeypatch.setattr(cedarpy, "is_authorized", crash)
    verdict = may(Action.LOOK, "viewer", of=AccessSet(policy()))
    assert not verdict.allowed
    assert "the engine is gone" in verdict.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("permit (", "unexpected end"),
        ('permit (principal, action == Action::"look", resource) when { context.orgin };', "orgin"),
        ('permit (principal, action == Action::"lok", resource);', "lok"),
        ("forbid (principal, action, resource);", "could not fetch"),
        (
            'forbid (principal, action == Action::"publish-policy", resource);',
            "takes 1 to publish the next policy, and nobody could",
        ),
        ('@id("two-person") permit (principal, action, resource);', "'two-person'"),
        ("permit (principal == ?principal, action, resource);", "templates"),
        ("/" * (access.POLICY_CHARS_MAX + 1), "characters long"),
    ],
)
def test_a_set_that_is_wrong_or_locks_the_fleet_out_is_refused(text: str, why: str) -> None:
    with pytest.raises(PolicyInvalidError, match=r"POLICY_INVALID") as refused:
        check_publishable(policy(text))
    assert why in str(refused.value)


def test_where_two_are_asked_for_two_must_be_able() -> None:
    with pytest.raises(PolicyInvalidError, match="takes 2"):
        check_publishable(policy(ann=("security",), bo=("viewer",)))
    check_publishable(policy(ann=("security",), bo=("security",)))
    with pytest.raises(PolicyInvalidError, match="'emperor'"):
        check_publishable(policy(ann=("emperor",)))


def test_the_hash_tells_sets_apart() -> None:
    assert AccessSet(policy()).sha256 == SHIPPED.sha256
    assert AccessSet(policy(ann=("viewer",))).sha256 != SHIPPED.sha256


def test_the_policies_of_the_how_to_page_are_taken_and_do_what_it_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-policy.md"
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    text = "\n".join(block.partition("policies: |\n")[2] or block for block in blocks)
    own = check_publishable(policy(text))
    assert may(Action.DRILL, "operator", of=own).policies == ("no-drills",)
    assert may(Action.STEER, "viewer", of=own, name="kim").policies == ("kim-pauses",)
    assert not may(Action.STEER, "viewer", of=own).allowed
    token = ask(Who("Person", "ann", frozenset({"operator"})), Action.BAN, FLEET, door=Door.TOKEN)
    assert own.decide(token).policies == ("bans-by-certificate",)
    assert may(Action.BAN, "operator", of=own).allowed
