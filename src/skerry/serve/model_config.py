"""A model's configuration in Triton's words, as far as they say something true here.

One document for both transports: JSON over HTTP, the message `ModelConfig` over gRPC.
`max_batch_size` is above 0 only where the first axis of every tensor counts items and
several may run as one; `dims` then leave that axis out, as Triton's do.

Source:  Triton's model_config.proto.
"""

from typing import Any

from skerry.schema.model import MODEL_FILE, TensorSpec
from skerry.schema.oip_documents import PLATFORM
from skerry.schema.oip_errors import UnsupportedError, shown
from skerry.serve.onnx_engine import OnnxModel
from skerry.serve.scheduler import Lane
from skerry.serve.sequences import IDLE_S_MAX
from skerry.serve.slots import Slot
from skerry.serve.states import state_pairs

BACKEND = "onnxruntime"
_ON_GPU = frozenset({"cuda", "tensorrt"})


def model_config(slot: Slot, versions: list[str]) -> dict[str, Any]:
    """Return the configuration of a version in service; `versions` are all that serve."""
    model = slot.model
    local = model if isinstance(model, OnnxModel) else None  # else another server runs it
    items_max = _items_max(slot)
    providers = local.providers if local is not None else ("upstream",)
    pairs = state_pairs(slot.card, model.inputs, model.outputs)
    inputs = {spec.name: spec for spec in model.inputs}
    document: dict[str, Any] = {
        "name": slot.name,
        "platform": PLATFORM if local is not None else "",
        "backend": BACKEND if local is not None else "",
        "version_policy": {"specific": {"versions": [int(version) for version in versions]}},
        "max_batch_size": items_max,
        "input": [_tensor(spec, items_max) for spec in model.inputs],
        "output": [_tensor(spec, items_max) for spec in model.outputs],
        "instance_group": [
            {
                "name": f"{slot.name}_0",
                "count": slot.loaded.lane.concurrency,
                "kind": "KIND_GPU" if _ON_GPU & set(providers) else "KIND_CPU",
            }
        ],
        "default_model_filename": MODEL_FILE,
        "parameters": {
            "execution_providers": {"string_value": ",".join(providers)},
        },
        "model_transaction_policy": {"decoupled": False},
    }
    if pairs:
        document["sequence_batching"] = {
            "max_sequence_idle_microseconds": int(IDLE_S_MAX * 1_000_000),
            "state": [
                {
                    "input_name": pair.input,
                    "output_name": pair.output,
                    "data_type": _data_type(inputs[pair.input]),
                    "dims": _tensor(inputs[pair.input], items_max)["dims"],
                }
                for pair in pairs
            ],
        }
    elif isinstance(slot.lane, Lane) and slot.lane.batch_max > 1:
        document["dynamic_batching"] = {}
    return document


def refuse_overrides(names: "list[str]") -> None:
    """Refuse parameters that would load something else than what lies in the repository."""
    for name in names:
        if name == "config" or name.startswith("file:"):
            raise UnsupportedError(
                f"parameter {shown(name)}", "given", "a load of what is in the repository"
            )


def _items_max(slot: Slot) -> int:
    """How many items a request may have in Triton's sense; 0 where that says nothing here."""
    axes = slot.model.batch_axes if isinstance(slot.model, OnnxModel) else None
    if axes is None or any(axes.inputs) or any(axes.outputs):
        return 0
    stated = slot.card.max_batch if slot.card is not None else 0
    most = max(stated, slot.lane.batch_max if isinstance(slot.lane, Lane) else 0)
    return most if most > 1 else 0


def _tensor(spec: TensorSpec, items_max: int) -> dict[str, Any]:
    return {
        "name": spec.name,
        "data_type": _data_type(spec),
        "dims": list(spec.shape[1:] if items_max else spec.shape),
    }


def _data_type(spec: TensorSpec) -> str:
    return "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
