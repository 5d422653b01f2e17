"""What takes two people: a residency policy that allows more than the one before it."""

from typing import Any

import msgspec
import pytest

from skerry.central.publishing import widens
from skerry.schema.policy import Place, Policy, Residency, Stays

POLICY = Policy(
    fleet="clinic",
    generation=1,
    data_classes={"health": Residency(stays=Stays.SITE)},
    model_classes={"magika": ("health",)},
    places={"oslo": Place(site="oslo", region="eu", jurisdiction="NO")},
    provenance_required=True,
    builders=("a", "b"),
)


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({}, False),
        ({"builders": ("a",)}, False),
        ({"builders": ()}, True),
        ({"builders": ("a", "c")}, True),
        ({"provenance_required": False}, True),
        ({"data_classes": {"health": Residency(stays=Stays.REGION)}}, True),
    ],
)
def test_less_demand_on_how_models_are_made_is_more_that_is_allowed(
    change: dict[str, Any], more: bool
) -> None:
    new = msgspec.structs.replace(POLICY, **change)
    assert widens(msgspec.json.encode(new), msgspec.json.encode(POLICY)) is more


def test_what_cannot_be_read_is_not_waved_through() -> None:
    assert widens(b"\xff", msgspec.json.encode(POLICY))
