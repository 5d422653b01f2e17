"""The door to ONNX Runtime's converters: a smaller model from a model, by lower precision.

    int8           static: weights and activations, ranges from calibration rows
    int8-dynamic   weights; activations' ranges are found at each run
    fp16           everything but inputs and outputs, at half precision

Errors:  UnusableModelError where a converter cannot take the model.
Source:  onnxruntime.quantization (QDQ format) and onnxruntime.transformers.float16.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from numpy.typing import NDArray

from skerry.learn.errors import UnusableModelError
from skerry.learn.onnx_file import onnx_library, read_bounded

Array = NDArray[Any]
Row = dict[str, Array]
Kind = Literal["int8", "int8-dynamic", "fp16"]

_INTEGER_NODES = {"QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM"}
WORDS: dict[Kind, str] = {
    "int8": "INT8 (static)",
    "int8-dynamic": "INT8 (dynamic)",
    "fp16": "FP16",
}


def convert(model_file: Path, kind: Kind, rows: Sequence[Row]) -> bytes:
    """Return the bytes of a variant; `rows` calibrate the ranges of `int8`."""
    onnx_library()  # or say which extra brings it
    with TemporaryDirectory(prefix="skerry-") as scratch, _quiet():
        made = Path(scratch) / "variant.onnx"
        try:
            if kind == "fp16":
                _halve(model_file, made)
            else:
                _quantise(model_file, made, Path(scratch), rows if kind == "int8" else None)
        except Exception as error:  # the converters raise whatever they met
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise UnusableModelError(
                str(model_file), f"cannot be made {WORDS[kind]} ({reason})", "a model that can"
            ) from error
        data = read_bounded(made)
    if not _is_lower(data):
        raise UnusableModelError(
            str(model_file),
            f"no operator in it that {WORDS[kind]} would change",
            "one with matrix products or convolutions",
        )
    return data


def _is_lower(data: bytes) -> bool:
    """Say whether anything in a model is of lower precision at all."""
    onnx = onnx_library()
    model = onnx.load_model_from_string(data)
    return any(node.op_type in _INTEGER_NODES for node in model.graph.node) or any(
        one.data_type == onnx.TensorProto.FLOAT16 for one in model.graph.initializer
    )


def _halve(model_file: Path, made: Path) -> None:
    onnx = onnx_library()
    float16 = import_module("onnxruntime.transformers.float16")
    model = float16.convert_float_to_float16(onnx.load(str(model_file)), keep_io_types=True)
    onnx.save(model, str(made))


def _quantise(model_file: Path, made: Path, scratch: Path, rows: Sequence[Row] | None) -> None:
    quantisation = import_module("onnxruntime.quantization")
    shapes = import_module("onnxruntime.quantization.shape_inference")
    prepared = scratch / "prepared.onnx"
    # Its symbolic shape inference wants sympy, and finds nothing more in models of plain operators.
    shapes.quant_pre_process(str(model_file), str(prepared), skip_symbolic_shape=True)
    if rows is None:
        quantisation.quantize_dynamic(
            prepared, made, weight_type=quantisation.QuantType.QInt8, per_channel=True
        )
        return

    class Rows(quantisation.CalibrationDataReader):  # type: ignore[misc, name-defined]
        """The calibration rows, one after the other."""

        def __init__(self, rows: Sequence[Row]) -> None:
            self._rows = iter(rows)

        def get_next(self) -> Row | None:
            """Return the next row; None after the last."""
            return next(self._rows, None)

    quantisation.quantize_static(
        prepared,
        made,
        Rows(rows),
        quant_format=quantisation.QuantFormat.QDQ,
        activation_type=quantisation.QuantType.QUInt8,
        weight_type=quantisation.QuantType.QInt8,
        per_channel=True,
        # The adjustment fails on fused products with a scale per channel (ONNX Runtime 1.32);
        # a bias that would have needed it shows in the comparison.
        extra_options={"QDQDisableWeightAdjustForInt32Bias": True},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converters' advice to developers off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
