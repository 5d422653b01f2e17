"""The door to PyTorch: a saved module or exported program to one ONNX file.

`.pt2` is a program saved by `torch.export.save`: it brings its example inputs and says
itself which axes are free. `.pt` and `.pth` hold a whole `nn.Module`, pickled or as
TorchScript, and need example inputs from `--check`. Each kind goes to the exporter that
takes it: programs to the newer one, which refuses TorchScript; modules to the tracing
one, which refuses programs. Both leave the weights inside the file.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
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
    is_program = path.suffix.lower() == ".pt2"
    try:
        with _quiet():
            if is_program:
                loaded = torch.export.load(path)
            else:
                loaded = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle can raise anything at all
        reason = f"{type(error).__name__}: {str(error)[:120]}"
        raise UnusableModelError(str(path), f"not loadable ({reason})", "a saved module") from error
    if is_program:
        return from_program(loaded, file=str(path))
    if not isinstance(loaded, torch.nn.Module):
        raise UnusableModelError(
            str(path),
            f"a {type(loaded).__name__}",
            "a whole nn.Module",
            "save the module itself, or torch.export.save(torch.export.export(...)) as .pt2",
        )
    return from_module(loaded.eval(), example, file=str(path))


def from_module(module: Any, example: Sequence[Array], *, file: str = "the module") -> Trained:
    """Convert a module by tracing it on example inputs, axis 0 left free."""
    torch = import_module("torch")
    if not example:
        raise DeclarationError("--check", "no example inputs", "one array per input, for tracing")
    names = [f"input_{number}" for number in range(len(example))]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        with _converting(file, "a module that torch.onnx can trace"):
            torch.onnx.export(
                module,
                _tensors(example),
                str(target),
                input_names=names,
                dynamic_axes={name: {0: "batch"} for name in names},
                opset_version=OPSET,
                dynamo=False,
            )
        model = parse(read_bounded(target), file=file)
    return _trained(model, module, example, file)


def from_program(program: Any, *, file: str = "the program") -> Trained:
    """Convert an exported program; its free axes are those it was exported with."""
    torch = import_module("torch")
    inputs, named = program.example_inputs or ((), {})
    if named or not inputs or not all(isinstance(value, torch.Tensor) for value in inputs):
        raise UnusableModelError(
            file,
            "example inputs that are missing, named or no tensors",
            "a program exported with positional tensors",
        )
    with _converting(file, "a program that torch.onnx can convert"):
        # A second file for the weights, its default, could not be pinned by one digest.
        converted = torch.onnx.export(program, dynamo=True, external_data=False, verbose=False)
        model = parse(converted.model_proto.SerializeToString(), file=file)
    return _trained(model, program.module(), [value.detach().numpy() for value in inputs], file)


def _trained(model: Any, module: Any, example: Sequence[Array], file: str) -> Trained:
    torch = import_module("torch")

    def predict(inputs: Sequence[Array]) -> list[Array]:
        try:
            # TorchScript modules answer with gradients attached even under no_grad.
            with torch.no_grad():
                found = module(*_tensors(inputs))
            parts = found if isinstance(found, tuple | list) else (found,)
            return [part.detach().numpy() for part in parts]
        except Exception as error:  # anything inside a foreign module may fail
            raise UnusableModelError(
                file, f"does not run in torch ({_first_line(error)})", "tensors in, tensors out"
            ) from error

    return Trained(
        model=model,
        framework=f"torch {torch.__version__}",
        predict=predict,
        example=tuple(np.asarray(array) for array in example),
    )


def _tensors(arrays: Sequence[Array]) -> tuple[Any, ...]:
    torch = import_module("torch")
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)


@contextlib.contextmanager
def _converting(file: str, wanted: str) -> Iterator[None]:
    """Turn whatever an exporter raises into one error that names the file."""
    try:
        with _quiet():
            yield
    except UnusableModelError:
        raise
    except Exception as error:  # anything inside a foreign module may fail
        raise UnusableModelError(
            file, f"not convertible to ONNX ({_first_line(error)})", wanted
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' progress and advice to themselves: stdout is for data."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
