"""The Open Inference Protocol's documents beside inference: metadata, index, errors."""

import msgspec

from skerry.schema.model import TensorSpec

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "sequence",
    "statistics",
    "system_shared_memory",
    "trace",
)
PARAMETER_FOLDER = "skerry-folder"
"""Repository load parameter: the absolute path of a version folder to put into service."""
PARAMETER_TOGETHER = "skerry-together"
"""Repository load parameter: model to such a path, for models that are swapped all at once."""


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers here, and which extensions of the protocol it speaks."""

    name: str
    version: str
    extensions: tuple[str, ...] = EXTENSIONS


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether anything answers; the status of the reply says the same."""

    live: bool


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every model that should serve does; the status of the reply says the same."""

    ready: bool


class ModelReadiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one model serves; the status of the reply says the same."""

    name: str
    ready: bool


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """A model's versions in service, its inputs and its outputs."""

    name: str
    versions: tuple[str, ...]
    platform: str = PLATFORM
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class IndexRow(msgspec.Struct, frozen=True, kw_only=True):
    """One model version of the repository: `READY` or `UNAVAILABLE`, and why."""

    name: str
    version: str
    state: str
    reason: str = ""
    in_service: bool = False
    """Whether it answers, or will as soon as the server behind it does."""


class IndexRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What `POST /v2/repository/index` takes."""

    ready: bool = False


class LoadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the load and unload paths take; parameters not named here are passed over."""

    parameters: dict[str, msgspec.Raw] = {}


class RegionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One registered shared memory region: `byte_size` bytes of the object `key` from `offset`."""

    name: str
    key: str
    offset: int
    byte_size: int


class RegionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What registering a shared memory region takes."""

    key: str
    byte_size: int
    offset: int = 0


class ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What every refusal and failure says over HTTP; `error` is the protocol's own field."""

    error: str
    code: str = ""
    hint: str = ""
