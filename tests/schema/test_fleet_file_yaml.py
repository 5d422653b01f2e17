"""The YAML door: plain words stay words, and no text can hang or end the process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema import yaml_reader
from skerry.schema.file_errors import Problem, UnreadableFileError, YamlSyntaxError
from skerry.schema.yaml_reader import plain_scalar, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("08:00", "08:00"),
        ("12:30:45", "12:30:45"),
        ("2026-01-02", "2026-01-02"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("true", True),
        ("14", 14),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("~", None),
    ],
)
def test_unquoted_words_are_read_as_people_mean_them(text: str, value: object) -> None:
    read = read_yaml(f"key: {text}".encode(), "f").plain()["key"]
    assert read == value
    assert type(read) is type(value)


def test_quoted_numbers_stay_text_and_keys_are_always_text() -> None:
    assert read_yaml(b"NO: '14'\n8000: \"true\"", "f").plain() == {"NO": "14", "8000": "true"}


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "? "])
def test_deep_nesting_is_refused_not_fatal(opening: str) -> None:
    """libyaml's own composer recurses in C and ends the process at this depth."""
    with pytest.raises(YamlSyntaxError, match="nested more than 24 deep"):
        read_yaml(opening.encode() * 100_000, "f")


def test_an_alias_cannot_stand_inside_its_own_anchor() -> None:
    with pytest.raises(YamlSyntaxError, match="has no anchor before it"):
        read_yaml(b"a: &x [*x]", "f")


def test_an_alias_repeats_its_value() -> None:
    assert read_yaml(b"a: &x [1, 2]\nb: *x", "f").plain() == {"a": [1, 2], "b": [1, 2]}


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(yaml_reader, "FILE_BYTES_MAX", 1000)
    with pytest.raises(UnreadableFileError, match="more than"):
        read_yaml(b"[" * 1001, "f")


def test_a_tag_makes_no_object() -> None:
    assert read_yaml(b"a: !!python/object/apply:os.getcwd []", "f").plain() == {"a": []}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    refusal: Problem | None = None
    try:
        read_yaml(text.encode("utf-8", "surrogatepass"), "f").plain()
    except Problem as problem:
        refusal = problem
    if refusal is not None:
        assert refusal.place is not None
        assert refusal.place.line >= 1
        assert refusal.render().startswith("error[E01")


@given(st.text(st.sampled_from("0123456789+-.eE_:xinfaINF"), max_size=24))
def test_a_scalar_is_a_number_or_the_very_text(text: str) -> None:
    value = plain_scalar(text)
    assert value == text or isinstance(value, int | float) or text == ""
