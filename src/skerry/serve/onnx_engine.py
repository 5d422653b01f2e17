"""The one door to ONNX Runtime: a model file in, runs out.

One thread per run and no spinning: a node runs one process per core, and a spinning
second thread doubles the cost of a request when that core has work of its own. What
`EngineSettings` changes of that comes from a model's settings or its profile.

A run goes to the session that ONNX Runtime's Python class wraps: the class checks names
and types again that were checked at the door, which costs a small model a fifth of its
run. Where that private name is absent or takes other arguments, the class itself runs.

Shapes:  inputs and outputs as the model declares them, -1 where an axis is free.
Errors:  ModelFileError for a file that cannot be served, ModelRunError for a failed run.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from skerry.schema.model import TensorSpec
from skerry.schema.oip import DATATYPES
from skerry.schema.profile import Machine
from skerry.serve import providers
from skerry.serve.batch_axes import BatchAxes, axes_of_symbols
from skerry.serve.bfloat16 import run_as_values
from skerry.serve.bound_runs import BoundRuns
from skerry.serve.errors import MismatchError, ModelFileError, ModelRunError

Array = NDArray[Any]
Run = Callable[[list[str], dict[str, Array], None], list[Array]]

_WARM_RUNS = 5
_WARM_S = 0.002  # of short runs there are more, so that one busy moment hides no best
_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How a session is made; the defaults suit most models on one core."""

    providers: tuple[str, ...] = ()
    """Execution providers by preference; none takes what the machine has."""
    threads: int = 1
    arena: bool = False
    """Keep freed memory for the next run. It keeps the largest batch's for ever (24 MB for
    a 3 MB model) and makes few models faster."""
    io_binding: bool = False
    batch_axes: BatchAxes | None = None
    """Which axes count items, found by trial, for a model whose symbols do not say."""


class OnnxModel:
    """One loaded model file."""

    def __init__(self, name: str, path: Path, settings: EngineSettings = EngineSettings()) -> None:
        """Load the file; takes from a millisecond to minutes, so not on an event loop."""
        if not path.is_file():
            raise ModelFileError(str(path), "there is no such file")
        self.name = name
        self.settings = settings
        self._session, self.left_out = _session(path, settings)
        self.providers = tuple(map(providers.short_name, self._session.get_providers()))
        """What really runs it, by preference."""
        self.inputs = tuple(_spec(path, entry) for entry in self._session.get_inputs())
        self.outputs = tuple(_spec(path, entry) for entry in self._session.get_outputs())
        self.output_names = [spec.name for spec in self.outputs]
        input_shapes = [entry.shape for entry in self._session.get_inputs()]
        output_shapes = [entry.shape for entry in self._session.get_outputs()]
        self.batch_axes = axes_of_symbols(input_shapes, output_shapes) or settings.batch_axes
        datatypes = {spec.datatype for spec in (*self.inputs, *self.outputs)}
        self._bf16 = "BF16" in datatypes
        self._translated = self._bf16 or "BYTES" in datatypes
        if self._bf16 and any(spec.datatype == "BYTES" for spec in self.inputs):
            raise ModelFileError(str(path), "ONNX Runtime takes no text beside bfloat16 tensors")
        self._call: Run = self._inner_run()
        foretold = _shapes_foretold(input_shapes, output_shapes) and not self._translated
        if settings.io_binding and foretold and self.providers == ("cpu",):
            self._call = BoundRuns(
                self._session, [spec.name for spec in self.inputs], self.output_names, self._call
            )

    def run(self, inputs: dict[str, Array], outputs: list[str]) -> list[Array]:
        """Run once; BYTES tensors are object arrays of `bytes` on both sides."""
        if self._translated:
            return self._run_translated(inputs, outputs)
        try:
            return self._call(outputs, inputs, None)
        except Exception as error:  # as above
            return self._run_again(error, inputs, outputs)

    def _inner_run(self) -> Run:
        inner = getattr(getattr(self._session, "_sess", None), "run", None)
        run: Run = inner if callable(inner) else self._session.run
        return run

    def _run_again(
        self, error: Exception, inputs: dict[str, Array], outputs: list[str]
    ) -> list[Array]:
        """Go through the public door where the private one takes other arguments."""
        if isinstance(error, TypeError) and self._call != self._session.run:
            self._call = self._session.run
            return self.run(inputs, outputs)
        raise ModelRunError(self.name, _first_line(error)) from error

    def _run_translated(self, inputs: dict[str, Array], outputs: list[str]) -> list[Array]:
        """Run where a tensor is text or BF16, which numpy and ONNX Runtime hold otherwise."""
        for spec in self.inputs:
            if spec.datatype == "BYTES":
                inputs = {**inputs, spec.name: self._texts(spec.name, inputs[spec.name])}
        try:
            if self._bf16:
                specs = (*self.inputs, *self.outputs)
                found = run_as_values(self._session, inputs, outputs, specs)
            else:
                found = self._session.run(outputs, inputs)
        except Exception as error:  # as above
            raise ModelRunError(self.name, _first_line(error)) from error
        return [_bytes(array) if array.dtype.kind == "O" else array for array in found]

    def warm(self, inputs: dict[str, Array] | None = None) -> float:
        """Run some inputs, or zeros, until caches are filled; return the best run's seconds.

        A model that cannot run on zeros (a lookup, a reshape) is measured by its first
        real request instead: 0 is returned.
        """
        fed = self.zeros() if inputs is None else inputs
        best_s = float("inf")
        runs, end_s = 0, time.perf_counter() + _WARM_S
        while runs < _WARM_RUNS or time.perf_counter() < end_s:
            runs += 1
            start_s = time.perf_counter()
            try:
                self.run(fed, self.output_names)
            except ModelRunError:
                return 0.0
            best_s = min(best_s, time.perf_counter() - start_s)
        return best_s

    def zeros(self, items: int = 1) -> dict[str, Array]:
        """Return a batch of zeros; free axes that count no items are 1 long."""
        axes = self.batch_axes.inputs if self.batch_axes else (-1,) * len(self.inputs)
        return {
            spec.name: zeros(
                spec,
                [
                    items if place == axis else 1 if length < 0 else length
                    for place, length in enumerate(spec.shape)
                ],
            )
            for spec, axis in zip(self.inputs, axes, strict=True)
        }

    @property
    def is_bound(self) -> bool:
        """Whether runs go through bound buffers, as was asked for."""
        return isinstance(self._call, BoundRuns)

    def _texts(self, name: str, data: Array) -> Array:
        """ONNX strings are UTF-8 text, so other bytes stop here."""
        texts = np.empty(data.size, dtype=np.object_)
        try:
            texts[:] = [element.decode() for element in data.flat]
        except UnicodeDecodeError as error:
            raise MismatchError(
                self.name, f"input {name}", "not UTF-8", "text, as ONNX strings are"
            ) from error
        return texts.reshape(data.shape)


