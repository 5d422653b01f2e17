"""A model's state is found where its names leave no doubt, and stated where they do."""

from pathlib import Path
from typing import Any

import pytest

from skerry.schema.model import Card, StatePair, TensorSpec
from skerry.serve.errors import ModelFileError
from skerry.serve.states import check_states, state_pairs


def specs(**shapes: Any) -> list[TensorSpec]:
    return [TensorSpec(name=name, datatype="FP32", shape=shape) for name, shape in shapes.items()]


def found(inputs: list[TensorSpec], outputs: list[TensorSpec]) -> dict[str, str]:
    return {pair.input: pair.output for pair in state_pairs(None, inputs, outputs)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("state", "stateN"),
        ("h", "hn"),
        ("h0", "hn"),
        ("c_in", "c_out"),
        ("hidden_state", "new_hidden_state"),
        ("lstm_h_0", "lstm_h_n"),
        ("prev_memory", "next_memory"),
        ("state_1", "state_1_out"),
    ],
)
def test_names_of_state_that_belong_together_are_found(before: str, after: str) -> None:
    inputs = specs(x=(-1, 4), **{before: (2, -1, 8)})
    assert found(inputs, specs(y=(-1, 1), **{after: (-1, -1, -1)})) == {before: after}


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"in_FP32": (-1, 2), "z": (1,)}, {"out_FP32": (-1, 2), "y": (1,)}),  # no word for state
        ({"x": (1,), "state": (1, 2)}, {"y": (1,), "stateN": (1, 3)}),  # other shapes
        (
            {"x": (1,), "h": (1, 2)},
            {"y": (1,), "hn": (1, 2), "h_out": (1, 2)},
        ),  # two could be meant
        ({"state": (1, 2)}, {"y": (1,), "stateN": (1, 2)}),  # nothing is left for data
        ({"x": (1,), "state": (-1, -1)}, {"y": (1,), "stateN": (-1, -1)}),  # zeros of which size?
        ({"x": (1,), "y0": (1, 2)}, {"yn": (1, 2), "z": (1,)}),
    ],
)
def test_what_could_be_meant_otherwise_is_not_found(inputs: Any, outputs: Any) -> None:
    assert found(specs(**inputs), specs(**outputs)) == {}


def carded(models: Any, tmp_path: Path, *pairs: tuple[str, str]) -> Card:
    folder = tmp_path / "m" / "1"
    folder.mkdir(parents=True)
    state = tuple(StatePair(input=before, output=after) for before, after in pairs)
    card: Card = models.card(folder, state=state)
    return card


def test_a_card_s_word_is_taken_over_any_name(models: Any, tmp_path: Path) -> None:
    card = carded(models, tmp_path, ("a", "b"))
    inputs, outputs = specs(x=(1,), a=(1, 2), state=(1,)), specs(y=(1,), b=(1, 2), stateN=(1,))
    check_states(card, inputs, outputs, tmp_path)
    assert state_pairs(card, inputs, outputs) == (StatePair(input="a", output="b"),)


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ([("a", "nobody")], "no input and output"),
        ([("a", "y")], "other shape"),
        ([("free", "y2")], "no zeros to start from"),
        ([("a", "b"), ("a", "b")], "names one twice"),
        ([("a", "b"), ("x", "y"), ("free2", "y2")], "no input for data"),
    ],
)
def test_a_card_that_states_what_cannot_be_is_refused(
    models: Any, tmp_path: Path, pairs: Any, why: str
) -> None:
    inputs = specs(x=(1,), a=(1, 2), free=(-1, -1))
    outputs = specs(y=(1,), b=(1, 2), y2=(-1, -1))
    if why == "no input for data":
        inputs[2], outputs[2] = specs(free2=(-1, 2), y2=(-1, 2))
    with pytest.raises(ModelFileError, match=why):
        check_states(carded(models, tmp_path, *pairs), inputs, outputs, tmp_path)
