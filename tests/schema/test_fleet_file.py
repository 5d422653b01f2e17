"""The fleet file's documents: strict towards people, and known to editors."""

from pathlib import Path

import jsonschema_rs
import msgspec
import pytest

from skerry.schema.file_errors import FleetFileError, Grade, Place, Problem, dotted
from skerry.schema.fleet_file import FleetFile, editor_schema, validation_schema
from skerry.schema.fleet_reader import read_fleet
from skerry.schema.lock import FleetLock, LockError, read_lock, write_lock
from skerry.schema.yaml_reader import read_yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


def test_the_editors_schema_accepts_the_example_and_refuses_a_misspelt_key() -> None:
    schema = jsonschema_rs.Draft7Validator(editor_schema())
    plain = read_yaml(EXAMPLE.read_bytes(), "fleet.yaml").plain()
    assert [error.message for error in schema.iter_errors(plain)] == []
    plain["sites"][0]["teir"] = plain["sites"][0].pop("tier")
    assert not schema.is_valid(plain)


def test_the_editors_schema_is_draft_7_and_knows_sites_from_a_file() -> None:
    schema = editor_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = msgspec.json.encode(schema).decode()
    assert "$defs" not in text
    assert "prefixItems" not in text
    plain = read_yaml(EXAMPLE.read_bytes(), "fleet.yaml").plain()
    plain["sites"] = {"from": "sites.csv"}
    assert jsonschema_rs.Draft7Validator(schema).is_valid(plain)
    assert not jsonschema_rs.Draft202012Validator(validation_schema()).is_valid(plain)


def test_every_part_refuses_unknown_keys() -> None:
    for name, part in validation_schema()["$defs"].items():
        assert part["additionalProperties"] is False, name


def test_the_example_decodes_without_any_conversion_of_its_words() -> None:
    file = msgspec.convert(read_yaml(EXAMPLE.read_bytes(), "f").plain(), FleetFile)
    assert file.sites[0].grid == "NO"
    assert file.tiers["closet"].feed == "600 W"
    assert file.sites[0].hours == "07:00-19:00 Europe/Oslo"


def test_a_place_is_that_of_the_key_or_of_the_value_as_asked() -> None:
    source = read_fleet(EXAMPLE)
    at_key = source.place(("sites", 1, "tier"), key=True)
    at_value = source.place(("sites", 1, "tier"))
    assert at_key is not None
    assert at_value is not None
    assert at_key.text == at_value.text == "    tier: closet"
    assert (at_key.column, at_value.column) == (5, 11)
    assert dotted(("sites", 1, "tier")) == "sites.1.tier"


def test_a_long_line_is_cut_around_the_caret() -> None:
    text = "x" * 400 + "teir" + "y" * 400
    place = Place(file="f", line=1, column=401, width=4, text=text)
    lines = Problem("p", "what", "advice", place).render().splitlines()
    caret = lines[3].index("^")
    assert lines[2][caret : caret + 4] == "teir"
    assert len(lines[2]) < 200


def test_a_file_wrong_in_many_places_does_not_flood_the_screen() -> None:
    problems = tuple(Problem(f"sites.{n}", "is wrong") for n in range(400))
    text = str(FleetFileError("fleet.yaml", problems))
    assert text.startswith("fleet.yaml has 400 problems")
    assert text.endswith("... and 350 more")


def test_a_note_does_not_call_itself_an_error() -> None:
    assert Problem("a", "b", grade=Grade.NOTE).render() == "note[E0101]: a: b"


def test_a_lock_survives_writing_and_never_changes_the_bytes_of_a_version(tmp_path: Path) -> None:
    assert read_lock(tmp_path).manifest_sha256("magika", 1) == ""
    lock = FleetLock().with_model("magika", 1, "a" * 64).with_model("magika", 2, "b" * 64)
    write_lock(tmp_path, lock)
    assert read_lock(tmp_path) == lock
    assert lock.with_model("magika", 1, "a" * 64) == lock
    with pytest.raises(LockError, match="magika version 1 is locked to other bytes"):
        lock.with_model("magika", 1, "c" * 64)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"models": {"m": 3}}', b'{"schema": "x/9"}'])
def test_a_broken_lock_is_refused_with_its_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "fleet.lock").write_bytes(data)
    with pytest.raises(LockError, match=r"fleet\.lock"):
        read_lock(tmp_path)
