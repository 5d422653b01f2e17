"""The lint: graded advice about a fleet that can be used, each with its place."""

from pathlib import Path

import pytest

from skerry.fleet.load import load_checked
from skerry.schema.file_errors import FleetFileError, Grade

EXAMPLE = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


def advice(tmp_path: Path, *edits: tuple[str, str]) -> list[tuple[Grade, str]]:
    text = EXAMPLE.read_text()
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    (tmp_path / "fleet.yaml").write_text(text)
    found = load_checked(tmp_path / "fleet.yaml").advice
    assert all(problem.place is not None for problem in found)
    return [(problem.grade, f"{problem.path}: {problem.what}") for problem in found]


def test_the_example_warns_of_nothing_but_its_single_nodes(tmp_path: Path) -> None:
    found = advice(tmp_path)
    warnings = [text for grade, text in found if grade is Grade.WARN]
    assert warnings == [
        "models.0.data.0: `health` at bergen, hamburg has one node and nowhere else to go: "
        "if it stops, requests are refused"
    ]
    assert {grade for grade, _ in found} == {Grade.WARN, Grade.NOTE}


@pytest.mark.parametrize(
    ("old", "new", "grade", "text"),
    [
        ("feed: 600 W", "feed: 100 W", Grade.NOTE, "100 W feed and 90 W of nodes"),
        ("feed: 600 W", "feed: 80 W", Grade.WARN, "at full load (112 %)"),
        ("    fallback: magika-small     ", "    #", Grade.NOTE, "`magika` has no stand-in"),
        (", latency_p95: 50 ms, errors", ", errors", Grade.WARN, "no gate holds it"),
        ("latency_p95: 50 ms, errors", "latency_p95: 90 ms, errors", Grade.WARN, "lets 90 ms pass"),
        (", errors: 0.1 %,", ",", Grade.WARN, "availability is a goal, and no gate holds it"),
        ("[ring=pilot, 50 %, 100 %]", "[100 %]", Grade.WARN, "one ring"),
        ("    pue: 1.1 ", "    #", Grade.NOTE, "no `pue`: 1.5 is assumed"),
        ("    energy: 0.22 USD/kWh\n", "", Grade.NOTE, "0.25 USD/kWh is assumed"),
        ("stays: [NO, DE]", "stays: [NO, SE]", Grade.NOTE, "no site is in SE"),
        ("    place: [closet, room, cloud]\n    data: [health, internal, public]   #",
         "    place: [room]\n    data: [health, internal, public]   #",
         Grade.WARN, "may go nowhere that runs `magika`"),
    ],
)  # fmt: skip
def test_a_risk_is_named_and_graded(
    tmp_path: Path, old: str, new: str, grade: Grade, text: str
) -> None:
    edits = [(old, new)]
    if "fallback" in old:
        edits.append(("do: prefer magika-small", "do: defer\n    what: [updates]"))
    assert any(g is grade and text in said for g, said in advice(tmp_path, *edits))


def test_a_stand_in_that_may_not_see_the_data_is_an_error(tmp_path: Path) -> None:
    end = "    data: [health, internal, public]\n"
    with pytest.raises(FleetFileError, match="may not see health"):
        advice(tmp_path, (end, "    data: [internal, public]\n"))


def test_an_access_policy_that_central_would_refuse_is_an_error(tmp_path: Path) -> None:
    named = "trust: {access: {people: {ann: [security], bo: [%s]}}}\ngoals:"
    advice(tmp_path, ("goals:", named % "security"))
    with pytest.raises(FleetFileError, match="takes 2 to publish"):
        advice(tmp_path, ("goals:", named % "viewer"))
    with pytest.raises(FleetFileError, match="emperor"):
        advice(tmp_path, ("goals:", named % "emperor"))
