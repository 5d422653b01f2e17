"""`skerry infer`: data on stdout, who served it on stderr, an exit code for each outcome."""

import json
from pathlib import Path

import numpy as np
import pytest

from skerry.base.errors import Exit
from skerry.cli.main import run


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7")
    return str(tmp_path / "scan.pdf")


def test_a_label_is_printed_and_who_gave_it(doors, file: str, capsys) -> None:
    url = doors.open("oslo/2").url
    assert run(["infer", "magika", "--url", url, "--input", file]) == Exit.DONE
    out, err = capsys.readouterr()
    assert out == "pdf  0.750\n"
    assert err.startswith("served by oslo/2 in ")
    assert "tier closet, magika v7, reason: local" in err


def test_json_is_one_document(doors, file: str, capsys) -> None:
    url = doors.open("oslo/2").url
    arguments = ["infer", "magika", "--url", url, "--input", file, "--json"]
    assert run([*arguments, "--data-class", "health"]) == Exit.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "skerry.cli.infer/1"
    assert (document["label"], document["served_by"]) == ("pdf", "oslo/2")
    assert doors.doors[0].seen[0].data_class == "health"


def test_arrays_from_files_are_sent_as_tensors(doors, tmp_path: Path, capsys) -> None:
    url = doors.open("oslo/1").url
    np.save(tmp_path / "x.npy", np.arange(10, dtype=np.int32))
    np.savez(tmp_path / "two.npz", a=np.zeros(1, np.float32), b=np.ones((1, 2)))
    assert run(["infer", "m", "--url", url, "--input", str(tmp_path / "x.npy")]) == Exit.DONE
    assert capsys.readouterr().out == "x-back [10]: 0 1 2 3 4 5 6 7 ...\n"
    assert run(["infer", "m", "--url", url, "--input", str(tmp_path / "two.npz")]) == Exit.DONE
    assert capsys.readouterr().out == "a-back [1]: 0.0\nb-back [1, 2]: 1.0 1.0\n"


def test_each_bad_outcome_has_its_exit_code(doors, file: str, tmp_path: Path, capsys) -> None:
    door = doors.open("oslo/1")
    to_door = ["infer", "m", "--url", door.url, "--input", file]
    door.behave = 400
    assert run(to_door) == Exit.BAD_OUTCOME
    assert "told so" in capsys.readouterr().err
    door.behave = "silent"
    assert run([*to_door, "--deadline-ms", "50"]) == Exit.TIMED_OUT
    doors.shut(door)
    door.behave = 503
    assert run(to_door) == Exit.UNREACHABLE
    assert run(["infer", "m", "--input", file]) == Exit.WRONG_USE
    assert run([*to_door, "--site", "oslo"]) == Exit.WRONG_USE
    assert run(["infer", "m", "--site", "oslo", "--folder", str(tmp_path), "--input", file]) == 5
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    bad = ["infer", "m", "--url", door.url, "--input", str(tmp_path / "bad.npy")]
    assert run(bad) == Exit.WRONG_USE


def test_explain_shows_every_candidate_and_attempt(doors, file: str, capsys) -> None:
    one, two = doors.open("oslo/1"), doors.open("oslo/2")
    doors.shut(one)
    to_both = ["infer", "magika", "--url", one.url, "--url", two.url, "--input", file]
    assert run([*to_both, "--explain"]) == Exit.DONE
    out = capsys.readouterr().out
    assert "route of this client: magika" in out
    assert f"asked {one.url} for magika: down" in out
    assert f"asked {two.url} for magika after down: answered" in out
    assert run([*to_both, "--explain", "--json"]) == Exit.DONE
    route = json.loads(capsys.readouterr().out)["route"]
    assert [attempt["verdict"] for attempt in route["attempts"]] == ["down", "answered"]
    assert run([*to_both, "--json"]) == Exit.DONE
    assert "route" not in json.loads(capsys.readouterr().out)


def test_explain_shows_why_nobody_answered_too(doors, file: str, capsys) -> None:
    door = doors.open("oslo/1")
    doors.shut(door)
    assert run(["infer", "m", "--url", door.url, "--input", file, "--explain"]) == Exit.UNREACHABLE
    assert "for m: down" in capsys.readouterr().out
