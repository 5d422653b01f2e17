"""Checks of a model that is about to be added: it runs, agrees, repeats itself, batches.

The engine comes in as a callable, so that what is checked here is what will serve.

Units:   differences are absolute, in the output's own unit.
Errors:  UnusableModelError where it does not run; DisagreesError where it differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import SkerryError
from skerry.learn.errors import DeclarationError, DisagreesError, UnusableModelError
from skerry.schema.model import CheckSample, TensorSpec
from skerry.schema.oip import DATATYPES

Array = NDArray[Any]

BATCH_MAX = 32
"""The largest batch that is tried, and so the largest that a card allows."""
ROWS = 8
SAMPLES_MAX = 3
SAMPLE_BYTES_MAX = 4 * 1024**2
_SEED = 20_260
_WHOLE_NUMBERS_BELOW = 128  # fits INT8, and is a byte to models that read bytes


class Loaded(Protocol):
    """A model that an engine has loaded."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    output_names: list[str]

    def run(self, inputs: dict[str, Array], outputs: list[str]) -> list[Array]:
        """Run once."""
        ...


Load = Callable[[Path], Loaded]
"""Loads a model file with the engine that will serve it."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One loaded model with the inputs that it is checked on."""

    file: str
    loaded: Loaded
    inputs: tuple[Array, ...]

    def run(self, inputs: Sequence[Array] | None = None) -> list[Array]:
        """Run the model; its failure is a fault of the file."""
        chosen = self.inputs if inputs is None else inputs
        named = {s.name: a for s, a in zip(self.loaded.inputs, chosen, strict=True)}
        try:
            return self.loaded.run(named, self.loaded.output_names)
        except SkerryError as error:
            raise UnusableModelError(
                self.file,
                f"does not run ({error})",
                "a model that runs on its check inputs",
                "give inputs that suit it with --check",
            ) from error

    def max_batch(self, outputs: Sequence[Array], tolerance: float) -> int:
        """Return `BATCH_MAX` if rows may share a run without changing each other, else 0."""
        if any(array.ndim == 0 or len(array) != len(self.inputs[0]) for array in outputs):
            return 0
        rows = len(self.inputs[0])
        repeats = -(-BATCH_MAX // rows)
        full = [np.concatenate([array] * repeats)[:BATCH_MAX] for array in self.inputs]
        try:
            together = self.run(full)
            alone = self.run([array[:1] for array in full])
        except UnusableModelError:
            return 0
        wanted = [np.concatenate([array] * repeats)[:BATCH_MAX] for array in outputs]
        pairs = [*zip(together, wanted, strict=True)]
        pairs += [(one, array[:1]) for one, array in zip(alone, wanted, strict=True)]
        same = all(difference(found, expected) <= tolerance for found, expected in pairs)
        return BATCH_MAX if same else 0


def difference(found: Array, wanted: Array) -> float:
    """Return the largest absolute difference; infinite where shapes or gaps differ."""
    if found.shape != wanted.shape:
        return float("inf")
    if found.size == 0:
        return 0.0
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    if (np.isnan(a) != np.isnan(b)).any():
        return float("inf")
    gaps = np.abs(np.where(a == b, 0.0, a - b))  # equal infinities differ by nothing
    return float(np.nanmax(gaps, initial=0.0))


def compare(
    names: Sequence[str],
    found: Sequence[Array],
    wanted: Sequence[Array],
    *,
    tolerance: float,
    reference: str,
) -> float:
    """Return the largest difference over all outputs; raises where one is above the tolerance."""
    if not len(names) == len(found) == len(wanted):
        raise DisagreesError(", ".join(names), float("inf"), tolerance, reference)
    worst = 0.0
    for name, a, b in zip(names, found, wanted, strict=True):
        gap = difference(a, b)
        if gap > tolerance:
            raise DisagreesError(name, gap, tolerance, reference)
        worst = max(worst, gap)
    return worst


def made_inputs(specs: Sequence[TensorSpec], *, free_rows: bool) -> tuple[Array, ...]:
    """Make seeded inputs for a model that brought none; free axes beyond the first are 1."""
    chance = np.random.default_rng(_SEED)
    made = []
    for spec in specs:
        shape = [1 if length < 0 else length for length in spec.shape]
        if free_rows and shape:
            shape[0] = ROWS
        kind = DATATYPES[spec.datatype]
        if kind.kind == "O":
            raise DeclarationError("--check", "nothing", f"texts for the input {spec.name!r}")
        if kind.kind == "f":
            made.append(chance.standard_normal(shape).astype(kind))
        else:
            top = 2 if kind.kind == "b" else _WHOLE_NUMBERS_BELOW
            made.append(chance.integers(0, top, shape).astype(kind))
    return tuple(made)


def read_check(
    path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[tuple[Array, ...], list[Array] | None]:
    """Read `--check`: an npz with an array per input by name, and one per output if known."""
    arrays = read_arrays(path)
    missing = [spec.name for spec in inputs if spec.name not in arrays]
    if missing:
        found = ", ".join(arrays) or "no array"
        raise DeclarationError(str(path), found, "an array named " + ", ".join(missing))
    fed = tuple(arrays[s.name].astype(DATATYPES[s.datatype], copy=False) for s in inputs)
    known = [arrays[spec.name] for spec in outputs if spec.name in arrays]
    if known and len(known) != len(outputs):
        raise DeclarationError(str(path), f"{len(known)} outputs", f"none or all {len(outputs)}")
    return fed, known or None


def read_arrays(path: Path) -> dict[str, Array]:
    """Read an npz file without running anything inside it."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise DeclarationError(str(path), f"unreadable ({error})", "an npz of arrays") from error


def samples(
    inputs: Sequence[Array], outputs: Sequence[Array], *, by_row: bool
) -> tuple[CheckSample, ...]:
    """Return what a node repeats before it serves: single rows where the model takes rows."""
    rows = range(min(SAMPLES_MAX, len(inputs[0]))) if by_row else range(1)
    made: list[CheckSample] = []
    used_bytes = 0
    for row in rows:
        fed = [array[row : row + 1] if by_row else array for array in inputs]
        given = [array[row : row + 1] if by_row else array for array in outputs]
        used_bytes += sum(array.nbytes for array in (*fed, *given))
        if made and used_bytes > SAMPLE_BYTES_MAX:
            break
        made.append(
            CheckSample(
                inputs=tuple(map(_raw, fed)),
                input_shapes=tuple(array.shape for array in fed),
                outputs=tuple(map(_raw, given)),
                output_shapes=tuple(array.shape for array in given),
            )
        )
    return tuple(made)


def _raw(array: Array) -> bytes:
    little = array.dtype.newbyteorder("<")
    return np.ascontiguousarray(array.astype(little, copy=False)).tobytes()