def offered_providers() -> list[str]:
    """Return the execution providers that the installed ONNX Runtime was built with."""
    return list(ort.get_available_providers())


def this_machine() -> Machine:
    """Return what a profile must have been measured on to hold here."""
    return Machine.here(ort.__version__)


def _session(
    path: Path, settings: EngineSettings
) -> tuple[ort.InferenceSession, tuple[providers.LeftOut, ...]]:
    """Make a session; where an accelerator cannot take the model, the CPU alone does."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = settings.arena
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4  # what fails is raised; nothing is printed beside it
    choice = providers.choose(settings.providers, offered_providers())
    if any(name == providers.KNOWN["directml"] for name, _ in choice.providers):
        options.enable_mem_pattern = False  # that provider asks for it
    refused: tuple[providers.LeftOut, ...] = ()
    while True:
        try:
            session = ort.InferenceSession(
                str(path), options, providers=list(choice.providers), enable_fallback=0
            )
        except Exception as error:  # each kind of ONNX Runtime's errors is its own class
            if len(choice.providers) == 1:
                raise ModelFileError(str(path), _first_line(error)) from error
            first, rest = choice.providers[0][0], choice.providers[1:]
            refused += (providers.LeftOut(providers.short_name(first), _first_line(error)),)
            choice = providers.Choice(rest, choice.left_out)
            continue
        return session, (*providers.unused(choice, session.get_providers()), *refused)


def _shapes_foretold(inputs: Sequence[Sequence[Any]], outputs: Sequence[Sequence[Any]]) -> bool:
    """Say whether the inputs' shapes decide the outputs': all symbols are named among them."""
    known = {axis for shape in inputs for axis in shape if isinstance(axis, str)}
    return all(isinstance(axis, int) or axis in known for shape in outputs for axis in shape)


def _spec(path: Path, entry: Any) -> TensorSpec:
    datatype = _DATATYPES.get(entry.type)
    if datatype is None:
        raise ModelFileError(str(path), f"{entry.name} is a {entry.type}, which OIP cannot carry")
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in entry.shape)
    return TensorSpec(name=entry.name, datatype=datatype, shape=shape)


def zeros(spec: TensorSpec, shape: Sequence[int]) -> Array:
    """Return zeros, or empty texts, of an input's type."""
    if spec.datatype == "BYTES":
        return np.full(shape, b"", dtype=np.object_)
    return np.zeros(shape, dtype=DATATYPES[spec.datatype])


def _bytes(texts: Array) -> Array:
    data = np.empty(texts.size, dtype=np.object_)
    data[:] = [text.encode() for text in texts.flat]
    return data.reshape(texts.shape)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
