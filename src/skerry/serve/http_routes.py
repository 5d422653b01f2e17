"""A table of paths: what is answered where, by whom, and in what words it is documented.

One line of the table both dispatches requests and makes a path of the OpenAPI document,
so that neither can be right alone. A template's `{name}` takes one segment.

Errors:  MethodError, where the path is there and the method is not; NotAdminError.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from skerry.schema.oip_errors import OipError
from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import MethodError, NotAdminError
from skerry.serve.http_message import HttpReply, HttpRequest
from skerry.serve.service import Service

if TYPE_CHECKING:
    from skerry.serve.workers_siblings import Siblings

Document = TypeVar("Document")
Handler = Callable[[Service, HttpRequest, dict[str, str]], Awaitable[HttpReply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path. `does` is None where the door answers the path itself."""

    method: str
    path: str
    does: Handler | None = None
    summary: str
    takes: Any = None
    """The type of the JSON body; None where there is none."""
    may_be_empty: bool = False
    """Whether the body may be left out."""
    gives: Any = None
    """The type of the JSON answer; None where it is empty."""
    gives_also: tuple[int, ...] = ()
    """Statuses beside 200 that are answers and no errors."""
    refusal: str = "ErrorDocument"
    """The name of the document that errors come as."""
    errors: tuple[int, ...] = ()
    """Statuses of the errors that this path has beside those that every path has."""
    admin: bool = False
    """Whether only admin listeners take it, and never from a web page."""

    @property
    def changes(self) -> bool:
        """Whether it changes the server: every worker of it then does the same."""
        return self.admin and self.method == "POST"


class Routes:
    """The table, ready to be looked up."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._by_length: dict[int, list[tuple[list[str], Route]]] = {}
        # What is written out goes before what may be any name: /v2/models/stats is no model.
        for route in sorted(routes, key=lambda route: route.path.count("{")):
            segments = route.path.strip("/").split("/")
            self._by_length.setdefault(len(segments), []).append((segments, route))

    async def answer(
        self,
        service: Service,
        request: HttpRequest,
        parts: list[str],
        siblings: "Siblings | None" = None,
    ) -> HttpReply | None:
        """Answer a request whose path is in the table; None where it is not.

        What changes the server is done by `siblings` too, where it has any.
        """
        method = "GET" if request.method == "HEAD" else request.method
        others: list[str] = []
        for segments, route in self._by_length.get(len(parts), ()):
            values = _values(segments, parts)
            if values is None or route.does is None:
                continue
            if route.method == method:
                if route.admin:
                    need_admin(request, route.summary)
                answer = partial(route.does, service, request, values)
                if route.changes and siblings is not None:
                    return await siblings.everywhere(request.path, request.body, answer)
                return await answer()
            others.append(route.method)
        if others:
            raise MethodError(request.path, request.method, tuple(others))
        return None


def need_admin(request: HttpRequest, what: str) -> None:
    """Refuse a command from a listener that takes none, or from a web page."""
    if not request.admin or "origin" in request.headers or "sec-fetch-site" in request.headers:
        raise NotAdminError(what)


def decoded(body: Buffer, kind: type[Document]) -> Document:
    """Read a JSON body."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OipError("request body", f"not what this path takes ({error})", "JSON") from error


def _values(segments: list[str], parts: list[str]) -> dict[str, str] | None:
    values: dict[str, str] = {}
    for segment, part in zip(segments, parts, strict=True):
        if segment.startswith("{"):
            values[segment[1:-1]] = part
        elif segment != part:
            return None
    return values
