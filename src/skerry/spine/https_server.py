"""The HTTPS door of region and central: who calls, what they may, bounded bodies, plain errors.

A process lists `Route`s; each names the roles that may call it, and its handler gets a
`Call` and returns a document, a file or nothing. Whatever goes wrong leaves as an
`ErrorReply` with the code of the error. This file is the door to aiohttp, and only
processes that serve import it: it costs 15 MB.

Errors:  CallRefusedError, CallInvalidError, NotHereError, ListenError.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import msgspec
from aiohttp import web

from skerry.base.errors import Exit, SkerryError
from skerry.schema.access import Action
from skerry.schema.api import ApiError, ErrorReply
from skerry.schema.audit import AuditKind
from skerry.spine.errors import SpineError
from skerry.trust.access_gate import Caller
from skerry.trust.spiffe import Role, SpiffeId
from skerry.trust.tls import CertificateError, CertificateFault, peer_id

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 16 * 1024
BODY_S_MAX = 60.0
"""The longest a body that is not a blob may take to arrive, in seconds."""
STOP_S = 2.0
"""How long open calls may go on after `stop`, in seconds."""

T = TypeVar("T")


class CallRefusedError(SpineError):
    """The caller is not one who may make this call.

    Calls are bound to roles: operators change and look, regions push their registry, nodes
    and regions fetch signed state. Show the certificate of the right role.
    """

    code = "E0340"
    exit_code = Exit.REFUSED

    def __init__(self, call: str, caller: str, wanted: str) -> None:
        super().__init__(call, caller, wanted)
        self.call, self.caller, self.wanted = call, caller, wanted

    def __str__(self) -> str:
        return f"{self.caller or 'a caller without certificate'} may not {self.call}"

    @property
    def hint(self) -> str:
        """Name who may."""
        return f"only {self.wanted} may; use a certificate of that role"


class CallInvalidError(SpineError):
    """A call's body or query is not what the API documents, or larger than it allows."""

    code = "E0341"
    exit_code = Exit.FILE_INVALID

    def __init__(self, call: str, found: str) -> None:
        super().__init__(call, found)
        self.call, self.found = call, found

    def __str__(self) -> str:
        return f"{self.call}: {self.found}"

    @property
    def hint(self) -> str:
        """Name the page to read."""
        return "docs/reference/api.md says what the call takes"


class NotHereError(SpineError):
    """There is nothing under this name here."""

    code = "E0342"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} is not here"


class ListenError(SpineError):
    """The process cannot listen where its settings say; the port is taken, most often."""

    code = "E0343"
    exit_code = Exit.WRONG_USE

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(host, port, why)
        self.host, self.port, self.why = host, port, why

    def __str__(self) -> str:
        return f"cannot listen on {self.host}:{self.port}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "stop what listens there, or set another port (0 takes any free one)"


class Call:
    """One call, as a handler sees it."""

    def __init__(self, request: web.Request, caller: SpiffeId | None) -> None:
        self._request = request
        self._caller = caller
        self._admitted: Caller | None = None

    @property
    def certificate(self) -> SpiffeId | None:
        """The identity in the caller's certificate, where one was shown."""
        return self._caller

    @property
    def bearer(self) -> str:
        """The bearer token shown, or nothing."""
        kind, _, token = self._request.headers.get("Authorization", "").partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""

    @property
    def admitted(self) -> Caller:
        """Who calls, with roles, once the server's `authorise` has let them in."""
        if self._admitted is None:
            raise CallRefusedError(self.name, "", "somebody who has logged in")
        return self._admitted

    def admit(self, caller: Caller) -> None:
        """Say who calls: `authorise` found it out."""
        self._admitted = caller

    @property
    def caller(self) -> SpiffeId:
        """Who calls; raises `CallRefusedError` where the caller showed no certificate."""
        if self._caller is None:
            raise CallRefusedError(self.name, "", "a member of the fleet")
        return self._caller

    @property
    def name(self) -> str:
        """The call in words: method and path."""
        return f"{self._request.method} {self._request.path}"

    @property
    def source(self) -> str:
        """The address that the call came from."""
        return self._request.remote or ""

    def part(self, name: str) -> str:
        """Return a part of the path."""
        return self._request.match_info[name]

    def text(self, name: str) -> str:
        """Return a query field, empty where it is missing."""
        return self._request.query.get(name, "")

    def number(self, name: str, default: int, *, low: int = 0, high: int = 2**53) -> int:
        """Return a whole number of the query within its bounds, or raise `CallInvalidError`."""
        text = self._request.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise CallInvalidError(self.name, f"{name} is {text[:32]!r}, wanted a whole number")
        if not low <= int(text) <= high:
            raise CallInvalidError(self.name, f"{name} is {text}, wanted {low} to {high}")
        return int(text)

    @property
    def length_bytes(self) -> int | None:
        """The stated length of the body, or None."""
        return self._request.content_length

    async def document(self, kind: type[T], *, bytes_max: int) -> T:
        """Read the body as a document, or raise `CallInvalidError`."""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S_MAX):
                async for chunk in self.chunks():
                    body += chunk
                    if len(body) > bytes_max:
                        raise CallInvalidError(self.name, f"the body is over {bytes_max} bytes")
        except TimeoutError as error:
            raise CallInvalidError(
                self.name, f"the body took longer than {BODY_S_MAX:g} s"
            ) from error
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CallInvalidError(self.name, f"the body is no {kind.__name__}: {error}") from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        async for chunk in self._request.content.iter_any():
            yield chunk


