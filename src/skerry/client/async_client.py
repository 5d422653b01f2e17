"""`AsyncClient`: inference with numpy in and out, and the node's own routing inside.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        answer = await client.infer("magika", file=Path("scan.pdf"))

Failover, breakers, hedging and residency are `skerry.route.router`, the code that
nodes run. One client keeps connections and what it learned of each endpoint, so keep
one and share it between tasks. Every method here is on `Client` too, blocking.

Units:   seconds for what goes in, milliseconds in the answer.
Errors:  those of `skerry.client.errors` and `skerry.route.errors`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from numpy.typing import ArrayLike

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError, UsageError
from skerry.base.http_client import CONNECT_S_MAX, HttpClient
from skerry.client.answer import Answer, answer_of, tensors_of
from skerry.client.endpoints import (
    Endpoints,
    Trust,
    from_run_file,
    from_urls,
    is_near,
    open_endpoint,
)
from skerry.client.errors import ClientClosedError
from skerry.client.shadow import ClientShadow
from skerry.client.shared_memory import SharedInputs, TakesRegions
from skerry.client.stream import text_of
from skerry.client.trace import current_traceparent
from skerry.route.endpoint import Endpoint, ModelStatistics, probe
from skerry.route.errors import Considered, DeadlineExceededError
from skerry.route.peer_http import HttpEndpoint
from skerry.route.race import verdict_of
from skerry.route.router import Router
from skerry.schema.desired import Peer
from skerry.schema.oip import InferFunction, InferReply, InferRequest, Parameter
from skerry.schema.oip_documents import IndexRow, ModelMetadata, ServerMetadata
from skerry.schema.oip_facts import write_facts
from skerry.schema.shadow import ShadowRecord, ShadowRule

TIMEOUT_S: Final = 5.0
STREAM_S: Final = 300.0
"""Time for a streamed answer that is given none: language models take theirs."""
CONCURRENCY: Final = 16
"""Requests of one `infer_many` that are under way at once."""
T = TypeVar("T")
Version = str | int | None


class AsyncClient:
    """An asynchronous client of one or several inference endpoints.

    `ends` are URLs, tried in order (`skerry.client.endpoints` has their forms), or objects
    such as a `LocalEngine` or a fake; an object belongs to the client it is given to.
    `timeout_s` is the deadline of calls that name none. `roots` is a file of CA
    certificates in PEM for TLS; `identity` the caller's own certificate and key files,
    where endpoints want one; `tls` a context of its own for https in place of both.
    `headers` go with every call, as metadata over gRPC. `data_class` is sent with
    requests that name none.
    `compression` (`zstd`, `gzip`, `deflate`) is for bodies both ways, over slow links; gRPC
    takes gzip for zstd.
    With `shared_memory`, large inputs go to servers on this machine through shared memory.
    `shadow` copies a share of the requests to a candidate (`skerry.client.shadow`); its
    records, and the examples that a rule allows, go to `shadow_folder` where one is given.
    """

    def __init__(
        self,
        ends: str | Endpoint | Sequence[str | Endpoint] | Endpoints,
        *,
        timeout_s: float = TIMEOUT_S,
        connect_timeout_s: float = CONNECT_S_MAX,
        data_class: str | None = None,
        roots: Path | None = None,
        identity: tuple[Path, Path] | None = None,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        insecure: bool = False,
        compression: str = "",
        shared_memory: bool = False,
        shadow: ShadowRule | Sequence[ShadowRule] = (),
        shadow_folder: Path | None = None,
        clock: Clock | None = None,
        rng: Random | None = None,
    ) -> None:
        if not isinstance(ends, Endpoints):
            ends = from_urls(ends, insecure=insecure)
        self._timeout_s, self._data_class = timeout_s, data_class
        self._http = HttpClient(connect_s_max=connect_timeout_s)
        trust = Trust(roots=roots, identity=identity, made=tls)
        sent = tuple((headers or {}).items())
        self._links: dict[str, Endpoint] = {
            peer.node: ends.links.get(peer.node)
            or open_endpoint(
                peer.url,
                self._http,
                trust,
                connect_s=connect_timeout_s,
                headers=sent,
                compression=compression,
            )
            for peer in ends.peers
        }
        self._shared = {
            node: SharedInputs(cast(TakesRegions, link))
            for node, link in self._links.items()
            if shared_memory and is_near(link.url)
        }
        self._near = [
            peer.node for peer in ends.peers if ends.policy is None or peer.site == ends.place.site
        ]
        self._clock = clock or _clock_of(ends)
        self._router = Router(
            place=ends.place,
            node="",
            tier="",
            policy=ends.policy,
            tier_order=ends.tier_order,
            peers=ends.peers,
            call_peer=self._call,
            probe_peer=lambda peer: probe(self._links[peer.node]),
            clock=self._clock,
            rng=rng or Random(),  # noqa: S311 - spreads retries, guards nothing
            forwards=False,
            explains=True,
        )
        self._infer: InferFunction = self._router.infer
        self._shadow: ClientShadow | None = None
        if shadow:
            self._shadow = ClientShadow(
                self._infer,
                shadow,
                ends=ends,
                links=self._links,
                open_link=lambda url: open_endpoint(
                    from_urls(url, insecure=insecure).peers[0].url,
                    self._http,
                    trust,
                    connect_s=connect_timeout_s,
                ),
                folder=shadow_folder,
                clock=self._clock,
            )
            self._infer = self._shadow.shadow.infer
        self._closed = False

    @classmethod
    def for_site(
        cls,
        fleet: Path,
        site: str,
        *,
        timeout_s: float = TIMEOUT_S,
        data_class: str | None = None,
    ) -> Self:
        """Return a client that stands at a site of the local fleet in this folder."""
        return cls(from_run_file(fleet, site), timeout_s=timeout_s, data_class=data_class)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike] | None = None,
        *,
        file: bytes | Path | Sequence[bytes] | None = None,
        outputs: Sequence[str] | None = None,
        version: Version = None,
        data_class: str | None = None,
        deadline_s: float | None = None,
        priority: int = 0,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        traceparent: str | None = None,
    ) -> Answer:
        """Send one request: `inputs` by name, or a `file` for models whose card takes files.

        `outputs` names the wanted ones; all by default. `priority` 1 is the most urgent, 0
        the model's default. The trace is OpenTelemetry's current one unless given.
        """
        request = InferRequest(
            model=model,
            version=_text(version),
            inputs=tensors_of(inputs, file),
            outputs=None if outputs is None else list(outputs),
            data_class=data_class,
            deadline_s=deadline_s,
            priority=priority,
            parameters={**(parameters or {}), **({"priority": priority} if priority else {})},
            id=request_id,
            traceparent=traceparent,
        )
        started_s = self._clock.monotonic_s()
        reply = await self.send(request)
        return answer_of(reply, self._clock.monotonic_s() - started_s)

    async def infer_many(
        self,
        model: str,
        requests: Iterable[Mapping[str, ArrayLike]],
        *,
        concurrency: int = CONCURRENCY,
        outputs: Sequence[str] | None = None,
        version: Version = None,
        data_class: str | None = None,
        deadline_s: float | None = None,
        priority: int = 0,
    ) -> list[Answer]:
        """Send many requests, some at a time, and return their answers in order.

        `requests` is read as far as requests are sent. The first failure ends the others.
        """
        if concurrency < 1:
            raise UsageError(f"concurrency is {concurrency}", "1 or more")
        answers: dict[int, Answer] = {}
        waiting = enumerate(requests)

        async def work() -> None:
            for number, inputs in waiting:
                await asyncio.sleep(0)  # an end in this process may answer without a wait
                answers[number] = await self.infer(
                    model,
                    inputs,
                    outputs=outputs,
                    version=version,
                    data_class=data_class,
                    deadline_s=deadline_s,
                    priority=priority,
                )

        workers = [asyncio.ensure_future(work()) for _ in range(concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [answers[number] for number in range(len(answers))]

    async def send(self, request: InferRequest) -> InferReply:
        """Send a request in the protocol's own words; the client's defaults fill it up."""
        if self._closed:
            raise ClientClosedError
        request.received_s = self._clock.monotonic_s()
        if request.deadline_s is None:
            request.deadline_s = self._timeout_s
        request.data_class = request.data_class or self._data_class
        request.traceparent = request.traceparent or current_traceparent()
        return await self._infer(request)

    async def shadow_records(self) -> list[ShadowRecord]:
        """Wait for the copies under way and return what came of each shadow rule."""
        if self._shadow is None:
            return []
        await self._shadow.shadow.settle()
        return self._shadow.shadow.records

    async def stream(
        self,
        model: str,
        messages: str | Sequence[Mapping[str, object]],
        *,
        data_class: str | None = None,
        deadline_s: float = STREAM_S,
        options: Mapping[str, object] | None = None,
    ) -> AsyncGenerator[str, None]:
        """Yield a language model's answer as it is made, piece by piece.

        `messages` are those of the OpenAI API, or one text of the user's; `options` its
        other fields, `max_tokens` and so on. The ends are tried in order until one begins to
        answer. Where a policy holds, only nodes of the own site are asked; they decide.
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        ask = {**(options or {}), "model": model, "messages": messages, "stream": True}
        request = InferRequest(
            model=model,
            inputs=[],
            data_class=data_class or self._data_class,
            traceparent=current_traceparent(),
        )
        facts = write_facts(request, deadline_s)
        ends = [self._link(node) for node in self._near]
        links = [link for link in ends if isinstance(link, HttpEndpoint)]
        if not links:
            raise UsageError("no end of this client streams", "an http(s):// or unix:// endpoint")
        for number, link in enumerate(links, 1):
            begun = False
            try:
                async with contextlib.aclosing(text_of(link, ask, facts, deadline_s)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except (SkerryError, TimeoutError) as error:
                if begun or number == len(links) or verdict_of(error) is None:
                    raise _typed(link, error) from error

    async def ready(self, model: str | None = None, version: Version = None) -> bool:
        """Say whether some endpoint would answer now: anything, or this model."""
        if self._closed:
            raise ClientClosedError
        for link in self._links.values():
            try:
                if await link.ready(model or "", _text(version), self._timeout_s):
                    return True
            except (SkerryError, TimeoutError):
                continue
        return False

    async def server(self, *, end: str | None = None) -> ServerMetadata:
        """Say who answers: the first endpoint that does, or the one named by its URL."""
        return await self._first(end, lambda link: link.server(self._timeout_s))

    async def metadata(
        self, model: str, version: Version = None, *, end: str | None = None
    ) -> ModelMetadata:
        """Describe a model's versions, inputs and outputs."""
        return await self._first(
            end, lambda link: link.metadata(model, _text(version), self._timeout_s)
        )

    async def models(self, *, end: str | None = None) -> list[IndexRow]:
        """List the model versions of an endpoint and their states."""
        return await self._first(end, lambda link: link.models(self._timeout_s))

    async def statistics(
        self, model: str | None = None, version: Version = None, *, end: str | None = None
    ) -> list[ModelStatistics]:
        """Count what an endpoint's models did since it started."""
        return await self._first(
            end, lambda link: link.statistics(model or "", _text(version), self._timeout_s)
        )

    async def load(
        self,
        model: str,
        *,
        folder: Path | None = None,
        end: str | None = None,
        deadline_s: float | None = None,
    ) -> None:
        """Have one endpoint, the first unless named, load or swap a model.

        `folder` is a version folder on the endpoint's machine; else its repository is read.
        Endpoints take this from their own machine only.
        """
        path = "" if folder is None else str(folder.absolute())
        left_s = deadline_s or self._timeout_s
        await self._first(end or self._own, lambda link: link.load(model, path, left_s))

    async def unload(
        self, model: str, *, end: str | None = None, deadline_s: float | None = None
    ) -> None:
        """Have one endpoint, the first unless named, take a model out of service."""
        left_s = deadline_s or self._timeout_s
        await self._first(end or self._own, lambda link: link.unload(model, left_s))

    async def call(self, path: str, body: object = None, *, end: str | None = None) -> Any:
        """Ask an HTTP endpoint's own path, for what has no name here: JSON in and out.

        GET, or POST where there is a body. The first endpoint unless one is named.
        """

        async def ask(link: Endpoint) -> Any:
            if not isinstance(link, HttpEndpoint):
                raise UsageError(f"{link.url} has no paths", "an http(s):// or unix:// endpoint")
            return await link.document(path, body, self._timeout_s)

        return await self._first(end or self._own, ask)

    async def aclose(self) -> None:
        """Close every connection; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._shadow is not None:
            await self._shadow.aclose()
        await self._router.aclose()
        for shared in self._shared.values():
            await shared.aclose()
        for link in self._links.values():
            await link.aclose()
        self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _call(self, peer: Peer, request: InferRequest, left_s: float) -> InferReply:
        carrier = self._shared.get(peer.node) or self._links[peer.node]
        return await carrier.infer(request, left_s)

    async def _first(self, end: str | None, ask: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Ask the named endpoint, or each in order until one answers; raise the last refusal."""
        links = [self._link(name) for name in (self._links if end is None else [end])]
        for link in links:
            try:
                return await ask(link)
            except (SkerryError, TimeoutError) as error:
                if link is links[-1]:
                    raise _typed(link, error) from error
        raise AssertionError  # never reached: a client has endpoints

    @property
    def _own(self) -> str:
        """The first end: the one that is changed unless another is named."""
        return next(iter(self._links))

    def _link(self, end: str) -> Endpoint:
        if self._closed:
            raise ClientClosedError
        if end not in self._links:
            raise UsageError(f"{end!r} is no endpoint of this client", ", ".join(self._links))
        return self._links[end]


def _clock_of(ends: Endpoints) -> Clock:
    """A fake brings the clock that its answers take time on; the fakes of a client share it."""
    clocks = [link.clock for link in ends.links.values() if hasattr(link, "clock")]
    if any(clock is not clocks[0] for clock in clocks):
        raise UsageError("the endpoints have different clocks", "give the fakes one clock=")
    return clocks[0] if clocks else SystemClock()


def _typed(link: Endpoint, error: SkerryError | TimeoutError) -> SkerryError:
    """Return an error as the SDK raises it: silence gets the class that requests have for it."""
    if isinstance(error, SkerryError):
        return error
    silent = Considered(link.url, "", "", "deadline", "no answer yet")
    return DeadlineExceededError(link.url, [silent])


def _text(version: Version) -> str:
    return "" if version is None else str(version)
