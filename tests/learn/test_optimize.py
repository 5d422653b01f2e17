"""`skerry model optimize`: smaller, held against the original, and refused where it is worse."""

import json
import shutil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from skerry.base.clock import SystemClock
from skerry.cli.main import run
from skerry.learn import variants
from skerry.learn.store import read_card
from skerry.serve.repository import Repository

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
IMAGES, DIGITS = load_digits(return_X_y=True)
ADD = ["--licence", "MIT", "--source", "this test", "--trust-pickle", "--check", "rows.npz"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    network = MLPClassifier((64,), max_iter=60, random_state=0).fit(IMAGES[:900], DIGITS[:900])
    joblib.dump(network, folder / "digits.joblib")
    return folder / "digits.joblib"


@pytest.fixture
def folder(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = IMAGES[900:1000].astype(np.float32)
    np.savez("rows.npz", input=rows[:8])
    np.savez("many.npz", input=rows)
    assert run(["model", "add", str(trained), "--name", "digits", *ADD]) == 0
    name = read_card(tmp_path / "models/digits/1").inputs[0].name
    np.savez("many.npz", **{name: rows})
    return tmp_path


def optimized(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    code = run(["model", "optimize", "digits", "--samples", "many.npz", "--json", *arguments])
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else (code, json.loads(captured.err)["error"])


@pytest.mark.parametrize(("kind", "share"), [("int8", 0.9), ("int8-dynamic", 0.7), ("fp16", 0.7)])
def test_a_variant_is_smaller_near_and_the_next_version(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str, share: float
) -> None:
    told = optimized(capsys, "--to", kind)
    assert (told["name"], told["version"], told["original_version"]) == ("digits", 2, 1)
    figures = told["figures"]
    assert figures["variant_bytes"] < share * figures["original_bytes"]
    assert 0 < figures["difference_ratio"] <= 0.1
    assert figures["agreement_ratio"] >= 0.98
    assert figures["original_run_us"] > 0
    assert figures["rows"] == 50  # the other half calibrated
    card = read_card(folder / "models/digits/2")
    assert card.labels == read_card(folder / "models/digits/1").labels
    assert "INT8" in card.source or "FP16" in card.source
    assert card.metrics["difference_to_original_max"] == figures["difference_max"]


@pytest.mark.anyio
async def test_a_server_takes_the_variant_as_it_takes_any_version(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optimized(capsys, "--to", "int8", "--as", "digits-small")
    served = Repository(folder / "models", queue_len_max=8, clock=SystemClock())
    assert await served.load_all() == []
    assert served.get("digits-small").version == 1
    assert served.get("digits").version == 1


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (("--difference-max", "0"), "of the output's range, wanted at most 0.00%"),
        (("--agreement-min", "1", "--difference-max", "0.00001"), "wanted at most"),
    ],
)
def test_a_variant_that_is_worse_is_refused_with_the_figure_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], limit: tuple[str, ...], text: str
) -> None:
    code, error = optimized(capsys, "--to", "int8", *limit)
    assert code == 1
    assert error["code"] == "E0712"
    assert text in error["text"]
    assert [path.name for path in (folder / "models/digits").iterdir()] == ["1"]


def test_a_changed_top_class_is_counted() -> None:
    from skerry.learn.optimize import Figures, Limits, VariantWorseError, _agreement, _hold

    a = [[np.array([[0.1, 0.9]])], [np.array([[0.6, 0.4]])]]
    b = [[np.array([[0.2, 0.8]])], [np.array([[0.4, 0.6]])]]
    assert _agreement(a, b) == 0.5
    assert _agreement([[np.array([1.0])]], [[np.array([1.0])]]) is None
    figures = Figures(
        rows=2,
        original_bytes=2,
        variant_bytes=1,
        original_run_us=1.0,
        variant_run_us=1.0,
        difference_max=0.0,
        difference_ratio=0.0,
        agreement_ratio=0.5,
    )
    with pytest.raises(VariantWorseError, match=r"50\.00% of rows keep their top class"):
        _hold(figures, Limits(), "m version 2")


def test_a_model_with_nothing_to_make_smaller_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A linear classifier is one operator of ONNX's machine-learning set, which stays as it is."""
    joblib.dump(LogisticRegression(max_iter=50).fit(IMAGES[:200], DIGITS[:200]), "linear.joblib")
    assert run(["model", "add", "linear.joblib", "--name", "linear", *ADD]) == 0
    file = folder / "models/linear/1/model.onnx"
    assert any("Linear" in node.op_type for node in onnx.load(str(file)).graph.node)
    capsys.readouterr()
    assert run(["model", "optimize", "linear", "--to", "int8"]) == 3
    assert "cannot be made INT8" in capsys.readouterr().err
    assert not (folder / "models/linear/2").exists()


def test_a_converter_that_changed_nothing_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(variants, "_halve", shutil.copy)
    capsys.readouterr()
    assert run(["model", "optimize", "digits", "--to", "fp16"]) == 3
    assert "no operator in it" in capsys.readouterr().err


def test_figures_are_printed_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["model", "optimize", "digits", "--to", "fp16"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("models/digits/2\n")
    assert "largest difference" in captured.out
    assert "compared on 3 rows" in captured.err


@pytest.mark.parametrize(
    ("arrays", "text"),
    [({"z": np.zeros((2, 64))}, "one named"), ({"input": np.zeros((0, 64))}, "numbers of rows")],
)
def test_rows_that_cannot_be_used_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], arrays: Any, text: str
) -> None:
    name = read_card(folder / "models/digits/1").inputs[0].name
    np.savez("bad.npz", **{name if key == "input" else key: rows for key, rows in arrays.items()})
    capsys.readouterr()
    arguments = ["model", "optimize", "digits", "--to", "int8", "--samples", "bad.npz"]
    assert run(arguments) == 3
    assert text in capsys.readouterr().err
