"""The head of a call: what its header list means to the gRPC door.

A head depends on nothing but the bytes of its block, so the door keeps heads by block and
hands the same one to every call that looks the same.

Units:   seconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from skerry.schema.oip_facts import FACTS
from skerry.schema.oip_grpc import SERVICE
from skerry.serve.errors import HttpError, ServeError
from skerry.serve.grpc_call import Work
from skerry.serve.grpc_wire import ENCODINGS, GrpcError, timeout_s
from skerry.serve.grpc_works import STREAM_METHOD, GrpcWorks
from skerry.serve.h2_headers import Field, list_bytes

_PSEUDO = (b":method", b":scheme", b":path", b":authority")
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_NAME = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(rb"[\0\r\n]")
_PREFIX = f"/{SERVICE}/"


@dataclass(slots=True)
class Head:
    """One call's head."""

    work: Work | None = None
    """What answers it; None for a stream, and for a head that is refused."""
    stream: bool = False
    timeout_s: float | None = None
    encoding: str = "identity"
    """How compressed messages of the call are compressed."""
    reply_encoding: str = "identity"
    plain: bool = False
    """Whether it is a unary call whose answer is not compressed."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    facts: bool = False
    """Whether the metadata holds facts of skerry's own."""
    refusal: ServeError | None = None
    """Why the call is not taken: an `HttpError` to what is no gRPC call, else a `GrpcError`."""
    malformed: str = ""
    """Why it is not even HTTP/2; such a stream is reset."""


class Heads:
    """Makes heads for the works of one door."""

    def __init__(self, works: GrpcWorks, *, list_bytes_max: int) -> None:
        self._works = works
        self._list_bytes_max = list_bytes_max

    def head(self, fields: list[Field]) -> Head:
        """Return what a header list means."""
        pseudo: dict[bytes, bytes] = {}
        rest: dict[str, str] = {}
        for name, value in fields:
            if name.startswith(b":"):
                if rest or name in pseudo or name not in _PSEUDO:
                    return Head(malformed=f"the pseudo-header {name[:40]!r} where it may not be")
                pseudo[name] = value
                continue
            if not _NAME.fullmatch(name) or name in _HOP_BY_HOP or _CONTROL.search(value):
                return Head(malformed=f"the header {name[:40]!r}")
            key = name.decode("ascii")
            if key in rest and key in FACTS:
                return Head(refusal=GrpcError("INVALID_ARGUMENT", f"metadata {key} appears twice"))
            rest[key] = value.decode("latin-1")
        if not {b":method", b":scheme", b":path"} <= pseudo.keys():
            return Head(malformed="a request without its pseudo-headers")
        if rest.get("te", "trailers") != "trailers":
            return Head(malformed="te is not trailers")
        size = list_bytes(fields)
        if size > self._list_bytes_max:
            what = f"metadata of {size} bytes, wanted at most {self._list_bytes_max}"
            return Head(refusal=GrpcError("RESOURCE_EXHAUSTED", what))
        return self._call(pseudo, rest)

    def _call(self, pseudo: dict[bytes, bytes], rest: dict[str, str]) -> Head:
        kind = rest.pop("content-type", "")
        if not (
            kind == "application/grpc"
            or kind.startswith(("application/grpc+proto", "application/grpc;"))
        ):
            return Head(refusal=HttpError(415, "this door speaks gRPC; HTTP has a port of its own"))
        if pseudo[b":method"] != b"POST":
            return Head(refusal=HttpError(405, "a gRPC call is a POST"))
        path = pseudo[b":path"].decode("latin-1")
        method = path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else ""
        head = Head(
            work=self._works.unary.get(method),
            stream=method == STREAM_METHOD,
            encoding=rest.pop("grpc-encoding", "identity"),
        )
        if head.work is None and not head.stream:
            head.refusal = GrpcError("UNIMPLEMENTED", f"there is no method {path[:200]}")
        elif head.encoding not in ENCODINGS:
            what = f"grpc-encoding is {head.encoding[:40]!r}, wanted {', '.join(ENCODINGS)}"
            head.refusal = GrpcError("UNIMPLEMENTED", what)
        # A client that compresses and understands the same gets its answers so too.
        accepted = rest.pop("grpc-accept-encoding", "").replace(" ", "").split(",")
        if head.encoding in accepted and head.refusal is None:
            head.reply_encoding = head.encoding
        timeout = rest.pop("grpc-timeout", None)
        if timeout is not None and head.refusal is None:
            try:
                head.timeout_s = timeout_s(timeout)
            except GrpcError as error:
                head.refusal = error
        rest.pop("te", None)
        head.plain = not head.stream and head.reply_encoding == "identity"
        head.metadata = rest
        head.facts = not rest.keys().isdisjoint(FACTS)
        return head
