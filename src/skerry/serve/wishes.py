"""What clients want of outputs beyond sending them, done at the door on any answer.

An answer may come from this node or another; classification and shared memory are the
door's own business either way.

Errors:  OipError, RegionError.
"""

from collections.abc import Mapping, Sequence

from skerry.schema.oip import InferReply, OutputWish
from skerry.serve.classification import classified
from skerry.serve.shared_memory import Regions


def fulfil(
    reply: InferReply, wishes: Mapping[str, OutputWish], regions: Regions, labels: Sequence[str]
) -> None:
    """Classify the outputs that shall be, and put those into shared memory that shall be there."""
    placed: dict[str, OutputWish] = {}
    for number, tensor in enumerate(reply.outputs):
        wish = wishes.get(tensor.name)
        if wish is None:
            continue
        if wish.classes:
            tensor = reply.outputs[number] = classified(tensor, wish.classes, labels)
        if wish.region:
            placed[tensor.name] = regions.write(wish, tensor)
    if placed:
        reply.placed = placed
