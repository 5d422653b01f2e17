"""Which inputs and outputs of a model are its state: stated in its card, or unmistakable.

A pair is found by itself only if its names say state (`state`, `h`, `c`, `hidden`, `cell`,
`memory`, with a number or a kind of network before or after) and next to each
other (`stateN`, `new_h`, `c_out` for `state`, `h`, `c_in`), its shapes and datatypes agree,
no other output could be meant, and something is left that is no state.

Errors:  ModelFileError, where a card states a pair that the model does not have.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from skerry.schema.model import Card, StatePair, TensorSpec
from skerry.serve.errors import ModelFileError

_STATE = re.compile(
    r"((lstm|gru|rnn|conv|attn|encoder|decoder|hidden|cell)_?)*"
    r"(state|hidden|cell|memory|h|c)(_?\d+)?"
)
_BEFORE = re.compile(r"^(in|prev|old|initial|init)_|_(in|prev|old)$|_?0$")
_AFTER = re.compile(r"^(out|new|next|present)_|_?(out|new|next|n)$")


def state_pairs(
    card: Card | None, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[StatePair, ...]:
    """Return a model's state pairs; empty where it has no state, or none that is sure."""
    if card is not None and card.state:
        return card.state
    pairs: list[StatePair] = []
    for before in inputs:
        roots = {before.name.lower(), _BEFORE.sub("", before.name.lower())}
        found = [after for after in outputs if _follows(after.name, roots) and _fits(before, after)]
        if len(found) == 1 and _free(before) <= 1:
            pairs.append(StatePair(input=before.name, output=found[0].name))
    taken = [pair.output for pair in pairs]
    sure = len(set(taken)) == len(taken) and len(pairs) < len(inputs) and len(pairs) < len(outputs)
    return tuple(pairs) if sure else ()


def check_states(
    card: Card, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], folder: Path
) -> None:
    """Refuse a card whose state pairs cannot be kept between requests."""
    by_input = {spec.name: spec for spec in inputs}
    by_output = {spec.name: spec for spec in outputs}
    for pair in card.state:
        before, after = by_input.get(pair.input), by_output.get(pair.output)
        what = f"its card's state {pair.input} -> {pair.output}"
        if before is None or after is None:
            raise ModelFileError(str(folder), f"{what} names no input and output of the model")
        if not _fits(before, after):
            raise ModelFileError(str(folder), f"{what} joins two of other shape or datatype")
        if before.datatype == "BYTES" or _free(before) > 1:
            raise ModelFileError(
                str(folder), f"{what} has no zeros to start from: numbers, one free axis at most"
            )
    names = [pair.input for pair in card.state], [pair.output for pair in card.state]
    if any(len(set(side)) != len(side) for side in names):
        raise ModelFileError(str(folder), "its card's state names one twice")
    if card.state and len(card.state) == len(inputs):
        raise ModelFileError(str(folder), "its card's state leaves no input for data")


def _follows(name: str, roots: set[str]) -> bool:
    root = _AFTER.sub("", name.lower(), count=1)
    return root != name.lower() and root in roots and _STATE.fullmatch(root) is not None


def _fits(before: TensorSpec, after: TensorSpec) -> bool:
    return (
        before.datatype == after.datatype
        and len(before.shape) == len(after.shape)
        and all(a == b or -1 in (a, b) for a, b in zip(before.shape, after.shape, strict=True))
    )


def _free(spec: TensorSpec) -> int:
    return sum(axis < 0 for axis in spec.shape)
