"""Runs with their tensors' places bound once: copied in, run, copied out (IO binding).

A session that is told its buffers beforehand skips making values of numpy arrays on each
run. That saves a small model a few tenths of a microsecond and costs a large one two
copies, so a profile decides. One run at a time has the buffers; another one that comes
meanwhile, or whose shapes were not seen before the bound was reached, runs plainly.

Shapes:  any set of input shapes; each has its own buffers, at most `SHAPES_MAX` sets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SHAPES_MAX = 8
BYTES_MAX = 16 * 1024**2


@dataclass(slots=True)
class _Places:
    """The buffers of one set of shapes."""

    binding: Any
    inputs: list[tuple[str, Array]]
    outputs: list[Array]


class BoundRuns:
    """Runs a session through bound buffers; called as the session's own `run`."""

    def __init__(
        self,
        session: Any,
        input_names: list[str],
        output_names: list[str],
        run: Callable[[list[str], dict[str, Array], None], list[Array]],
    ) -> None:
        self._session, self._run = session, run
        self._input_names, self._names = input_names, output_names
        self._run_bound = session._sess.run_with_iobinding
        self._free: dict[tuple[Any, ...], _Places] = {}
        self._seen: set[tuple[Any, ...]] = set()

    def __call__(self, outputs: list[str], inputs: dict[str, Array], _: None = None) -> list[Array]:
        """Run once; outputs come in the order asked for and belong to the caller."""
        if outputs != self._names:
            return self._run(outputs, inputs, None)
        try:
            key = tuple([inputs[name].shape for name in self._input_names])
        except KeyError:  # the session says it better
            return self._run(outputs, inputs, None)
        places = self._free.pop(key, None)  # whoever takes them out has them alone
        if places is None:
            found = self._run(outputs, inputs, None)
            if key not in self._seen and len(self._seen) < SHAPES_MAX:
                self._learn(key, inputs, found)
            return found
        try:
            for name, place in places.inputs:
                place[...] = inputs[name]
            self._run_bound(places.binding, None)
            return [place.copy() for place in places.outputs]
        finally:
            self._free[key] = places

    def _learn(self, key: tuple[Any, ...], inputs: dict[str, Array], found: list[Array]) -> None:
        """Make buffers for shapes that came for the first time."""
        self._seen.add(key)
        if sum(array.nbytes for array in (*inputs.values(), *found)) > BYTES_MAX:
            return
        binding = self._session.io_binding()
        places = [(name, np.empty_like(array, order="C")) for name, array in inputs.items()]
        for name, place in places:
            binding.bind_cpu_input(name, place)
        results = [np.empty_like(array, order="C") for array in found]
        for name, place in zip(self._names, results, strict=True):
            binding.bind_output(name, "cpu", 0, place.dtype, place.shape, place.ctypes.data)
        self._free[key] = _Places(binding._iobinding, places, results)
