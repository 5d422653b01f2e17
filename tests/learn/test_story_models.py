"""The story's models: magika as it is, a stand-in with its signature, two releases."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("magika", reason="needs magika")

from skerry.learn import magika, releases, standin
from skerry.learn.truth import LABEL_OF_SUFFIX, part_of, truth_files
from skerry.pipeline.run import Pipeline, check_card


@pytest.fixture(scope="module")
def files() -> list[tuple[bytes, str]]:
    return [(path.read_bytes(), label) for path, label in truth_files(60, 3)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from skerry.serve.onnx_engine import OnnxModel

    def load(path: Path) -> OnnxModel:
        return OnnxModel(path.name, path)

    repository = tmp_path_factory.mktemp("models")
    return {
        "magika": magika.add_magika(repository, load=load),
        "small": standin.add_standin(repository, load=load, files=600),
        "calibrated": releases.add_calibrated(repository, load=load),
        "slow": releases.add_slow(repository, load=load, burn_ms=60),
        "load": load,
    }


def answers(added: Any, load: Any, files: list[tuple[bytes, str]]) -> list[tuple[str, float]]:
    model = load(added.folder / "model.onnx")
    pipeline = Pipeline(added.card)
    found = []
    for content, _ in files:
        inputs = dict(zip(["bytes"], pipeline.file_to_inputs(content), strict=True))
        found.append(pipeline.outputs_to_label(model.run(inputs, model.output_names)))
    return [(label, score) for label, score in found]


def test_every_one_has_the_same_signature_labels_and_working_steps(models: dict[str, Any]) -> None:
    card = models["magika"].card
    assert len(card.labels) == 214
    assert (card.licence, card.data_class) == ("Apache-2.0", "health")
    for name in ("magika", "small", "calibrated", "slow"):
        other = models[name].card
        check_card(other)
        assert (other.inputs, other.outputs, other.labels) == (
            card.inputs,
            card.outputs,
            card.labels,
        )
        assert models[name].compared_with == "trainer"
        assert models[name].difference_max < 1e-3
    assert [models[n].card.version for n in ("magika", "calibrated", "slow")] == [1, 2, 3]


def test_the_whole_pipeline_says_what_magika_itself_says(
    models: dict[str, Any], files: list[tuple[bytes, str]]
) -> None:
    itself = magika.magika_itself()
    for (content, _), (label, score) in zip(
        files, answers(models["magika"], models["load"], files), strict=True
    ):
        own = itself.identify_bytes(content).prediction
        if own.dl.label == "undefined":  # too few bytes: magika does not ask its model
            continue
        assert label == own.dl.label
        assert score == pytest.approx(own.score, abs=1e-3)


def test_both_models_know_most_files_they_were_not_trained_on(
    models: dict[str, Any], files: list[tuple[bytes, str]]
) -> None:
    for name, least in (("magika", 0.8), ("small", 0.6)):
        found = answers(models[name], models["load"], files)
        right = sum(a == truth for (a, _), (_, truth) in zip(found, files, strict=True))
        assert right / len(files) > least, name


def test_the_calibrated_release_keeps_labels_and_softens_scores(
    models: dict[str, Any], files: list[tuple[bytes, str]]
) -> None:
    before = answers(models["magika"], models["load"], files)
    after = answers(models["calibrated"], models["load"], files)
    assert [label for label, _ in before] == [label for label, _ in after]
    assert all(b <= a + 1e-5 for (_, a), (_, b) in zip(before, after, strict=True))
    assert any(b < a - 1e-3 for (_, a), (_, b) in zip(before, after, strict=True))


def test_the_slow_release_answers_alike_and_burns_the_time_it_should(
    models: dict[str, Any], files: list[tuple[bytes, str]]
) -> None:
    few = files[:5]
    for (label, score), (own_label, own_score) in zip(
        answers(models["slow"], models["load"], few),
        answers(models["magika"], models["load"], few),
        strict=True,
    ):
        assert label == own_label
        assert score == pytest.approx(own_score, abs=1e-4)
    row = np.zeros((1, 2048), dtype=np.int32)
    took_s = {}
    for name in ("magika", "slow"):
        model = models["load"](models[name].folder / "model.onnx")
        times = []
        for _ in range(5):
            start = time.perf_counter()
            model.run({"bytes": row}, model.output_names)
            times.append(time.perf_counter() - start)
        took_s[name] = min(times)
    assert took_s["slow"] - took_s["magika"] > 0.025  # 60 ms asked for, on a busy machine


def test_the_stand_ins_graph_takes_any_value_without_going_astray(models: dict[str, Any]) -> None:
    model = models["load"](models["small"].folder / "model.onnx")
    wild = np.array([[-(2**31), 2**31 - 1] * 1024], dtype=np.int32)
    scores = model.run({"bytes": wild}, model.output_names)[0]
    assert scores.sum() == pytest.approx(1, abs=1e-4)


def test_training_again_gives_the_same_stand_in() -> None:
    first, again = standin.train(0, 120), standin.train(0, 120)
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()


def test_there_are_enough_files_whose_truth_is_known_and_no_part_sees_the_others() -> None:
    test, train = (list(truth_files(2000, 1, part=part)) for part in ("test", "train"))
    assert len(test) == len(train) == 2000
    assert not {path.parent for path, _ in test} & {path.parent for path, _ in train}
    assert len({label for _, label in test}) > 5
    known = magika.labels()
    assert all(label in known for label in LABEL_OF_SUFFIX.values())
    assert all(part_of(str(path.parent)) == "test" for path, _ in test[:50])
    assert list(truth_files(50, 1)) == list(truth_files(50, 1)) != list(truth_files(50, 2))
