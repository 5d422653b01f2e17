"""The door to PyTorch: a saved module or exported program to one ONNX file.

`.pt2` is a program saved by `torch.export.save` and brings its example inputs; `.pt` and
`.pth` must hold a whole `nn.Module`, and need example inputs from `--check`. The
exporter that is used keeps the weights inside the file.
"""

import contextlib
import io
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from skerry.learn.errors import DeclarationError, MissingTrainerError, UnusableModelError
from skerry.learn.onnx_file import parse, read_bounded
from skerry.learn.trained import Array, Trained

OPSET = 18


def read_module(path: Path, example: Sequence[Array]) -> Trained:
    """Load a file, which runs the code inside it, and convert it."""
    try:
        torch = import_module("torch")
        import_module("onnxscript")
    except ImportError as error:
        raise MissingTrainerError("a PyTorch model", "torch with onnxscript", "torch") from error
    try:
        if path.suffix.lower() == ".pt2":
            program = torch.export.load(path)
            example = [tensor.numpy() for tensor in program.example_inputs[0]]
            return from_module(program.module(), example, file=str(path))
        module = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle can raise anything at all
        reason = f"{type(error).__name__}: {str(error)[:120]}"
        raise UnusableModelError(str(path), f"not loadable ({reason})", "a saved module") from error
    if not isinstance(module, torch.nn.Module):
        raise UnusableModelError(
            str(path),
            f"a {type(module).__name__}",
            "a whole nn.Module",
            "save the module itself, or torch.export.save(torch.export.export(...)) as .pt2",
        )
    return from_module(module.eval(), example, file=str(path))


def from_module(module: Any, example: Sequence[Array], *, file: str = "the module") -> Trained:
    """Convert a module by tracing it on example inputs, axis 0 left free."""
    torch = import_module("torch")
    if not example:
        raise DeclarationError("--check", "no example inputs", "one array per input, for tracing")
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in example)
    names = [f"input_{number}" for number in range(len(tensors))]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        try:
            with contextlib.redirect_stdout(
                io.StringIO()
            ):  # stdout is for data; the exporter talks
                torch.onnx.export(
                    module,
                    tensors,
                    str(target),
                    input_names=names,
                    dynamic_axes={name: {0: "batch"} for name in names},
                    opset_version=OPSET,
                    dynamo=False,  # the newer exporter writes weights to a second file
                )
        except Exception as error:  # anything inside a foreign module may fail
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            raise UnusableModelError(
                file, f"not convertible to ONNX ({reason})", "a module that torch.onnx can trace"
            ) from error
        model = parse(read_bounded(target), file=file)

    def predict(inputs: Sequence[Array]) -> list[Array]:
        with torch.no_grad():
            found = module(*(torch.from_numpy(np.ascontiguousarray(array)) for array in inputs))
        return [part.numpy() for part in (found if isinstance(found, (tuple, list)) else (found,))]

    return Trained(
        model=model,
        framework=f"torch {torch.__version__}",
        predict=predict,
        example=tuple(np.asarray(array) for array in example),
    )