@dataclass(frozen=True, slots=True)
class File:
    """A reply that is a file; one byte range may be asked of it."""

    path: Path
    forever: bool = False
    """The bytes under this name never change (they are named by digest or version)."""


Reply = msgspec.Struct | File | None
Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """One call: what it is named, who may make it (None: anyone) and what answers."""

    method: str
    path: str
    handler: Handler
    who: frozenset[Role] | None
    action: Action | None = None
    """What the caller asks to do, where the server has policies. Without one, machines need the
    right to `fetch` and people that to `keys`, which few have."""
    audit: AuditKind | None = None
    """Refusals and failures of this call are noted as this kind, where no policy notes them."""


OnRefused = Callable[[AuditKind, str, str, SkerryError], Awaitable[None]]
"""`on_refused(kind, call, caller, error)`: a call did not succeed, and nobody else notes it."""


class HttpsServer:
    """Serves routes over TLS until stopped.

    `context` should ask for a client certificate without demanding it (joining has none);
    `admit` may refuse a caller whose certificate is good, such as a banned node. `authorise`
    decides each call by policy, tokens included, in place of `who` alone.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        context: ssl.SSLContext,
        *,
        admit: Callable[[SpiffeId], Awaitable[None]] | None = None,
        authorise: Callable[[Call, "Route"], Awaitable[None]] | None = None,
        on_refused: OnRefused | None = None,
    ) -> None:
        self._context = context
        self._admit, self._authorise, self._on_refused = admit, authorise, on_refused
        app = web.Application(middlewares=[self._guard])
        for route in routes:
            app.router.add_route(route.method, route.path, self._bind(route))
            if route.method == "GET":
                app.router.add_route("HEAD", route.path, self._bind(route))
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=STOP_S,
            max_line_size=HEAD_BYTES_MAX,
            max_field_size=HEAD_BYTES_MAX,
            handle_signals=False,
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, chosen by the kernel where 0 was asked for."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=self._context)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ListenError(host, port, error.strerror or str(error)) from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Take no more calls, let open ones end within `STOP_S`, and close."""
        await self._runner.cleanup()

    def _bind(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            caller = _caller(request)
            call = Call(request, caller)
            try:
                if route.who is not None:
                    await self._check(call, caller, route, route.who)
                return _response(await route.handler(call))
            except SkerryError as error:
                kind = route.audit
                if kind is None and isinstance(error, CallRefusedError):
                    kind = AuditKind.ACCESS  # the wrong role; what policy refuses it notes itself
                if kind is not None and self._on_refused is not None:
                    await self._on_refused(kind, call.name, str(caller or ""), error)
                raise

        return answer

    async def _check(
        self, call: Call, caller: SpiffeId | None, route: Route, who: frozenset[Role]
    ) -> None:
        """Refuse a caller who may not make this call, by policy or else by role."""
        if self._authorise is not None:
            if caller is not None and self._admit is not None:
                await self._admit(caller)
            await self._authorise(call, route)
            return
        if caller is None or caller.role not in who:
            wanted = " or ".join(f"a {role}" for role in sorted(who))
            raise CallRefusedError(call.name, str(caller or ""), wanted)
        if self._admit is not None:
            await self._admit(caller)

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except SkerryError as error:
            return _refusal(_status(error), error)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            missing = NotHereError(f"{request.method} {request.path[:120]}")
            return _refusal(error.status, missing)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path[:120])
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, SpineError("an error of its own"))


def _caller(request: web.Request) -> SpiffeId | None:
    if request.transport is None:  # the caller has gone already
        return None
    connection: ssl.SSLObject = request.transport.get_extra_info("ssl_object")
    try:
        return peer_id(connection)
    except CertificateError as error:
        if error.fault is CertificateFault.MISSING:
            return None
        raise


def _response(reply: Reply) -> web.StreamResponse:
    if reply is None:
        return web.Response(status=HTTPStatus.NO_CONTENT)
    if isinstance(reply, File):
        cache = "max-age=31536000, immutable" if reply.forever else "no-cache"
        headers = {"Content-Type": "application/octet-stream", "Cache-Control": cache}
        return web.FileResponse(reply.path, headers=headers, chunk_size=1 << 18)
    return web.Response(body=msgspec.json.encode(reply), content_type="application/json")


_STATUS = {
    Exit.REFUSED: HTTPStatus.FORBIDDEN,
    Exit.FILE_INVALID: HTTPStatus.BAD_REQUEST,
    Exit.WRONG_USE: HTTPStatus.BAD_REQUEST,
    Exit.DIFFERENT: HTTPStatus.CONFLICT,
    Exit.UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    Exit.TIMED_OUT: HTTPStatus.GATEWAY_TIMEOUT,
}


def _status(error: SkerryError) -> HTTPStatus:
    if isinstance(error, NotHereError):
        return HTTPStatus.NOT_FOUND
    return _STATUS.get(error.exit_code, HTTPStatus.INTERNAL_SERVER_ERROR)


def _refusal(status: int, error: SkerryError) -> web.Response:
    body = ErrorReply(
        error=ApiError(
            code=error.code,
            kind=type(error).__name__,
            text=str(error),
            hint=error.hint,
            exit_code=int(error.exit_code),
        )
    )
    response = web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )
    response.force_close()  # what is left of a refused body is not read
    return response
