"""Input columns: three formats read alike, and the first bad cell is named by row and column."""

import contextlib
import json
from pathlib import Path

import numpy as np
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.base.errors import Exit
from skerry.plan.columns import Number, Text, Time, names_of, read_columns
from skerry.plan.errors import ColumnError

ROWS = [
    {"zone": "DE", "kwh": 1.5, "at": "2026-01-01T00:00:00Z"},
    {"zone": "FR", "kwh": 2.0, "at": "2026-01-01T01:00:00Z"},
]
WANTED = {"zone": Text(), "kwh": Number(low=0), "at": Time(ascending=True)}


@pytest.fixture(params=["csv", "parquet", "json", "json-columns"])
def same_rows(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    kind = request.param
    path = tmp_path / f"rows.{kind.partition('-')[0]}"
    frame = polars.DataFrame(ROWS)
    if kind == "csv":
        frame.write_csv(path)
    elif kind == "parquet":
        frame.write_parquet(path)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        path.write_text(json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}))
    return path


def csv_file(folder: Path, text: str) -> Path:
    path = folder / "rows.csv"
    path.write_text(text)
    return path


def test_every_format_gives_the_same_columns(same_rows: Path) -> None:
    read = read_columns(same_rows, WANTED)
    assert names_of(same_rows) == ("zone", "kwh", "at")
    assert read.texts["zone"] == ["DE", "FR"]
    assert read.numbers["kwh"].tolist() == [1.5, 2.0]
    assert np.diff(read.numbers["at"]).tolist() == [3600.0]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("v\n1\nx\n", Number(), "rows.csv:3: column v: 'x', wanted a number"),
        ("v\n1\nNaN\n", Number(), "rows.csv:3: column v: 'NaN', wanted a number"),
        ("v\n1\ninf\n", Number(), "rows.csv:3: column v: 'inf'"),
        ("v\n1\n-1\n", Number(low=0), "rows.csv:3: column v: '-1', wanted a number of 0 or more"),
        ("v,w\n1,2\n,2\n", Number(), "rows.csv:3: column v: an empty cell, wanted a number"),
        (
            "v\n3\n2\n",
            Number(ascending=True),
            "rows.csv:3: column v: 2 after 3, wanted rows sorted",
        ),
        ("v\nDE\nXX\n", Text(one_of=frozenset({"DE"})), "rows.csv:3: column v: 'XX', wanted one"),
        ("v\nsoon\n", Time(), "rows.csv:2: column v: 'soon', wanted an ISO 8601 time"),
        ("v\n2026-01-01\n", Time(), "without an offset, wanted an offset such as Z"),
        ("v\n2026-01-01T00:00Z\n2025-01-01T00:00Z\n", Time(ascending=True), "rows.csv:3: column v"),
        ("v\n", Number(), "rows.csv:2: no row, wanted at least one"),
        ("", Number(), "rows.csv:1: an empty file"),
        ("w\n1\n", Number(), "rows.csv:1: column v: the file has w, wanted this column"),
    ],
)
def test_the_first_bad_cell_is_named(
    tmp_path: Path, text: str, kind: Number | Text | Time, said: str
) -> None:
    with pytest.raises(ColumnError) as raised:
        read_columns(csv_file(tmp_path, text), {"v": kind})
    assert said in str(raised.value)
    assert raised.value.exit_code == Exit.FILE_INVALID
    assert raised.value.hint


def test_hours_that_clocks_skip_or_repeat_need_an_offset(tmp_path: Path) -> None:
    berlin = {"v": Time(zone="Europe/Berlin")}
    skipped = csv_file(tmp_path, "v\n2026-03-29T01:30:00\n2026-03-29T02:30:00\n")
    with pytest.raises(ColumnError, match=r":3: .* does not exist in Europe/Berlin"):
        read_columns(skipped, berlin)
    twice = csv_file(tmp_path, "v\n2026-10-25T02:30:00\n")
    with pytest.raises(ColumnError, match=r":2: .* comes twice in Europe/Berlin"):
        read_columns(twice, berlin)
    given_ = csv_file(tmp_path, "v\n2026-10-25T02:30:00+02:00\n2026-10-25T02:30:00+01:00\n")
    assert np.diff(read_columns(given_, berlin).numbers["v"]).tolist() == [3600.0]


def test_an_unknown_zone_and_an_unknown_format_are_named(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "v\n2026-01-01\n")
    with pytest.raises(ColumnError, match="'Mars/Olympus', wanted a time zone"):
        read_columns(path, {"v": Time(zone="Mars/Olympus")})
    other = tmp_path / "rows.xlsx"
    other.write_bytes(b"PK")
    with pytest.raises(ColumnError, match=r"a \.xlsx file, wanted a \.csv"):
        read_columns(other, WANTED)
    with pytest.raises(ColumnError, match="No such file"):
        read_columns(tmp_path / "none.csv", WANTED)


def test_empty_cells_and_optional_columns_are_allowed_where_asked(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "v,w\n1,a\n,\n")
    wanted = {"v": Number(may_be_empty=True), "w": Text(may_be_empty=True)}
    read = read_columns(path, wanted, optional={"x": Number()})
    assert np.isnan(read.numbers["v"]).tolist() == [False, True]
    assert read.texts["w"] == ["a", ""]
    assert "x" not in read.numbers


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200), st.sampled_from([".csv", ".json", ".parquet"]))
def test_no_bytes_bring_anything_but_a_column_error(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    path = tmp_path / f"any{kind}"
    path.write_bytes(content)
    with contextlib.suppress(ColumnError):
        read_columns(path, {"v": Number(), "t": Time(), "n": Text()})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", "v,w,v\n1,2,3\n"),
        ("rows.csv", '"v", v\n1,2\n'),
        ("rows.json", '[{"v": 1, "v": 2}]'),
        ("rows.json", '{"v": [1], "v": [2]}'),
    ],
)
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    for ask in (lambda: names_of(path), lambda: read_columns(path, {"v": Number()})):
        with pytest.raises(ColumnError) as raised:
            ask()
        assert f"{name}:1: column v: a second time, wanted each name once" in str(raised.value)


def test_a_folder_is_told_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.mkdir()
    with pytest.raises(ColumnError, match=r"rows\.csv: a folder, wanted a \.csv"):
        names_of(path)


def test_a_time_without_an_offset_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match=r"--time-zone"):
        read_columns(csv_file(tmp_path, "at\n2026-01-01T00:00:00\n"), {"at": Time()})
