"""The residency predicate: never allows what is not listed, and always says why not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.trust.residency import Refusal, ResidencyTable, data_class_of, may_go

CLINIC = Policy(
    fleet="clinic",
    generation=1,
    data_classes={
        "health": Residency(stays=Stays.SITE),
        "personal": Residency(stays=Stays.REGION),
        "internal": Residency(stays=Stays.JURISDICTIONS, jurisdictions=("NO", "DE")),
        "public": Residency(stays=Stays.ANYWHERE),
    },
    model_classes={"magika": ("health", "public"), "empty": (), "stray": ("unheard",)},
    places={
        "oslo": Place(site="oslo", region="eu", jurisdiction="NO"),
        "hamburg": Place(site="hamburg", region="eu", jurisdiction="DE"),
        "austin": Place(site="austin", region="us", jurisdiction="US"),
        "tromso": Place(site="tromso", region="north", jurisdiction="NO"),
    },
)
TABLE = ResidencyTable(CLINIC)
SITES = [*CLINIC.places, "atlantis", ""]
CLASSES = [*CLINIC.data_classes, "unheard", ""]

places = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        Place,
        site=st.just(""),
        region=st.sampled_from(["r1", "r2", "r3"]),
        jurisdiction=st.sampled_from(["NO", "DE", "US"]),
    ),
    max_size=6,
)
rules = st.builds(
    Residency,
    stays=st.sampled_from(Stays),
    jurisdictions=st.lists(st.sampled_from(["NO", "DE", "US", "FR"]), max_size=3).map(tuple),
)
policies = st.builds(
    Policy,
    fleet=st.just("f"),
    generation=st.just(1),
    data_classes=st.dictionaries(st.sampled_from("wxyz"), rules, max_size=4),
    model_classes=st.dictionaries(
        st.sampled_from("mn"), st.lists(st.sampled_from("wxyzq"), max_size=3).map(tuple)
    ),
    places=places,
)
sites = st.sampled_from("abcdefg")
classes = st.sampled_from("wxyzq")


@pytest.mark.parametrize(
    ("data_class", "allowed"),
    [
        ("health", {"oslo"}),
        ("personal", {"oslo", "hamburg"}),
        ("internal", {"oslo", "hamburg", "tromso"}),
        ("public", {"oslo", "hamburg", "austin", "tromso"}),
    ],
)
def test_data_from_oslo_goes_exactly_where_its_class_says(
    data_class: str, allowed: set[str]
) -> None:
    assert TABLE.destinations(data_class, "oslo") == allowed
    for site in CLINIC.places:
        assert (TABLE.may_go(data_class, "oslo", site) is None) == (site in allowed)


def test_data_that_stays_where_it_was_received_does_not_travel() -> None:
    assert TABLE.may_go("internal", "austin", "austin") is None
    assert TABLE.destinations("internal", "austin") == {"oslo", "hamburg", "tromso", "austin"}


def test_a_refusal_can_be_read() -> None:
    refusal = TABLE.may_go("health", "oslo", "hamburg")
    assert refusal == Refusal(
        "health-site",
        "health data from oslo stays at its site, oslo; hamburg is in eu, DE",
    )


def test_unknown_things_are_named() -> None:
    for arguments, rule in [
        (("unheard", "oslo", "oslo"), "class-unknown"),
        (("public", "atlantis", "oslo"), "origin-unknown"),
        (("public", "oslo", "atlantis"), "destination-unknown"),
    ]:
        refusal = TABLE.may_go(*arguments)
        assert refusal is not None
        assert refusal.rule == rule


def test_the_class_of_a_request_is_the_models_first_or_the_one_asked_for() -> None:
    assert TABLE.data_class_of("magika", None) == "health"
    assert TABLE.data_class_of("magika", "public") == "public"
    for model, asked, rule in [
        ("nobody", None, "model-unknown"),
        ("empty", None, "model-unknown"),
        ("stray", None, "class-unknown"),
        ("magika", "unheard", "class-unknown"),
        ("magika", "", "class-unknown"),
        ("magika", "internal", "class-not-for-model"),
    ]:
        refusal = TABLE.data_class_of(model, asked)
        assert isinstance(refusal, Refusal)
        assert refusal.rule == rule


@given(policies, classes, sites, sites)
def test_nothing_goes_where_no_rule_lets_it(
    policy: Policy, data_class: str, origin: str, destination: str
) -> None:
    """Written the other way round: each allowed journey must have its ground in the policy."""
    if ResidencyTable(policy).may_go(data_class, origin, destination) is not None:
        return
    rule = policy.data_classes[data_class]  # a KeyError here would be a leak
    near, far = policy.places[origin], policy.places[destination]
    grounds = [origin == destination, rule.stays is Stays.ANYWHERE]
    grounds.append(rule.stays is Stays.REGION and near.region == far.region)
    grounds.append(rule.stays is Stays.JURISDICTIONS and far.jurisdiction in rule.jurisdictions)
    assert any(grounds)


@given(policies, classes, sites, sites)
def test_the_table_and_the_rule_agree(
    policy: Policy, data_class: str, origin: str, destination: str
) -> None:
    table = ResidencyTable(policy)
    decided = may_go(policy, data_class, origin, destination)
    assert table.may_go(data_class, origin, destination) == decided
    assert (destination in table.destinations(data_class, origin)) == (decided is None)


@given(policies, classes, sites, sites)
def test_whatever_is_unknown_is_refused(
    policy: Policy, data_class: str, origin: str, destination: str
) -> None:
    known = (
        data_class in policy.data_classes
        and origin in policy.places
        and destination in policy.places
    )
    if not known:
        assert may_go(policy, data_class, origin, destination) is not None


@given(policies, st.sampled_from("mno"), st.none() | classes)
def test_a_class_is_given_only_if_model_and_policy_both_list_it(
    policy: Policy, model: str, asked: str | None
) -> None:
    decided = data_class_of(policy, model, asked)
    if isinstance(decided, str):
        assert decided in policy.model_classes[model]
        assert decided in policy.data_classes
        assert asked in (None, decided)


@given(policies)
def test_a_site_may_always_answer_for_itself(policy: Policy) -> None:
    table = ResidencyTable(policy)
    for data_class in policy.data_classes:
        for site in policy.places:
            assert table.may_go(data_class, site, site) is None
