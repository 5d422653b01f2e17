"""`plan batching`: the limit under a time, the load that fills it, impossible said."""

import json
from pathlib import Path
from typing import Any

import pytest

from skerry.cli.main import run


def batching(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(["plan", "batching", *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_full_batches_are_the_published_figures(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--gpu", "H100", "--inter-token-ms", "26.1", "--set", "host_over_gpu_ratio=0"]
    found = batching(capsys, *words, "--tokens-per-request", "100")
    assert (found["batch_limit"], found["answer"]) == (256, "yes")
    assert found["j_per_token"] == pytest.approx(0.0766)
    assert found["wh_per_request"] == pytest.approx(100 * 0.0766 / 3600)
    assert found["energy_saving_ratio"] == pytest.approx(0.83, abs=0.005)


def test_a_small_load_fills_no_batch_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--gpu", "H100", "--inter-token-ms", "50", "--requests-per-s", "0.1"]
    found = batching(capsys, *words)
    assert (found["batch_limit"], found["batch_filled"]) == (512, 8)
    assert any("fills no batch" in note for note in found["notes"])  # type: ignore[attr-defined]


def test_a_large_load_takes_more_accelerators(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--gpu", "H100", "--inter-token-ms", "26.1", "--requests-per-s", "100"]
    assert batching(capsys, *words)["accelerators"] == 3


@pytest.mark.parametrize("limit_ms", ["26.1", "8"])
def test_the_next_best_is_another_batch_and_wins_where_it_is_said_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit_ms: str
) -> None:
    curve = tmp_path / "curve.csv"
    rows = "npu,1,2,5.3333\nnpu,4,1,20.2222\nnpu,8,0.9,30\n"
    curve.write_text(f"gpu,batch_limit,j_per_token,inter_token_ms\n{rows}")
    words = ["--gpu", "npu", "--curve", str(curve), "--inter-token-ms"]
    found: Any = batching(capsys, *words, limit_ms)
    advice = found["advice"][0]
    turned_ms = next(word for word in advice["flip"].split() if word[0].isdigit())
    step_ms = 0.001 if "or more" in advice["flip"] else -0.001
    there: Any = batching(capsys, *words, str(float(turned_ms) + step_ms))
    assert there["advice"][0]["choice"] == advice["runner_up"] != advice["choice"]
    short: Any = batching(capsys, *words, str(float(turned_ms) - step_ms))
    assert short["advice"][0]["choice"] != advice["runner_up"]


def test_a_limit_that_no_batch_keeps_is_impossible(capsys: pytest.CaptureFixture[str]) -> None:
    found = batching(capsys, "--gpu", "H100", "--inter-token-ms", "5")
    assert (found["answer"], found["batch_limit"]) == ("no", None)
    assert str(found["lead"]).startswith("impossible: ")


def test_an_own_curve_and_a_run_show_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = tmp_path / "curve.csv"
    curve.write_text("gpu,batch_limit,j_per_token,inter_token_ms\nnpu,1,2,5\nnpu,4,1,8\n")
    figure = {
        "value": 100.0,
        "low": 100.0,
        "high": 100.0,
        "level": "measured",
        "source": "meter",
        "at_unix_s": 0,
    }
    record = {"name": "energy_wh_per_1k", "goal": None, "measured": figure}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"at_unix_s": 0, "goals": [record]}))
    words = ["--gpu", "npu", "--inter-token-ms", "8", "--curve", str(curve)]
    found = batching(capsys, *words, "--from-run", str(path))
    predicted = 250 * 1 * 1.5 / 3600 * 1000
    assert found["prediction_error_ratio"] == {
        "energy_wh_per_1k": pytest.approx(predicted / 100 - 1)
    }


def test_a_gpu_without_times_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "batching", "--gpu", "B200", "--inter-token-ms", "9"]) == 2
    err = capsys.readouterr().err
    assert "no complete curve of 'B200'" in err
    assert "known: H100" in err
