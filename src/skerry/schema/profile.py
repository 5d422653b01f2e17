"""A model's profile: what one machine measured of it, and what it chose from that.

`skerry model profile` writes it as `profile.json` beside the model file. It belongs to a
machine: a server uses it only where the machine and the model's bytes are the same, and
measures by itself otherwise. Nothing signed names it.

Units:   microseconds per run, bytes; a time is the lower quartile of many runs.
"""

import hashlib
import os
import platform
from pathlib import Path
from typing import Literal

import msgspec

PROFILE_FILE = "profile.json"
PROFILE_SCHEMA = "skerry.profile/1"
PROFILE_BYTES_MAX = 64 * 1024
_CHUNK_BYTES = 1024**2


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What must be the same for a measurement to hold."""

    processor: str
    architecture: str
    cores: int
    onnxruntime: str

    @classmethod
    def here(cls, onnxruntime: str) -> "Machine":
        """Describe the machine that runs this; `onnxruntime` is the installed version."""
        return cls(
            processor=_processor(),
            architecture=platform.machine(),
            cores=os.cpu_count() or 1,
            onnxruntime=onnxruntime,
        )

    def difference(self, other: "Machine") -> str:
        """Say in which respect another machine differs; empty where it does not."""
        for name in self.__struct_fields__:
            here, there = getattr(self, name), getattr(other, name)
            if here != there:
                return f"{name} is {here}, not {there}"
        return ""


class BatchPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a batch: as a whole and per item."""

    items: int
    run_us: float
    item_us: float


class ThreadPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One run with a number of threads: time that passed, and time of all cores together."""

    threads: int
    run_us: float
    cpu_us: float


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What a server does with the model, from the measurement."""

    batch_max: int
    batching: bool
    run_on: Literal["inline", "thread"]
    threads: int
    arena: bool
    io_binding: bool
    input_batch_axes: tuple[int, ...] = ()
    """Axis of each input that counts the items; empty where there is none."""
    output_batch_axes: tuple[int, ...] = ()


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """`profile.json`."""

    schema: str = PROFILE_SCHEMA
    model_sha256: str
    machine: Machine
    measured_at_unix_s: float
    run_us: float
    """One run of one item with the plain session: one thread, no arena, nothing bound."""
    input_shapes: tuple[tuple[int, ...], ...]
    """Of the one item that was run, in the model's order of inputs."""
    batch_curve: tuple[BatchPoint, ...]
    threads: tuple[ThreadPoint, ...]
    arena_run_us: float
    io_binding_run_us: float | None
    """None where the model's output shapes are not foretold by its inputs'."""
    chosen: Chosen
    reasons: tuple[str, ...] = ()
    """Why it was chosen so, one sentence each."""


def read_profile(folder: Path) -> Profile | str | None:
    """Return the profile of a version folder, why it cannot be read, or None if there is none."""
    try:
        with (folder / PROFILE_FILE).open("rb") as file:
            data = file.read(PROFILE_BYTES_MAX + 1)
        if len(data) > PROFILE_BYTES_MAX:
            return f"larger than {PROFILE_BYTES_MAX} bytes"
        return msgspec.json.decode(data, type=Profile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"unreadable ({error})"


def unfit(profile: Profile, machine: Machine, model_file: Path) -> str:
    """Say why a profile does not hold for this machine and these bytes; empty where it does."""
    difference = machine.difference(profile.machine)
    if difference:
        return f"measured on another machine: {difference}"
    if profile.schema != PROFILE_SCHEMA:
        return f"its schema is {profile.schema[:40]}, not {PROFILE_SCHEMA}"
    if sha256_of(model_file) != profile.model_sha256:
        return "measured with another model file"
    return ""


def sha256_of(path: Path) -> str:
    """Return a file's digest."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _processor() -> str:
    """Return the processor's name, as Linux has it, else as Python has."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                if line.startswith(("model name", "Model", "Hardware")):
                    return line.partition(":")[2].strip()[:80]
    except OSError:
        pass
    return platform.processor() or "unknown"
