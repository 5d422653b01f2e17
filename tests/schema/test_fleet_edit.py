"""Editing a fleet file: the asked value changes, every other character stays."""

import difflib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.schema.fleet_edit import EditError, with_values
from skerry.schema.yaml_reader import read_yaml

CLINIC = (Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml").read_text()


def changed(values: dict[str, str], text: str = CLINIC) -> list[str]:
    """Return the lines that an edit takes away and puts in."""
    lines = difflib.unified_diff(
        text.splitlines(), with_values(text, values).splitlines(), n=0, lineterm=""
    )
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_one_value_changes_and_its_comment_keeps_its_column() -> None:
    assert changed({"goals.latency_p95": "120 ms"}) == [
        "-  latency_p95: 50 ms              # end to end, as the client sees it",
        "+  latency_p95: 120 ms             # end to end, as the client sees it",
    ]


def test_items_of_a_list_go_by_their_name_or_index() -> None:
    by_name = with_values(CLINIC, {"sites.hamburg.grid": "DK-DK1"})
    assert by_name == with_values(CLINIC, {"sites.2.grid": "DK-DK1"})
    assert changed({"models.magika.place": "[closet, room]"}) == [
        "-    place: [closet, room, cloud]",
        "+    place: [closet, room]",
    ]


def test_a_missing_key_goes_behind_the_last_one_of_its_block() -> None:
    assert changed({"sites.bergen.nodes": "3"}) == ["+    nodes: 3"]
    after = with_values(CLINIC, {"sites.bergen.nodes": "3"})
    assert "{ring: pilot}         # rollouts begin here\n    nodes: 3\n  - name: hamburg" in after


def test_a_missing_key_of_braces_goes_inside_them() -> None:
    assert changed({"rollout.gate.errors": "0.2 %", "links.0.jitter": "2 ms"}) == [
        "-  gate: {hold: 20 s, latency_p95: 50 ms, errors: 0.1 %, requests: 20}",
        "+  gate: {hold: 20 s, latency_p95: 50 ms, errors: 0.2 %, requests: 20}",
        "-  - {between: [oslo, region-eu], round_trip: 28 ms, jitter: 1 ms, bandwidth: 50 Mbit/s}",
        "+  - {between: [oslo, region-eu], round_trip: 28 ms, jitter: 2 ms, bandwidth: 50 Mbit/s}",
    ]
    new = {f"machines.box.{key}": value for key, value in BOX.items()}
    assert changed(new) == [f"+  {line}" for line in ("box:", *(f"  {k}: {BOX[k]}" for k in BOX))]


BOX = {"idle": "8 W", "busy": "45 W", "price": "550 USD", "life": "5", "source": "maker"}


def test_a_new_site_is_an_item_behind_the_last_one() -> None:
    lyon = {"tier": "closet", "region": "region-eu", "at": "[45.76, 4.84]", "grid": "FR"}
    lines = changed({f"sites.lyon.{key}": value for key, value in lyon.items()})
    assert lines == ["+  - name: lyon", *(f"+    {key}: {lyon[key]}" for key in lyon)]


def test_a_block_and_an_empty_value_are_replaced_whole() -> None:
    block = CLINIC.replace(
        "    place: [closet, room, cloud]\n    data: [health, internal, public]\n\n",
        "    place:\n      - closet\n      - room\n    data: [health, internal, public]\n\n",
    )
    assert changed({"models.magika-small.place": "[cloud]"}, block) == [
        "-    place:",
        "-      - closet",
        "-      - room",
        "+    place: [cloud]",
    ]
    empty = CLINIC.replace("  availability: 99.9 %\n", "  availability:\n")
    assert changed({"goals.availability": "99 %"}, empty) == [
        "-  availability:",
        "+  availability: 99 %",
    ]


def test_a_file_without_a_last_newline_gets_its_addition() -> None:
    assert with_values(CLINIC.rstrip(), {"links.0.round_trip": "9 ms"}).endswith("Mbit/s}\n")


@settings(max_examples=30, deadline=None)  # each edits the whole example twice
@given(
    st.sampled_from(["oslo", "bergen", "hamburg", "region-eu"]),
    st.integers(1, 1000),
    st.sampled_from(["tiers.closet.monthly", "tiers.room.monthly", "goals.cost_per_1k"]),
    st.integers(0, 10**6).map(lambda cents: f"{cents / 100:.2f} USD"),
)
def test_only_the_asked_places_differ_and_a_second_time_changes_nothing(
    site: str, nodes: int, path: str, money: str
) -> None:
    values = {f"sites.{site}.nodes": str(nodes), path: money}
    after = with_values(CLINIC, values)
    assert with_values(after, values) == after
    removed = [line for line in CLINIC.splitlines() if line not in after.splitlines()]
    assert len(removed) <= 2
    comments = [line.partition("#")[2] for line in CLINIC.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in after.splitlines() if "#" in line] == comments
    tree = read_yaml(after.encode(), "fleet.yaml").plain()
    found = next(one for one in tree["sites"] if one["name"] == site)
    assert found["nodes"] == nodes


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("goals.latency_p95.low", "1 ms", "no place for 'low'"),
        ("sites.9.nodes", "1", "the list has no item 9"),
        ("sites..nodes", "1", "wanted steps between dots"),
        ("sites.oslo.nodes", "", "no value"),
        ("sites.oslo.nodes", "1\n2", "no value"),
        ("sites.oslo.nodes", "[1", "no value"),
        ("machines.intake-pc.source", "maker, of course", "something else"),
        ("rollout.gate.hold", "50 s # or so", "something else"),
    ],
)
def test_what_cannot_be_put_there_is_refused_by_path(path: str, value: str, why: str) -> None:
    with pytest.raises(EditError, match=why) as caught:
        with_values(CLINIC, {path: value})
    assert path.split(".")[0] in str(caught.value) or path in str(caught.value)


def test_a_value_that_two_places_share_is_not_changed_in_silence() -> None:
    shared = CLINIC.replace("price: 550 USD", "price: &money 550 USD").replace(
        "monthly: 40 USD ", "monthly: *money "
    )
    with pytest.raises(EditError, match="something else"):
        with_values(shared, {"tiers.closet.monthly": "50 USD"})


def test_line_ends_stay_as_they_are() -> None:
    values = {"sites.bergen.nodes": "3", "goals.latency_p95": "60 ms"}
    crlf = with_values(CLINIC.replace("\n", "\r\n"), values)
    assert crlf == with_values(CLINIC, values).replace("\n", "\r\n")
