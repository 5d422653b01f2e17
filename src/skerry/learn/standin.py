"""The story's stand-in: a softmax on byte counts, trained on the spot, same signature as magika.

    [n, 2048] bytes -> counts of each byte in head and tail, the first bytes themselves
    -> square root -> linear -> softmax -> [n, 214]

Everything after the bytes is inside the graph, so a client cannot tell which of the two
models answered but by its name. Trained on the `train` half of the truth files only;
kinds that are not among them get a score of (nearly) 0.

Units:   scores are shares, 0 to 1; a run takes well under a millisecond.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.learn import magika
from skerry.learn.checks import Load
from skerry.learn.errors import MissingTrainerError
from skerry.learn.importer import Added, add_trained
from skerry.learn.onnx_file import BATCH_SYMBOL, onnx_library
from skerry.learn.trained import Trained
from skerry.learn.truth import truth_files

Array = NDArray[Any]
Matrix = NDArray[np.float32]

NAME = "magika-small"
TRAIN_FILES = 2000
OPSET, IR_VERSION = 18, 9
_VALUES = 257  # a byte, or the padding
_HALF = magika.WIDTH // 2
_FIRST = 8  # leading bytes that are looked at one by one: where formats put their magic
_ABSENT_SCORE = -30.0
_MAGIC_WEIGHT = 4.0
# Where each of the 2048 positions counts: head, tail, and, apart, each of the first bytes.
_HEAD_AND_TAIL = np.repeat(np.array([0, _VALUES], dtype=np.int64), _HALF)
_ONE_BY_ONE = np.arange(2, 2 + _FIRST, dtype=np.int64) * _VALUES
FEATURES = (2 + _FIRST) * _VALUES


def counts(rows: Array) -> Matrix:
    """Return the features of rows of bytes, (n, 2048) to (n, FEATURES), as the graph does."""
    places = np.concatenate([rows + _HEAD_AND_TAIL, rows[:, :_FIRST] + _ONE_BY_ONE], axis=1)
    found = np.zeros((len(rows), FEATURES), dtype=np.float32)
    weights = np.ones(places.shape[1], dtype=np.float32)
    weights[magika.WIDTH :] = _MAGIC_WEIGHT * _MAGIC_WEIGHT
    for row, place in zip(found, places, strict=True):
        np.add.at(row, place, weights)
    return (np.sqrt(found) / np.float32(8)).astype(np.float32)


def train(seed: int = 0, files: int = TRAIN_FILES) -> tuple[Matrix, Matrix]:
    """Fit weights (FEATURES, 214) and biases (214,) on truth files; the same for a seed."""
    try:
        linear = import_module("sklearn.linear_model")
        threads = import_module("threadpoolctl")
    except ImportError as error:
        raise MissingTrainerError("training the stand-in", "scikit-learn", "learn") from error
    known = magika.labels()
    pairs = list(truth_files(files, seed, part="train"))
    rows = np.stack([magika.features(path.read_bytes()) for path, _ in pairs])
    kinds = np.array([known.index(label) for _, label in pairs])
    with threads.threadpool_limits(1):  # the same sums in the same order, and no spinning
        fitted = linear.LogisticRegression(C=10.0, max_iter=60, tol=1e-3).fit(counts(rows), kinds)
    weights = np.zeros((FEATURES, len(known)), dtype=np.float32)
    biases = np.full(len(known), _ABSENT_SCORE, dtype=np.float32)
    weights[:, fitted.classes_] = fitted.coef_.T
    biases[fitted.classes_] = fitted.intercept_
    return weights, biases


def accuracy(weights: Matrix, biases: Matrix, seed: int = 0, files: int = 500) -> float:
    """Return the share of right labels on truth files of the other part."""
    known = magika.labels()
    pairs = list(truth_files(files, seed))
    rows = np.stack([magika.features(path.read_bytes()) for path, _ in pairs])
    best = (counts(rows) @ weights + biases).argmax(axis=1)
    right = sum(known[int(i)] == label for i, (_, label) in zip(best, pairs, strict=True))
    return right / len(pairs)


def graph(weights: Matrix, biases: Matrix) -> Any:
    """Return the stand-in as an ONNX model."""
    onnx = onnx_library()
    h, types = onnx.helper, onnx.TensorProto
    constants: dict[str, Array] = {
        "halves": _HEAD_AND_TAIL,
        "firsts": _ONE_BY_ONE,
        "zero": np.array([0], dtype=np.int64),
        "first": np.array([_FIRST], dtype=np.int64),
        "one": np.array([1], dtype=np.int64),
        "features": np.array([FEATURES], dtype=np.int64),
        "lowest": np.array(0, dtype=np.int64),
        "highest": np.array(_VALUES - 1, dtype=np.int64),
        "ones": np.concatenate(
            [np.ones(magika.WIDTH), np.full(_FIRST, _MAGIC_WEIGHT * _MAGIC_WEIGHT)]
        ).astype(np.float32)[None],
        "scale": np.array(8, dtype=np.float32),
        "weights": weights,
        "biases": biases,
    }
    nodes = [
        h.make_node("Cast", [magika.INPUT], ["wide"], to=types.INT64),
        h.make_node("Clip", ["wide", "lowest", "highest"], ["values"]),  # no index can go astray
        h.make_node("Add", ["values", "halves"], ["by_half"]),
        h.make_node("Slice", ["values", "zero", "first", "one"], ["leading"]),
        h.make_node("Add", ["leading", "firsts"], ["by_place"]),
        h.make_node("Concat", ["by_half", "by_place"], ["places"], axis=1),
        h.make_node("Shape", [magika.INPUT], ["rows"], start=0, end=1),
        h.make_node("Concat", ["rows", "features"], ["empty_shape"], axis=0),
        h.make_node(
            "ConstantOfShape",
            ["empty_shape"],
            ["empty"],
            value=onnx.numpy_helper.from_array(np.zeros(1, dtype=np.float32)),
        ),
        h.make_node("Shape", ["places"], ["places_shape"]),
        h.make_node("Expand", ["ones", "places_shape"], ["each"]),
        h.make_node(
            "ScatterElements", ["empty", "places", "each"], ["counted"], axis=1, reduction="add"
        ),
        h.make_node("Sqrt", ["counted"], ["rooted"]),
        h.make_node("Div", ["rooted", "scale"], ["scaled"]),
        h.make_node("MatMul", ["scaled", "weights"], ["weighed"]),
        h.make_node("Add", ["weighed", "biases"], ["scores"]),
        h.make_node("Softmax", ["scores"], [magika.OUTPUT], axis=1),
    ]
    body = h.make_graph(
        nodes,
        NAME,
        [h.make_tensor_value_info(magika.INPUT, types.INT32, [BATCH_SYMBOL, magika.WIDTH])],
        [h.make_tensor_value_info(magika.OUTPUT, types.FLOAT, [BATCH_SYMBOL, magika.CLASSES])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = h.make_model(
        body, opset_imports=[h.make_opsetid("", OPSET)], producer_name="skerry.learn.standin"
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def own_scores(weights: Matrix, biases: Matrix) -> Any:
    """Return the trainer's own answer, in numpy, as the reference for the graph."""

    def predict(inputs: Sequence[Array]) -> list[Array]:
        scores = counts(inputs[0]) @ weights + biases
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return [(shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)]

    return predict


def add_standin(
    repository: Path,
    *,
    load: Load,
    number: int = 1,
    seed: int = 0,
    files: int = TRAIN_FILES,
    lock_folder: Path | None = None,
) -> Added:
    """Train the stand-in and add it to a repository; takes seconds."""
    weights, biases = train(seed, files)
    example = [magika.features(path.read_bytes()) for path, _ in truth_files(8, seed)]
    made = Trained(
        model=graph(weights, biases),
        framework=f"scikit-learn {import_module('sklearn').__version__}",
        labels=magika.labels(),
        predict=own_scores(weights, biases),
        example=(np.stack(example),),
    )
    stated = magika.declaration(
        name=NAME,
        number=number,
        summary="Byte counts and a softmax: stands in for magika when that cannot answer",
        source=f"trained here on {files} files of the Python installation, seed {seed}",
        metrics={"accuracy_ratio": accuracy(weights, biases, seed)},
    )
    return add_trained(made, stated, repository, load=load, lock_folder=lock_folder)
