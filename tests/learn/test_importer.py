"""Bringing a model: real ones are checked against their trainer, bad ones leave no trace."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skerry.base.errors import Exit
from skerry.learn.errors import (
    DeclarationError,
    DisagreesError,
    DuplicateVersionError,
    LearnError,
    PickleError,
    UnusableModelError,
)
from skerry.learn.from_sklearn import from_estimator
from skerry.learn.importer import add_file, add_trained
from skerry.learn.onnx_file import read_bounded
from skerry.learn.trained import Trained, read_trained
from skerry.schema.lock import read_lock
from skerry.schema.model import Card, Manifest

ROWS, KINDS = load_iris(return_X_y=True)
ROWS = ROWS.astype(np.float32)
FOREST = RandomForestClassifier(10, random_state=0).fit(ROWS, KINDS)


def doubler(opset: int = 17, *, rows: Any = "n", operator: str = "Add") -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "x"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def saved(folder: Path, model: onnx.ModelProto, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def left_in(repository: Path) -> list[str]:
    return sorted(str(p.relative_to(repository)) for p in repository.rglob("*"))


def test_an_onnx_file_becomes_a_triton_folder_with_a_true_manifest(
    tmp_path: Path, load: Any, stated: Any
) -> None:
    added = add_file(saved(tmp_path, doubler()), stated(), tmp_path / "models", load=load)
    folder = tmp_path / "models/iris/1"
    assert added.folder == folder
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "manifest.json", "model.onnx"]
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    for member in manifest.members:
        data = (folder / member.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == member.sha256
        assert len(data) == member.length_bytes
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert added.manifest_sha256 == digest
    assert added.compared_with == "itself"
    card = msgspec.json.decode((folder / "card.json").read_bytes(), type=Card)
    assert card == added.card
    assert (card.opset, card.max_batch) == (17, 32)


def test_check_samples_are_what_the_model_gives(tmp_path: Path, load: Any, stated: Any) -> None:
    added = add_file(saved(tmp_path, doubler()), stated(), tmp_path / "models", load=load)
    assert len(added.card.samples) == 3
    for sample in added.card.samples:
        fed = np.frombuffer(sample.inputs[0], np.float32).reshape(sample.input_shapes[0])
        given = np.frombuffer(sample.outputs[0], np.float32).reshape(sample.output_shapes[0])
        assert (given == fed + fed).all()
        assert fed.any()


@pytest.mark.parametrize(
    "estimator",
    [
        FOREST,
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(ROWS, KINDS),
    ],
    ids=["forest", "scaler and logistic"],
)
def test_a_classifier_agrees_with_its_trainer_and_brings_its_labels(
    estimator: Any, tmp_path: Path, load: Any, stated: Any
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(estimator))
    check = tmp_path / "rows.npz"
    np.savez(check, input=ROWS[::10])
    added = add_file(path, stated(), tmp_path / "models", load=load, trust_pickle=True, check=check)
    assert added.compared_with == "trainer"
    assert added.difference_max < 1e-5
    assert added.card.labels == ("0", "1", "2")
    assert [output.name for output in added.card.outputs] == ["probabilities"]
    assert added.card.framework.startswith("scikit-learn 1.")
    assert added.card.max_batch == 32


def test_a_regressor_keeps_its_prediction(tmp_path: Path, load: Any, stated: Any) -> None:
    rows, values = load_diabetes(return_X_y=True)
    trained = from_estimator(LinearRegression().fit(rows, values))
    added = add_trained(trained, stated(tolerance=0.01), tmp_path / "models", load=load)
    assert added.compared_with == "trainer"
    assert added.card.labels == ()


def test_a_model_that_disagrees_with_its_trainer_is_refused(
    tmp_path: Path, load: Any, stated: Any
) -> None:
    wrong = Trained(
        model=doubler(), framework="hand", predict=lambda inputs: [inputs[0] * 2 + np.float32(0.01)]
    )
    with pytest.raises(DisagreesError, match=r"output 'y' differs from the trainer by 0\.01"):
        add_trained(wrong, stated(), tmp_path / "models", load=load)
    assert not (tmp_path / "models").exists()


def test_expected_outputs_may_come_in_the_check_file(
    tmp_path: Path, load: Any, stated: Any
) -> None:
    x = np.ones((4, 2), dtype=np.float32)
    check = tmp_path / "rows.npz"
    path = saved(tmp_path, doubler())
    np.savez(check, x=x, y=x * 2)
    added = add_file(path, stated(), tmp_path / "models", load=load, check=check)
    assert added.compared_with == "expected outputs"
    np.savez(check, x=x, y=x * 3)
    with pytest.raises(DisagreesError, match="the expected outputs"):
        add_file(path, stated(version=2), tmp_path / "models", load=load, check=check)
    assert left_in(tmp_path / "models/iris") == [
        "1",
        "1/card.json",
        "1/manifest.json",
        "1/model.onnx",
    ]


def test_a_model_that_is_random_is_refused(tmp_path: Path, load: Any, stated: Any) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("RandomNormalLike", ["x"], ["noise"]),
            helper.make_node("Add", ["x", "noise"], ["y"]),
        ],
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    with pytest.raises(DisagreesError, match="its own first run"):
        add_file(saved(tmp_path, model), stated(), tmp_path / "models", load=load)


def test_a_batch_is_only_promised_where_rows_do_not_change_each_other(
    tmp_path: Path, load: Any, stated: Any
) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        "centred",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    added = add_file(saved(tmp_path, model), stated(), tmp_path / "models", load=load)
    assert added.card.max_batch == 0
    fixed = saved(tmp_path, doubler(rows=1))
    added = add_file(fixed, stated(version=2), tmp_path / "models", load=load)
    assert added.card.max_batch == 0


def test_a_converter_that_names_axes_apart_still_gives_a_batch_the_engine_sees(
    tmp_path: Path, load: Any, stated: Any
) -> None:
    model = doubler()
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "unk__215"
    added = add_file(saved(tmp_path, model), stated(), tmp_path / "models", load=load)
    assert load(added.folder / "model.onnx").batch_axes is not None


def zipmapped() -> onnx.ModelProto:
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType

    return skl2onnx.to_onnx(FOREST, initial_types=[("x", FloatTensorType([None, 4]))])


def external(model: onnx.ModelProto) -> onnx.ModelProto:
    weight = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    model.graph.initializer.append(weight)
    return model


BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("m.onnx", b"", "0 bytes"),
    "not a model": ("m.onnx", b"\x89PNG\r\n\x1a\n" * 40, "not an ONNX model"),
    "text": ("m.onnx", b"hello world, this is no model", "not an ONNX model"),
    "cut short": ("m.onnx", doubler().SerializeToString()[:-9], "not an ONNX model"),
    "too new": ("m.onnx", doubler(99).SerializeToString(), "does not load|not valid ONNX"),
    "too old": ("m.onnx", doubler(6).SerializeToString(), "opset 6, wanted 7"),
    "unknown operator": (
        "m.onnx",
        doubler(operator="Frobnicate").SerializeToString(),
        "Frobnicate",
    ),
    "weights elsewhere": ("m.onnx", external(doubler()).SerializeToString(), "second file"),
    "zipmap": ("m.onnx", zipmapped().SerializeToString(), "sequence_type|is text"),
    "unknown suffix": ("m.h5", b"\x89HDF", "suffix .h5, wanted one of"),
    "broken pickle": ("m.pkl", b"\x80\x04nonsense", "not loadable"),
    "other pickle": ("m.pkl", pickle.dumps({"weights": [1, 2]}), "a dict, wanted a fitted"),
    "unfitted": ("m.pkl", pickle.dumps(LogisticRegression()), "a LogisticRegression, wanted"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_exits_3_and_leaves_nothing(
    case: str, tmp_path: Path, load: Any, stated: Any
) -> None:
    name, data, said = BAD_FILES[case]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UnusableModelError, match=said) as caught:
        add_file(path, stated(), tmp_path / "models", load=load, trust_pickle=True)
    assert caught.value.exit_code == Exit.FILE_INVALID
    assert str(path) in str(caught.value)
    assert not (tmp_path / "models").exists()


def test_a_missing_and_a_too_large_file_are_refused_before_they_are_read(tmp_path: Path) -> None:
    with pytest.raises(UnusableModelError, match="No such file"):
        read_bounded(tmp_path / "none.onnx")
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(2000)
    with pytest.raises(UnusableModelError, match="2000 bytes, wanted 1 to 1000 bytes"):
        read_bounded(path, 1000)
    with pytest.raises(UnusableModelError, match="not a file"):
        read_bounded(tmp_path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "ran"))


@pytest.mark.parametrize("suffix", [".pkl", ".joblib", ".pt", ".pt2"])
def test_a_pickle_is_not_opened_unless_someone_vouches_for_it(
    suffix: str, tmp_path: Path, load: Any, stated: Any
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "trace")))
    with pytest.raises(PickleError, match="runs the code inside it") as caught:
        add_file(path, stated(), tmp_path / "models", load=load)
    assert caught.value.exit_code == Exit.REFUSED
    assert not (tmp_path / "trace").exists()


class Unheard(BaseEstimator):
    """A fitted estimator that no converter knows."""

    n_features_in_ = 4

    def predict(self, rows: Any) -> Any:
        return rows[:, 0]


def test_an_estimator_without_a_converter_is_refused_with_advice() -> None:
    with pytest.raises(UnusableModelError, match="a Unheard, which skl2onnx cannot") as caught:
        from_estimator(Unheard())
    assert "RandomForest" in caught.value.hint
    with pytest.raises(UnusableModelError, match="a LinearSVC, which gives no probabilities"):
        from_estimator(LinearSVC().fit(ROWS, KINDS))


def test_clusters_keep_their_number_alone(tmp_path: Path, load: Any, stated: Any) -> None:
    trained = from_estimator(KMeans(3, n_init=1, random_state=0).fit(ROWS))
    added = add_trained(trained, stated(), tmp_path / "models", load=load)
    assert [output.name for output in added.card.outputs] == ["label"]


def test_a_version_never_changes_its_bytes_but_may_be_added_again(
    tmp_path: Path, load: Any, stated: Any
) -> None:
    path, models = saved(tmp_path, doubler()), tmp_path / "models"
    first = add_file(path, stated(), models, load=load, lock_folder=tmp_path)
    again = add_file(path, stated(), models, load=load, lock_folder=tmp_path)
    assert again.manifest_sha256 == first.manifest_sha256
    before = left_in(models)
    other = saved(tmp_path, doubler(operator="Sub"), "other.onnx")
    with pytest.raises(DuplicateVersionError, match="iris version 1 is there") as caught:
        add_file(other, stated(), models, load=load, lock_folder=tmp_path)
    assert "--version 2" in caught.value.hint
    assert left_in(models) == before
    assert read_lock(tmp_path).manifest_sha256("iris", 1) == first.manifest_sha256


def test_a_version_pinned_to_other_bytes_is_refused_and_nothing_is_written(
    tmp_path: Path, load: Any, stated: Any
) -> None:
    (tmp_path / "fleet.lock").write_text(
        '{"schema": "skerry.lock/1", "models": {"iris": {"1": "%s"}}}' % ("0" * 64)
    )
    with pytest.raises(Exception, match="locked to other bytes"):
        add_file(
            saved(tmp_path, doubler()), stated(), tmp_path / "m", load=load, lock_folder=tmp_path
        )
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"z": np.ones((1, 2))}, "z, wanted an array named x"),
        ({"x": np.ones((0, 2))}, "an empty input"),
        ({"x": np.array([{"a": 1}], dtype=object)}, "unreadable"),
    ],
)
def test_a_check_file_that_does_not_fit_is_named(
    arrays: dict[str, Any], said: str, tmp_path: Path, load: Any, stated: Any
) -> None:
    check = tmp_path / "rows.npz"
    np.savez(check, **arrays)
    with pytest.raises(DeclarationError, match=said):
        add_file(saved(tmp_path, doubler()), stated(), tmp_path / "m", load=load, check=check)


def test_inputs_that_the_model_cannot_take_say_to_bring_better_ones(
    tmp_path: Path, load: Any, stated: Any
) -> None:
    check = tmp_path / "rows.npz"
    np.savez(check, x=np.ones((1, 5), dtype=np.float32))
    with pytest.raises(UnusableModelError, match="does not run") as caught:
        add_file(saved(tmp_path, doubler()), stated(), tmp_path / "m", load=load, check=check)
    assert "--check" in caught.value.hint
    assert isinstance(caught.value, LearnError)


def test_a_pytorch_module_agrees_with_its_trainer(tmp_path: Path, load: Any, stated: Any) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    torch.save(module, tmp_path / "model.pt")
    check = tmp_path / "rows.npz"
    np.savez(check, rows=ROWS[:8])
    added = add_file(
        tmp_path / "model.pt",
        stated(),
        tmp_path / "models",
        load=load,
        trust_pickle=True,
        check=check,
    )
    assert added.compared_with == "trainer"
    assert added.difference_max < 1e-5
    assert added.card.max_batch == 32


def test_without_pytorch_a_pytorch_file_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    path = tmp_path / "model.pt2"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(LearnError, match="needs torch") as caught:
        read_trained(path, trust_pickle=True)
    assert caught.value.hint == "pip install 'skerry[torch]'"
