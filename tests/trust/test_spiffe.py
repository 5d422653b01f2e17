"""Ids have four forms, and every other text is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.trust.spiffe import (
    Role,
    SpiffeId,
    SpiffeIdError,
    central_id,
    node_id,
    operator_id,
    region_id,
)

DOMAIN = "clinic.example"


def test_a_node_id_says_site_region_domain_and_number() -> None:
    node = SpiffeId.parse("spiffe://oslo.eu.clinic.example/node/2")
    assert node == node_id(DOMAIN, "eu", "oslo", 2)
    assert (node.role, node.site, node.region, node.domain) == (Role.NODE, "oslo", "eu", DOMAIN)
    assert (node.number, node.node, node.host) == (2, "oslo/2", "oslo.eu.clinic.example")


@pytest.mark.parametrize(
    ("made", "text", "domain"),
    [
        (region_id(DOMAIN, "eu"), "spiffe://eu.clinic.example/region", DOMAIN),
        (central_id(DOMAIN), "spiffe://clinic.example/central", DOMAIN),
        (operator_id(DOMAIN, "ann"), "spiffe://clinic.example/operator/ann", DOMAIN),
    ],
)
def test_every_form_survives_text_and_back(made: SpiffeId, text: str, domain: str) -> None:
    assert str(made) == text
    assert SpiffeId.parse(text) == made
    assert made.domain == domain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://clinic.example/central",
        "spiffe://clinic.example",
        "spiffe://clinic.example/",
        "spiffe://clinic.example/central/",
        "spiffe://clinic.example//central",
        "spiffe://clinic.example/../central",
        "spiffe://clinic.example/%63entral",
        "spiffe://clinic.example:443/central",
        "spiffe://ann@clinic.example/central",
        "spiffe://Clinic.example/central",
        "spiffe://clinic.example/central?x",
        "spiffe://clinic.example/central#x",
        "spiffe://*.example/central",
        "spiffe://.clinic.example/central",
        "spiffe:///central",
        "spiffe://oslo.eu.clinic.example/node/0",
        "spiffe://oslo.eu.clinic.example/node/01",
        "spiffe://oslo.eu.clinic.example/node/-1",
        "spiffe://oslo.eu.clinic.example/node/1.x",
        "spiffe://oslo.eu.clinic.example/node/>",
        "spiffe://oslo.eu/node/1",
        "spiffe://eu/region",
        "spiffe://clinic.example/operator/a.b",
        "spiffe://clinic.example/central\n",
        "spiffe://" + "a" * 600 + "/central",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SpiffeIdError):
        SpiffeId.parse(text)


def test_asking_a_region_for_its_site_is_refused() -> None:
    with pytest.raises(SpiffeIdError, match="wanted the id of a node"):
        _ = region_id(DOMAIN, "eu").site


@given(st.text(max_size=60))
def test_any_text_parses_to_itself_or_is_refused(text: str) -> None:
    try:
        assert str(SpiffeId.parse("spiffe://" + text)) == "spiffe://" + text
    except SpiffeIdError:
        pass
