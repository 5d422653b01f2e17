"""A model's card and manifest: what it is, what it may see, which bytes it is made of.

The card sits beside the model file; the manifest is what gets signed. Every member is
named by its SHA-256, so a model is the same wherever it is found, and a mirror or a
USB stick needs no trust. Versions are positive integers, as in Triton's repository
layout `<repository>/<model>/<version>/model.onnx`; people may write `v14` for `14`.
"""

import msgspec

MODEL_FILE = "model.onnx"
CARD_FILE = "card.json"
CHUNK_BYTES = 16 * 1024 * 1024
"""Files longer than this are signed chunk by chunk."""
MANIFEST_SCHEMA = "skerry.manifest/1"
CARD_SCHEMA = "skerry.card/1"


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output: OIP datatype and shape, -1 where an axis is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of pre- or postprocessing: a name from `skerry.pipeline.steps` and its options."""

    step: str
    options: dict[str, msgspec.Raw] = {}


class CheckSample(msgspec.Struct, frozen=True, kw_only=True):
    """An input the trainer ran, and what came out; a node repeats it before it serves.

    Arrays are raw little-endian bytes in the model's own input and output order.
    """

    inputs: tuple[bytes, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[bytes, ...]
    output_shapes: tuple[tuple[int, ...], ...]


class StatePair(msgspec.Struct, frozen=True, kw_only=True):
    """An input that is fed, in a sequence's next request, with what an output gave in this one."""

    input: str
    output: str


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is: for people, for the gate and for the audit.

    `tolerance` is the largest absolute difference allowed between a check sample's
    output here and the trainer's own. `metrics` carry their unit in their name.
    """

    schema: str = CARD_SCHEMA
    name: str
    version: int
    summary: str
    licence: str
    source: str
    framework: str
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    pre: tuple[Step, ...] = ()
    post: tuple[Step, ...] = ()
    labels: tuple[str, ...] = ()
    data_class: str = "internal"
    metrics: dict[str, float] = {}
    samples: tuple[CheckSample, ...] = ()
    tolerance: float = 1e-3
    state: tuple[StatePair, ...] = ()
    """What a streaming model carries on; empty where its names say it, or it has none."""
    max_batch: int = 0
    """Largest batch on axis 0 of every input; 0 where the model has no free batch axis."""


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a model, relative to its version folder.

    A large one also names its chunks, so that a download over a bad link keeps what is good of
    it: chunk `n` is the bytes from `n * chunk_bytes` on.
    """

    path: str
    sha256: str
    length_bytes: int
    chunk_bytes: int = 0
    chunks: tuple[str, ...] = ()
    """SHA-256 of each chunk, in order; the last one may be shorter."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed the model that was added, by an OpenSSF model signature that was checked then."""

    signed_by: str
    """SHA-256 of the public key's DER form, in hex."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed: a model's name, version and every byte of it."""

    schema: str = MANIFEST_SCHEMA
    name: str
    version: int
    members: tuple[Member, ...]
    origin: Origin | msgspec.UnsetType = msgspec.UNSET

    @property
    def length_bytes(self) -> int:
        """Return the size of all members together."""
        return sum(member.length_bytes for member in self.members)


def manifest_target(channel: str, name: str, version: int) -> str:
    """Return the TUF target path of a model: `prod/model/<name>/<version>.json`."""
    return f"{channel}/model/{name}/{version}.json"
