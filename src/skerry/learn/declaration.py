"""What people say of a model when they bring it: the part of a card that no file can tell.

Given as options of `skerry model add`, or as a YAML file beside the model:

    name: magika
    version: 1
    licence: Apache-2.0
    source: https://github.com/google/magika
    data_class: health
    pre: [{step: bytes_head_tail}]
    post: [{step: argmax_label, options: {threshold: 0.5}}]
    labels: [pdf, docx]        # or labels_file: labels.txt, one per line

Errors:  DeclarationError, naming the field.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from skerry.base.ids import IdError, token
from skerry.learn.errors import DeclarationError
from skerry.schema.model import StatePair, Step
from skerry.schema.yaml_reader import read_yaml

DECLARATION_BYTES_MAX = 1024**2
LABELS_MAX = 100_000
VERSION_MAX = 10**9


class DeclaredStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step as people write it: its name and options in plain values."""

    step: str
    options: dict[str, Any] = {}


class Declaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a person states about a model."""

    name: str
    version: Annotated[int, msgspec.Meta(ge=1, le=VERSION_MAX)]
    licence: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    source: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    summary: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    data_class: str = "internal"
    pre: list[DeclaredStep] = []
    post: list[DeclaredStep] = []
    labels: Annotated[list[str], msgspec.Meta(max_length=LABELS_MAX)] = []
    labels_file: str = ""
    metrics: dict[str, float] = {}
    state: tuple[StatePair, ...] = ()
    tolerance: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1e-3

    def steps(self, declared: list[DeclaredStep]) -> tuple[Step, ...]:
        """Return steps as a card holds them."""
        return tuple(
            Step(
                step=entry.step,
                options={
                    name: msgspec.Raw(msgspec.json.encode(value))
                    for name, value in entry.options.items()
                },
            )
            for entry in declared
        )

    def all_labels(self, folder: Path) -> tuple[str, ...]:
        """Return the labels, from the declaration or from the file it names beside itself."""
        if not self.labels_file:
            return tuple(self.labels)
        if self.labels:
            raise DeclarationError("labels_file", "given beside labels", "one of the two")
        return read_labels(folder / self.labels_file)


def declare(fields: dict[str, Any], *, where: str = "") -> Declaration:
    """Build a declaration from plain values; raises `DeclarationError` naming the field."""
    try:
        declared = msgspec.convert(fields, Declaration)
        token("model", declared.name)
        token("data class", declared.data_class)
    except (msgspec.ValidationError, IdError) as error:
        raise DeclarationError(where or "the model's card", str(error), "as described") from error
    return declared


def read_declaration(path: Path) -> dict[str, Any]:
    """Read a YAML declaration as plain fields, so that options may still override them."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DeclarationError(str(path), error.strerror or "unreadable", "a YAML file") from error
    if len(data) > DECLARATION_BYTES_MAX:
        raise DeclarationError(str(path), f"{len(data)} bytes", f"at most {DECLARATION_BYTES_MAX}")
    plain = read_yaml(data, str(path)).plain()
    if not isinstance(plain, dict):
        raise DeclarationError(str(path), "not a mapping", "fields such as `name: magika`")
    return plain


def read_labels(path: Path) -> tuple[str, ...]:
    """Read labels, one per line, in the order of the model's scores."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(str(path), "unreadable", "one label per line, UTF-8") from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not 1 <= len(labels) <= LABELS_MAX:
        raise DeclarationError(str(path), f"{len(labels)} labels", f"1 to {LABELS_MAX}")
    return labels
