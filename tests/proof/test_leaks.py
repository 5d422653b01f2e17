"""The independent leak check: it knows the policy and nothing of the gate."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.proof import leaks as module
from skerry.proof.leaks import Served, leaked, leaks, served_of
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.schema.records import Outcome, Summary

PLACES = {
    "oslo": ("region-eu", "NO"),
    "bergen": ("region-eu", "NO"),
    "hamburg": ("region-eu", "DE"),
    "region-eu": ("region-eu", "DE"),
    "cloud": ("cloud", "US"),
}
POLICY = Policy(
    fleet="clinic",
    generation=1,
    data_classes={
        "health": Residency(stays=Stays.SITE),
        "internal": Residency(stays=Stays.REGION),
        "personal": Residency(stays=Stays.JURISDICTIONS, jurisdictions=("NO",)),
        "public": Residency(stays=Stays.ANYWHERE),
    },
    model_classes={"magika": ("health", "internal", "public")},
    places={
        site: Place(site=site, region=region, jurisdiction=jurisdiction)
        for site, (region, jurisdiction) in PLACES.items()
    },
)


@pytest.mark.parametrize(
    ("origin", "served", "data_class", "leak"),
    [
        ("oslo", "oslo", "health", False),
        ("oslo", "bergen", "health", True),
        ("oslo", "region-eu", "internal", False),
        ("oslo", "cloud", "internal", True),
        ("oslo", "bergen", "personal", False),
        ("oslo", "hamburg", "personal", True),
        ("hamburg", "hamburg", "personal", False),
        ("oslo", "cloud", "public", False),
        ("oslo", "oslo", "secret", True),
        ("oslo", "nowhere", "public", True),
        ("nowhere", "oslo", "public", True),
    ],
)
def test_where_each_class_may_be_served(
    origin: str, served: str, data_class: str, leak: bool
) -> None:
    assert bool(leaks([Served(origin, served, data_class)], POLICY)) is leak


def test_leaks_are_counted_by_request() -> None:
    rows = [Served("oslo", "cloud", "health", 3), Served("oslo", "oslo", "health", 5)]
    assert leaked(rows, POLICY) == 3


def test_only_answers_count_and_each_only_where_it_was_received(
    summary: Callable[..., Summary],
) -> None:
    rows = served_of(
        [
            summary(served_site="cloud", data_class="public"),
            summary(site="cloud", served_site="cloud", forwarded=True),
            summary(outcome=Outcome.REFUSED, served_site=""),
            summary(outcome=Outcome.FAILED, served_site=""),
        ]
    )
    assert rows == [Served("oslo", "cloud", "public", 100)]


def test_the_judge_never_imports_the_gate() -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name and name.startswith(("skerry.trust", "skerry.route")) for name in names)
