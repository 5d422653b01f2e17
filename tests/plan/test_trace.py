"""Traces: seeded, sorted, inside the fleet; a bad row is named with its row and column."""

from pathlib import Path

import msgspec
import numpy as np
import polars
import pytest

from skerry.plan.errors import ColumnError, NothingToPlanError, TraceError
from skerry.plan.trace import read_trace, story_trace
from skerry.schema.fleet import Fleet

HEAD = "arrival_s,site,model,data_class,bytes\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_the_story_s_day_is_the_same_for_the_same_seed_and_another_for_another(
    fleet: Fleet,
) -> None:
    one, same, other = (story_trace(fleet, requests=500, seed=seed) for seed in (1, 1, 2))
    assert (one.arrival_s == same.arrival_s).all()
    assert (one.data_class == same.data_class).all()
    assert not (one.arrival_s == other.arrival_s).all()


def test_the_story_s_day_is_sorted_within_the_day_and_asks_only_where_people_are(
    fleet: Fleet,
) -> None:
    trace = story_trace(fleet, requests=5000, seed=3)
    assert len(trace) == 5000
    assert (np.diff(trace.arrival_s) >= 0).all()
    assert 0 <= trace.arrival_s[0] <= trace.arrival_s[-1] <= trace.span_s == 86_400
    assert trace.sites == ("oslo", "hamburg")
    assert trace.models == ("magika",)  # nobody asks for a stand-in
    first = trace.data_classes.index("health")
    assert (trace.data_class == first).mean() == pytest.approx(0.9, abs=0.02)
    # oslo has two of the three nodes.
    assert (trace.site == 0).mean() == pytest.approx(2 / 3, abs=0.03)


def test_a_fleet_where_nobody_asks_is_named(fleet: Fleet) -> None:
    far = msgspec.structs.replace(fleet, sites=fleet.sites[2:])
    with pytest.raises(NothingToPlanError, match="no edge or onprem site"):
        story_trace(far, requests=10, seed=1)


def test_a_file_comes_back_as_it_was_written(fleet: Fleet, tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "0.5,oslo,magika,health,8400\n2,hamburg,magika,public,100\n")
    trace = read_trace(path, fleet)
    assert trace.arrival_s.tolist() == [0.5, 2.0]
    assert [trace.sites[i] for i in trace.site] == ["oslo", "hamburg"]
    assert [trace.data_classes[i] for i in trace.data_class] == ["health", "public"]
    assert trace.content_bytes.tolist() == [8400, 100]


GOOD = "1,oslo,magika,health,1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace.csv:1: an empty file, wanted arrival_s,site,model,data_class,bytes"),
        ("time,site\n", "trace.csv:1: time,site, wanted arrival_s"),
        (HEAD, "trace.csv:2: no row, wanted at least one request"),
        (HEAD + GOOD + "x,oslo,magika,health,1\n", "trace.csv:3: column arrival_s: 'x', wanted a"),
        (HEAD + "nan,oslo,magika,health,1\n", "trace.csv:2: column arrival_s: 'nan'"),
        (HEAD + "-1,oslo,magika,health,1\n", "trace.csv:2: column arrival_s: '-1'"),
        (HEAD + "1e9,oslo,magika,health,1\n", "trace.csv:2: column arrival_s: '1e9'"),
        (
            HEAD + GOOD + "0.5,oslo,magika,health,1\n",
            "trace.csv:3: column arrival_s: 0.5, wanted 1 or later, as rows are sorted",
        ),
        (HEAD + "1,olso,magika,health,1\n", "column site: 'olso', wanted one of oslo, hamburg"),
        (HEAD + "1,oslo,magica,health,1\n", "column model: 'magica', wanted one of magika"),
        (HEAD + "1,oslo,magika,secret,1\n", "column data_class: 'secret', wanted one of health"),
        (HEAD + "1,oslo,magika,health,-5\n", "column bytes: '-5', wanted a number from 0"),
        (HEAD + "1,oslo,magika,health\n", "trace.csv:2: 4 columns, wanted 5 columns"),
    ],
)
def test_the_first_bad_value_is_named_with_its_place(
    fleet: Fleet, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(TraceError) as caught:
        read_trace(written(tmp_path, text), fleet)
    assert message in str(caught.value)


def test_a_file_that_is_absent_or_no_text_is_said_so(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "absent.csv", fleet)
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="a CSV file in UTF-8"):
        read_trace(path, fleet)


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_a_trace_of_another_format_is_the_same_trace(
    fleet: Fleet, tmp_path: Path, kind: str
) -> None:
    text = HEAD + "0.5,oslo,magika,health,100\n2,hamburg,magika-small,public,7\n"
    csv = written(tmp_path, text)
    frame = polars.read_csv(csv)
    path = tmp_path / f"trace.{kind}"
    frame.write_parquet(path) if kind == "parquet" else frame.write_json(path)
    one, other = read_trace(csv, fleet), read_trace(path, fleet)
    for name in ("arrival_s", "site", "model", "data_class", "content_bytes"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert (one.span_s, one.sites, one.models) == (other.span_s, other.sites, other.models)


def test_a_bad_cell_of_another_format_is_named_too(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(
        '[{"arrival_s": 1, "site": "olso", "model": "magika", "data_class": "health", "bytes": 1}]'
    )
    with pytest.raises(ColumnError, match=r"trace.json:1: column site: 'olso'"):
        read_trace(path, fleet)
