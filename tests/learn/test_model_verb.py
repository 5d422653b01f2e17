"""`skerry model`: from a file and a declaration to a pinned version, seen by show and list."""

from pathlib import Path

import joblib
import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skerry.cli.main import run
from skerry.pipeline.run import Pipeline
from skerry.schema.lock import read_lock
from skerry.serve.onnx_engine import OnnxModel

IMAGES, DIGITS = load_digits(return_X_y=True)

CARD = """
name: digits
version: v3
summary: Reads one handwritten digit
licence: BSD-3-Clause
source: scikit-learn's digits
data_class: NO
pre:
  - step: decode_image
    options: {colour: grey}
  - {step: resize, options: {height: 8, width: 8}}
  - {step: normalise, options: {scale: 0.0627, layout: hwc}}
  - step: flatten
post:
  - step: argmax_label
    options: {threshold: 0.3, below: unsure}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fleet.yaml").write_text("kind: Fleet\n")
    joblib.dump(LogisticRegression(max_iter=300).fit(IMAGES[:500], DIGITS[:500]), "digits.joblib")
    np.savez("rows.npz", input=IMAGES[:16].astype(np.float32))
    (tmp_path / "card.yaml").write_text(CARD.replace("NO", "internal"))
    return tmp_path


ADD = ["model", "add", "digits.joblib", "--card", "card.yaml", "--check", "rows.npz"]


def test_a_pickle_with_a_card_becomes_a_model_that_reads_an_image(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*ADD, "--trust-pickle"]) == 0
    out, err = capsys.readouterr()
    assert out == "models/digits/3\n"
    assert err.splitlines()[-1] == "Next:  skerry check"
    from skerry.learn.store import manifest_sha256, read_card

    version = folder / "models/digits/3"
    assert read_lock(folder).manifest_sha256("digits", 3) == manifest_sha256(version)
    card = read_card(version)
    pipeline, model = Pipeline(card), OnnxModel("digits", version / "model.onnx")
    right = 0
    for pixels, digit in zip(IMAGES[500:540], DIGITS[500:540], strict=True):
        image = b"P5 8 8 255 " + np.rint(pixels * 255 / 16).astype(np.uint8).tobytes()
        inputs = {"input": pipeline.file_to_inputs(image)[0]}
        label = pipeline.outputs_to_label(model.run(inputs, model.output_names)).label
        right += label == str(digit)
    direct = LogisticRegression(max_iter=300).fit(IMAGES[:500], DIGITS[:500])
    wanted = (direct.predict(IMAGES[500:540]) == DIGITS[500:540]).sum()
    assert wanted >= 30
    assert abs(right - wanted) <= 2  # pixels went through 8 bit, and unsure ones are not guessed


def test_show_and_list_say_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "list"]) == 0
    assert "no model in models" in capsys.readouterr().err
    run([*ADD, "--trust-pickle"])
    run([*ADD, "--trust-pickle", "--version", "12"])
    capsys.readouterr()
    assert run(["model", "list", "--json"]) == 0
    document = msgspec.json.decode(capsys.readouterr().out)
    assert document["schema"] == "skerry.cli.model-list/1"
    assert [m["version"] for m in document["models"]] == [3, 12]
    assert run(["model", "show", "digits", "--version", "v3"]) == 0
    shown = capsys.readouterr().out
    assert "BSD-3-Clause" in shown
    assert "FP32 [n, 64]" in shown
    assert run(["model", "show", "digits", "--json"]) == 0
    model = msgspec.json.decode(capsys.readouterr().out)["model"]
    assert model["version"] == 12
    assert model["labels"] == [str(n) for n in range(10)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (ADD, 6, "--trust-pickle"),
        ([*ADD, "--trust-pickle", "--version", "new"], 2, "version 'new' is not a positive"),
        ([*ADD, "--trust-pickle", "--name", "../up"], 3, "cannot name a model"),
        ([*ADD, "--trust-pickle", "--pre", "bytes_head_tail"], 3, r"of shape (2048,)"),
        ([*ADD, "--trust-pickle", "--pre", "sharpen"], 3, "no step 'sharpen'"),
        ([*ADD, "--trust-pickle", "--pre", "resize:height"], 2, "has no value"),
        (["model", "add", "digits.joblib"], 2, "nothing states the model's name"),
        (["model", "add", "none.onnx", "--card", "card.yaml"], 3, "No such file"),
        (["model", "add", "magika", "--name", "mine"], 2, "--name cannot be given"),
        (["model", "show", "none"], 2, "no model none in models"),
    ],
)
def test_wrong_use_has_its_exit_code_and_leaves_nothing(
    arguments: list[str],
    code: int,
    said: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(arguments) == code
    assert said in capsys.readouterr().err
    assert not (folder / "models").exists()
    assert not (folder / "fleet.lock").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("licence: BSD-3-Clause\n", ""), "licence"),
        (("version: v3", "verison: 3"), "verison"),
        (("data_class: internal", "data_class: [a]"), "data_class"),
        (
            ("summary: Reads", "labels: [a]\nlabels_file: none.txt\nsummary: Reads"),
            "one of the two",
        ),
    ],
)
def test_a_card_with_a_slip_names_the_field(
    changed: tuple[str, str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "card.yaml"
    path.write_text(path.read_text().replace(*changed))
    assert run([*ADD, "--trust-pickle"]) in (2, 3)
    assert said in capsys.readouterr().err
    assert not (folder / "models").exists()
