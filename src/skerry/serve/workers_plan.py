"""What a worker process is told when it starts, and what it says once it is ready.

The plan comes on the worker's standard input, so that nothing of it is in the list of
processes; the answer is one line of JSON on its standard output.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.schema.oip_documents import IndexRow
from skerry.serve.settings import Ports, ServeSettings


class WorkerPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One worker of several that share the ports of one server."""

    index: int
    """Its number, from 0."""
    parent_pid: int
    """Whom it ends with."""
    settings: ServeSettings
    """With the ports as they are; the metrics port is the parent's."""
    controls: tuple[str, ...]
    """Paths of the control sockets of all workers, its own at `index`."""
    core: int | None = None
    """The core that it keeps to; None where there are more workers than cores."""
    uds_handle: int | None = None
    """The open file of the HTTP door's Unix socket, which listens already."""
    grpc_uds_handle: int | None = None
    """The same for the gRPC door."""


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """A worker serves."""

    models: list[IndexRow]
    runs_on: list[str]
    """What each of `models` runs on; `-` where it is not loaded."""
    warnings: list[str]
    """Why models are not served."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """A worker cannot serve; the fields are those of the error."""

    code: str
    text: str
    hint: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A worker whose numbers its parent can ask for; `page` does."""

    index: int
    life: int
    page: Callable[[], Awaitable[bytes]]


def plans_of(
    settings: ServeSettings,
    count: int,
    *,
    ports: Ports,
    folder: Path,
    uds_handle: int | None = None,
    grpc_uds_handle: int | None = None,
) -> list[WorkerPlan]:
    """Return what each worker of this process is told; control sockets will be in `folder`.

    Workers share the ports, and divide the memory; each has a trace file of its own.
    """
    memory = settings.memory_bytes_max
    cores = cores_of(count)
    return [
        WorkerPlan(
            index=index,
            parent_pid=os.getpid(),
            settings=msgspec.structs.replace(
                settings,
                http_port=ports.http,
                grpc_port=None if settings.grpc_port is None else ports.grpc,
                metrics_port=None,
                memory_bytes_max=None if memory is None else memory // count,
                trace_file=f"{settings.trace_file}.{index}" if settings.trace_file else "",
            ),
            controls=tuple(str(folder / f"{number}.sock") for number in range(count)),
            core=cores[index],
            uds_handle=uds_handle,
            grpc_uds_handle=grpc_uds_handle,
        )
        for index in range(count)
    ]


def cores_of(count: int) -> list[int | None]:
    """Return the core of each worker: one each where this process may use so many."""
    if not hasattr(os, "sched_getaffinity"):  # Linux alone tells, and lets choose
        return [None] * count
    cores = sorted(os.sched_getaffinity(0))
    return list(cores[:count]) if count <= len(cores) else [None] * count


def count_of(wanted: int) -> int:
    """Return how many workers there will be; 0 asks for one per core of this process."""
    if wanted:
        return wanted
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
