"""What a repository holds of each model: its versions in service, resting, and refused."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skerry.schema.model import Card, TensorSpec
from skerry.schema.oip import ServedBy
from skerry.schema.oip_documents import IndexRow
from skerry.serve.loading import Loaded
from skerry.serve.runtime import Runtime
from skerry.serve.scheduler import Lane
from skerry.serve.sequences import Sequences
from skerry.serve.tally import Tally
from skerry.serve.upstream import UpstreamLane
from skerry.serve.upstream_health import UpstreamHealth
from skerry.serve.window import Window

READY = "READY"
UNAVAILABLE = "UNAVAILABLE"

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(slots=True)
class Slot:
    """One model version in service."""

    name: str
    version: int
    folder: Path
    model: Runtime
    card: Card | None
    lane: Lane | UpstreamLane
    window: Window
    version_text: str
    loaded: Loaded
    loaded_at_s: float
    sequences: Sequences | None = None
    """The state of sequences under way, from the first request of one on."""
    tally: Tally | None = None
    """Of its answers; made with the first."""
    served_by: ServedBy | None = None
    """What answers of this version say of who served them; made with the first."""
    forms: dict[Any, tuple[list[str], list[str]]] = field(default_factory=dict)
    """Names, datatypes and shapes of requests that passed, to the outputs that they get."""
    health: UpstreamHealth | None = None
    """Of the server behind it, where another server is the runtime."""

    @property
    def why_not(self) -> str:
        """Say why it cannot be asked just now; empty if it can."""
        return "" if self.health is None else self.health.reason

    @property
    def keeps(self) -> bool:
        """Whether it must not rest: it is pinned, runs elsewhere, or has sequences under way."""
        return self.loaded.settings.pinned or self.health is not None or bool(self.sequences)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""
        return self.model.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""
        return self.model.outputs

    @property
    def used_at_s(self) -> float:
        """When it was last asked for, or loaded."""
        return max(self.window.used_at_s, self.loaded_at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A version that was loaded and checked, gave way to another, and loads when asked."""

    folder: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    card: Card | None
    memory_bytes: int
    load_s: float
    reason: str
    why_not: str = ""
    """Nothing keeps it from answering: it loads when asked."""


@dataclass(slots=True)
class Entry:
    """One model: its versions in service, those that rest, and why others are not."""

    slots: dict[int, Slot] = field(default_factory=dict)
    resting: dict[int, Resting] = field(default_factory=dict)
    default: int = 0
    refused: dict[int, str] = field(default_factory=dict)

    @property
    def serves(self) -> bool:
        """Whether requests for it are answered."""
        return bool(self.slots or self.resting)

    def version_of(self, text: str) -> int:
        """Return the number of a version as a request writes it; 0 if it is none."""
        return version_number(text) if text else self.default

    def rows(self, name: str, on_disk: list[int]) -> list[IndexRow]:
        """List its versions, those only on disk included."""
        rows: list[IndexRow] = []
        for version in sorted({*self.slots, *self.resting, *self.refused, *on_disk}):
            in_service = version in self.slots or version in self.resting
            ready, reason = in_service, "" if in_service else "not loaded"
            if version in self.slots:
                reason = self.slots[version].why_not
                ready = not reason
            elif version in self.resting:
                reason = f"{self.resting[version].reason}; loads when asked"
            rows.append(
                IndexRow(
                    name=name,
                    version=str(version),
                    state=READY if ready else UNAVAILABLE,
                    reason=self.refused.get(version, reason),
                    in_service=in_service,
                )
            )
        return rows


def version_number(text: str) -> int:
    """Return the number of a version as people, folders and requests write it; 0 for none."""
    return int(text) if _VERSION.fullmatch(text) else 0
