"""The story's two releases of magika: one that may stay and one that must not.

`calibrated` keeps every label and softens the scores by a temperature, so that a score
means what it says. `slow` gives the same answers as the model it is made from, passes
every check sample, and burns about 150 ms of processor time on the way: only a gate
that watches it serve can tell.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.learn import magika
from skerry.learn.checks import Load
from skerry.learn.importer import Added, add_trained
from skerry.learn.onnx_file import onnx_library
from skerry.learn.store import staged, write_model
from skerry.learn.trained import Trained

Array = NDArray[Any]

TEMPERATURE = 1.2
BURN_MS = 150.0
_SIDE = 192
_TRIAL_TURNS = 40


def calibrated_model(model: Any, temperature: float = TEMPERATURE) -> Any:
    """Return a copy of a classifier with `p ** (1 / temperature)`, normalised, as its scores."""
    onnx = onnx_library()
    h = onnx.helper
    changed, inner = _with_inner_output(model)
    changed.graph.initializer.append(_constant("skerry_power", np.float32(1 / temperature)))
    changed.graph.initializer.append(_constant("skerry_axis", np.array([1], dtype=np.int64)))
    changed.graph.node.extend(
        [
            h.make_node("Pow", [inner, "skerry_power"], ["skerry_soft"]),
            # Opset 13 and newer take the axes as an input; magika is of 15.
            h.make_node("ReduceSum", ["skerry_soft", "skerry_axis"], ["skerry_sum"], keepdims=1),
            h.make_node("Div", ["skerry_soft", "skerry_sum"], [magika.OUTPUT]),
        ]
    )
    onnx.checker.check_model(changed)
    return changed


def slow_model(model: Any, turns: int) -> Any:
    """Return a copy of a classifier that multiplies matrices `turns` times before it answers."""
    onnx = onnx_library()
    h, types = onnx.helper, onnx.TensorProto
    changed, inner = _with_inner_output(model)
    turn = np.roll(np.eye(_SIDE, dtype=np.float32), 1, axis=1)  # a permutation: values stay bounded
    body = h.make_graph(
        [
            h.make_node("Identity", ["go_on"], ["still"]),
            h.make_node("MatMul", ["before", "skerry_turn"], ["after"]),
        ],
        "burn",
        [
            h.make_tensor_value_info("turn", types.INT64, []),
            h.make_tensor_value_info("go_on", types.BOOL, []),
            h.make_tensor_value_info("before", types.FLOAT, [_SIDE, _SIDE]),
        ],
        [
            h.make_tensor_value_info("still", types.BOOL, []),
            h.make_tensor_value_info("after", types.FLOAT, [_SIDE, _SIDE]),
        ],
    )
    changed.graph.initializer.extend(
        [
            _constant("skerry_turn", turn),
            _constant("skerry_turns", np.array(turns, dtype=np.int64)),
            _constant("skerry_yes", np.array(True)),
            _constant("skerry_square", np.ones((_SIDE, _SIDE), dtype=np.float32)),
        ]
    )
    changed.graph.node.extend(
        [
            # Starts from the scores, so that no optimiser can work it out beforehand.
            h.make_node("ReduceMax", [inner], ["skerry_top"], keepdims=0),
            h.make_node("Mul", ["skerry_square", "skerry_top"], ["skerry_start"]),
            h.make_node(
                "Loop", ["skerry_turns", "skerry_yes", "skerry_start"], ["skerry_end"], body=body
            ),
            h.make_node("ReduceMax", ["skerry_end"], ["skerry_last"], keepdims=0),
            h.make_node("Sub", ["skerry_last", "skerry_top"], ["skerry_nothing"]),
            h.make_node("Add", [inner, "skerry_nothing"], [magika.OUTPUT]),
        ]
    )
    onnx.checker.check_model(changed)
    return changed


def turns_for(burn_ms: float, model: Any, repository: Path, load: Load) -> int:
    """Return how many turns take about `burn_ms` on this machine, by trying a few."""
    row = np.zeros((1, magika.WIDTH), dtype=np.int32)
    with staged(repository, magika.NAME) as folder:
        times_s = []
        for turns in (0, _TRIAL_TURNS):
            loaded = load(write_model(folder, slow_model(model, turns).SerializeToString()))
            times_s.append(min(_timed_s(loaded, row) for _ in range(5)))
    per_turn_s = max((times_s[1] - times_s[0]) / _TRIAL_TURNS, 1e-6)
    return max(1, round(burn_ms / 1000 / per_turn_s))


def add_calibrated(
    repository: Path, *, load: Load, number: int = 2, lock_folder: Path | None = None
) -> Added:
    """Add the release that may stay."""
    made = magika.trained()

    def predict(inputs: Any) -> list[Array]:
        soft = magika.own_scores(inputs)[0] ** np.float32(1 / TEMPERATURE)
        return [soft / soft.sum(axis=1, keepdims=True)]

    return add_trained(
        Trained(
            model=calibrated_model(made.model),
            framework=made.framework,
            labels=made.labels,
            predict=predict,
            example=made.example,
        ),
        magika.declaration(
            number=number, summary=f"magika with scores softened by a temperature of {TEMPERATURE}"
        ),
        repository,
        load=load,
        lock_folder=lock_folder,
    )


def add_slow(
    repository: Path,
    *,
    load: Load,
    number: int = 3,
    burn_ms: float = BURN_MS,
    lock_folder: Path | None = None,
) -> Added:
    """Add the release that must not stay."""
    made = magika.trained()
    turns = turns_for(burn_ms, made.model, repository, load)
    return add_trained(
        Trained(
            model=slow_model(made.model, turns),
            framework=made.framework,
            labels=made.labels,
            predict=made.predict,
            example=made.example,
        ),
        magika.declaration(number=number, summary="magika, said to be improved"),
        repository,
        load=load,
        lock_folder=lock_folder,
    )


def _with_inner_output(model: Any) -> tuple[Any, str]:
    """Copy a model and rename what its output node gives, so that more can follow it."""
    changed = onnx_library().ModelProto()
    changed.CopyFrom(model)
    inner = "skerry_inner"
    for node in changed.graph.node:
        for index, name in enumerate(node.output):
            if name == magika.OUTPUT:
                node.output[index] = inner
    return changed, inner


def _constant(name: str, value: Any) -> Any:
    return onnx_library().numpy_helper.from_array(np.asarray(value), name)


def _timed_s(loaded: Any, row: Array) -> float:
    """Return one run's processor time: a busy machine must not make the burn look longer."""
    start_s = time.thread_time()
    loaded.run({magika.INPUT: row}, loaded.output_names)
    return time.thread_time() - start_s
