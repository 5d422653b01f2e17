"""The door to scikit-learn and skl2onnx: a fitted estimator to an ONNX graph.

Classifiers keep one output, `probabilities` (n, classes), and their classes become the
labels; everything else keeps what `predict` gives, as a column (n, 1) for a regressor.
Inputs are float32 (n, features).
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from skerry.learn.errors import MissingTrainerError, UnusableModelError
from skerry.learn.trained import Array, Trained

TARGET_OPSET = {"": 18, "ai.onnx.ml": 3}
"""Old enough for every server of the last years, new enough for every converter used here."""
IR_VERSION = 9


def read_estimator(path: Path) -> Trained:
    """Load a pickle or joblib file, which runs the code inside it, and convert it."""
    try:
        joblib = import_module("joblib")
        import_module("sklearn")
    except ImportError as error:
        raise MissingTrainerError("a scikit-learn model", "scikit-learn", "learn") from error
    try:
        estimator = joblib.load(path)
    except Exception as error:  # a pickle can raise anything at all
        reason = f"{type(error).__name__}: {str(error)[:120]}"
        raise UnusableModelError(str(path), f"not loadable ({reason})", "a whole pickle") from error
    return from_estimator(estimator, file=str(path))


def from_estimator(estimator: Any, *, file: str = "the estimator") -> Trained:
    """Convert a fitted estimator or pipeline."""
    try:
        skl2onnx = import_module("skl2onnx")
        types = import_module("skl2onnx.common.data_types")
    except ImportError as error:
        raise MissingTrainerError("converting it", "skl2onnx", "learn") from error
    kind = type(estimator).__name__
    features = getattr(estimator, "n_features_in_", None)
    if not hasattr(estimator, "predict") or not isinstance(features, int):
        raise UnusableModelError(file, f"a {kind}", "a fitted scikit-learn estimator")
    classifies = hasattr(estimator, "predict_proba")
    if not classifies and hasattr(estimator, "classes_"):
        raise UnusableModelError(
            file,
            f"a {kind}, which gives no probabilities",
            "a classifier with predict_proba",
            "wrap it in sklearn.calibration.CalibratedClassifierCV",
        )
    try:
        model = skl2onnx.to_onnx(
            estimator,
            initial_types=[("input", types.FloatTensorType([None, features]))],
            options={"zipmap": False} if classifies else None,
            target_opset=TARGET_OPSET,
        )
    except Exception as error:  # each converter fails in its own way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise UnusableModelError(
            file,
            f"a {kind}, which skl2onnx cannot convert ({reason})",
            "an estimator with a converter",
            "GradientBoostingClassifier or RandomForestClassifier often stand in for it",
        ) from error
    model.ir_version = min(model.ir_version, IR_VERSION)
    kept = next((o for o in model.graph.output if o.name == "probabilities"), model.graph.output[0])
    single = type(kept)()
    single.CopyFrom(kept)
    del model.graph.output[:]
    model.graph.output.append(single)
    return Trained(
        model=model,
        framework=f"scikit-learn {import_module('sklearn').__version__}",
        labels=tuple(map(str, estimator.classes_)) if classifies else (),
        predict=_predict(estimator, classifies=classifies),
    )


def _predict(estimator: Any, *, classifies: bool) -> Any:
    regresses = import_module("sklearn.base").is_regressor(estimator)

    def predict(inputs: Sequence[Array]) -> list[Array]:
        if classifies:
            return [np.asarray(estimator.predict_proba(inputs[0]))]
        found = np.asarray(estimator.predict(inputs[0]))
        return [found[:, None] if regresses and found.ndim == 1 else found]

    return predict
