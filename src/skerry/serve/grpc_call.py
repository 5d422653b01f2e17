"""A call as the gRPC doors hand it to the works, and the status that a failed one ends with.

Units:   seconds, on the clock's monotonic scale.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from skerry.base.errors import SkerryError
from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import NotAdminError, facts_of

_PUSHBACK = "grpc-retry-pushback-ms"  # the name that gRPC's own retry policies read


class Call(msgspec.Struct, gc=False):
    """What a door knows of a call beside its message; a struct, as every call makes one."""

    metadata: Mapping[str, str]
    received_s: float
    deadline_s: float | None = None
    """The budget that `grpc-timeout` gives, in seconds from `received_s`."""
    admin: bool = False
    """Whether the listener it came through takes repository commands."""
    peer_site: str | None = None
    """The site of the node that forwarded it, from its certificate; None for a client."""
    facts: bool = True
    """Whether the metadata may hold facts of skerry's own."""
    client: int = 0
    """Tells the clients of a door apart, for fair queues."""
    trailing: list[tuple[str, str]] = []
    """Metadata for the end of the answer, which a work may add to."""


Work = Callable[[Buffer, Call], Coroutine[Any, Any, list[Buffer]]]


@dataclass(frozen=True, slots=True)
class Status:
    """How a call failed: the name of a gRPC status, its text, and metadata beside it."""

    name: str
    text: str
    trailing: list[tuple[str, str]]


FAILED = Status("INTERNAL", "the server failed on this request; its log says why", [])
"""For an error that nobody foresaw; the door logs it."""


def status_of(error: SkerryError) -> Status:
    """Return an error as a status, with the hint and the time to wait where there are any."""
    _, name, wait_s = facts_of(error)
    trailing = [("skerry-error-code", error.code)]
    if wait_s is not None:
        trailing.append((_PUSHBACK, str(max(1, round(wait_s * 1000)))))
    return Status(name, f"{error}; {error.hint}" if error.hint else str(error), trailing)


def need_admin(call: Call, what: str) -> None:
    """Refuse a command that came through a listener that takes none."""
    if not call.admin:
        raise NotAdminError(what)
