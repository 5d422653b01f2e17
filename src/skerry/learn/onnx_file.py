"""The door to `onnx`: model files read with bounds, checked, and given a named batch axis.

Errors:  UnusableModelError, for what is not one whole ONNX model of a known kind;
         MissingTrainerError where `onnx` is not installed.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from skerry.learn.errors import MissingTrainerError, UnusableModelError

MODEL_BYTES_MAX = 1024**3
OPSET_MIN = 7  # older ones ran under rules that ONNX Runtime does not promise any more
BATCH_SYMBOL = "batch"


def onnx_library() -> Any:
    """Import `onnx`, which a node that only serves does not have."""
    try:
        return import_module("onnx")
    except ImportError as error:
        raise MissingTrainerError("reading a model", "onnx", "learn") from error


def read_bounded(path: Path, bytes_max: int = MODEL_BYTES_MAX) -> bytes:
    """Read a model file, refusing what is missing, empty or too large before reading it."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UnusableModelError(str(path), "not a file", "a model file")
        if not 0 < size <= bytes_max:
            raise UnusableModelError(str(path), f"{size} bytes", f"1 to {bytes_max} bytes")
        return path.read_bytes()
    except OSError as error:
        raise UnusableModelError(
            str(path), error.strerror or "unreadable", "a file that can be read"
        ) from error


def parse(data: bytes, *, file: str) -> Any:
    """Return the model of a file's bytes, checked for what can be seen without running it."""
    onnx = onnx_library()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own class, which moves between its releases
        raise UnusableModelError(file, "not an ONNX model, or cut short", "a whole one") from error
    if not model.graph.node or not model.graph.output:
        raise UnusableModelError(file, "not an ONNX model, or an empty one", "a graph with outputs")
    opset = default_opset(model)
    if opset < OPSET_MIN:
        raise UnusableModelError(
            file, f"opset {opset}", f"{OPSET_MIN} or newer", "export it again with opset 17"
        )
    _refuse_external_data(model, file)
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise UnusableModelError(
                file, f"{value.name!r} is a {kind}", "tensors only", "export with zipmap=False"
            )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        first = str(error).strip().splitlines()[0][:200]
        raise UnusableModelError(file, f"not valid ONNX ({first})", "a valid model") from error
    return model


def default_opset(model: Any) -> int:
    """Return the version of ONNX's own operators that a model uses; 0 if it names none."""
    return max(
        (int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0
    )


def has_free_first_axis(model: Any) -> bool:
    """Tell whether axis 0 of every input and output is free, so that it may count rows."""
    given = {constant.name for constant in model.graph.initializer}
    values = [v for v in model.graph.input if v.name not in given] + list(model.graph.output)
    return all(
        value.type.tensor_type.shape.dim and not value.type.tensor_type.shape.dim[0].dim_value
        for value in values
    )


def name_batch_axis(model: Any) -> None:
    """Give axis 0 of every input and output one symbol, so that a server knows it for a batch.

    Converters often write another symbol for each value, and then nothing says that
    they are the same count.
    """
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and not dimensions[0].dim_value:
            dimensions[0].dim_param = BATCH_SYMBOL


def _refuse_external_data(model: Any, file: str) -> None:
    onnx = onnx_library()
    if any(c.data_location == onnx.TensorProto.EXTERNAL for c in model.graph.initializer):
        raise UnusableModelError(
            file,
            "weights in a second file",
            "one file with the weights inside",
            "save it with onnx.save(model, path, save_as_external_data=False)",
        )
