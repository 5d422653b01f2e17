"""Answers that are kept for a while, by data class: off unless a class is named.

An answer is given again only for the same model and version, the same inputs byte for
byte, the same class, wanted outputs and parameters. Whoever gets one has sent the very
content that it belongs to; all the same, how fast an answer comes tells that somebody asked before.
Requests of a sequence, and those that ask for an explanation, always go to the model.

Units:   seconds (monotonic), bytes.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from skerry.route.race import PARAMETER_LOAD
from skerry.schema.oip import (
    HEADER_EXPLAIN_ROUTE,
    PARAMETER_ROUTE,
    InferReply,
    InferRequest,
    Tensor,
)

ENTRY_BYTES: Final = 1024
"""What an entry takes beside its arrays, rounded up."""
_PASSED_OVER: Final = frozenset(("timeout", "priority", HEADER_EXPLAIN_ROUTE))
"""Parameters that change when an answer comes, and not what it is."""
_OF_ONE_TIME: Final = frozenset((PARAMETER_LOAD, PARAMETER_ROUTE))
"""Parameters of an answer that tell of how it came about that time."""
_NEVER: Final = ("sequence", "explain")
Key = tuple[str, str, str, bytes]
"""Model, wanted version, data class, and the digest of all else."""


@dataclass(slots=True)
class _Kept:
    reply: InferReply
    until_s: float
    size_bytes: int


class ResponseCache:
    """Kept answers, least recently used last, within a number of bytes."""

    def __init__(self, kept_s: Mapping[str, float], bytes_max: int) -> None:
        self._kept_s, self._bytes_max = dict(kept_s), bytes_max
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._versions: dict[str, str] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        """Return how many answers are kept."""
        return len(self._kept)

    def key(self, request: InferRequest) -> Key | None:
        """Return what a request's answer is kept under; None if it may not be kept."""
        data_class = request.data_class
        if data_class is None or data_class not in self._kept_s or request.wishes:
            return None
        parameters = [
            (name, value)
            for name, value in sorted(request.parameters.items())
            if name not in _PASSED_OVER
        ]
        if any(name.startswith(_NEVER) for name, _ in parameters):
            return None
        digest = blake2b(digest_size=16)
        digest.update(repr((parameters, request.outputs)).encode())
        for tensor in request.inputs:
            digest.update(repr((tensor.name, tensor.datatype, tensor.shape)).encode())
            _digest_data(digest, tensor.data)
        return request.model, request.version, data_class, digest.digest()

    def find(self, key: Key, request: InferRequest, now_s: float) -> InferReply | None:
        """Return a kept answer, made out to this request; None if there is none."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        current = self._versions.get(kept.reply.model, kept.reply.version)
        if now_s >= kept.until_s or kept.reply.version != current:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        reply = kept.reply
        return InferReply(
            model=reply.model,
            version=reply.version,
            outputs=list(reply.outputs),
            id=request.id,
            parameters=dict(reply.parameters),
        )

    def saw(self, reply: InferReply) -> None:
        """Note the version that a model serves now: answers of another are out of date."""
        self._versions[reply.model] = reply.version

    def keep(self, key: Key, reply: InferReply, now_s: float) -> None:
        """Keep a copy of an answer, unless it is too large or lies elsewhere."""
        if reply.placed or reply.stream is not None:
            return
        size_bytes = ENTRY_BYTES + sum(_size_bytes(tensor.data) for tensor in reply.outputs)
        if size_bytes > self._bytes_max:
            return
        self._drop(key)
        copy = InferReply(
            model=reply.model,
            version=reply.version,
            outputs=[_copy(tensor) for tensor in reply.outputs],
            parameters={
                name: value for name, value in reply.parameters.items() if name not in _OF_ONE_TIME
            },
        )
        self._kept[key] = _Kept(copy, now_s + self._kept_s[key[2]], size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self._bytes_max:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._versions.clear()
        self.size_bytes = 0

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size_bytes -= kept.size_bytes


def _digest_data(digest: "blake2b", data: NDArray[Any]) -> None:
    if data.dtype == np.object_:
        for item in data.reshape(-1):  # each with its length, so that no two lists are alike
            digest.update(len(item).to_bytes(8, "little"))
            digest.update(item)
    else:
        digest.update(np.ascontiguousarray(data).view(np.uint8).reshape(-1).data)


def _size_bytes(data: NDArray[Any]) -> int:
    if data.dtype == np.object_:
        return sum(len(item) + 64 for item in data.reshape(-1))
    return int(data.nbytes)


def _copy(tensor: Tensor) -> Tensor:
    data = tensor.data.copy()
    data.flags.writeable = False
    return Tensor(tensor.name, tensor.datatype, tensor.shape, data)
