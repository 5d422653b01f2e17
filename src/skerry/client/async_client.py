"""`AsyncClient`: inference with numpy in and out, and the node's own routing inside.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        answer = await client.infer("magika", file=Path("scan.pdf"))

Failover, breakers, hedging and residency are `skerry.route.router`, the code that
nodes run. One client keeps connections and what it learned of each endpoint, so keep
one and share it between tasks.

Units:   seconds for what goes in, milliseconds in the answer.
Errors:  those of `skerry.client.errors` and `skerry.route.errors`.
"""

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from numpy.typing import ArrayLike

from skerry.base.clock import Clock, SystemClock
from skerry.base.http_client import HttpClient
from skerry.client.answer import Answer, answer_of, tensors_of
from skerry.client.endpoints import Endpoints, from_run_file, from_urls
from skerry.client.errors import ClientClosedError
from skerry.route.peer_http import HttpPeers
from skerry.route.router import Router
from skerry.schema.oip import InferRequest

TIMEOUT_S = 5.0


class AsyncClient:
    """An asynchronous client of one or several inference endpoints.

    `urls` are tried in order. `roots` is a file of CA certificates in PEM for https;
    `identity` the caller's own certificate and key files, where endpoints want one.
    `data_class` is sent with every request that names none itself.
    """

    def __init__(
        self,
        urls: str | Sequence[str] | Endpoints,
        *,
        timeout_s: float = TIMEOUT_S,
        data_class: str | None = None,
        roots: Path | None = None,
        identity: tuple[Path, Path] | None = None,
        insecure: bool = False,
        clock: Clock | None = None,
        rng: Random | None = None,
    ) -> None:
        if isinstance(urls, str):
            urls = [urls]
        ends = urls if isinstance(urls, Endpoints) else from_urls(urls, insecure=insecure)
        self._timeout_s, self._data_class = timeout_s, data_class
        self._clock = clock or SystemClock()
        self._http = HttpClient(_context(ends, roots, identity))
        peers = HttpPeers(self._http)
        self._router = Router(
            place=ends.place,
            node="",
            tier="",
            policy=ends.policy,
            tier_order=ends.tier_order,
            peers=ends.peers,
            call_peer=peers.call,
            probe_peer=peers.probe,
            clock=self._clock,
            rng=rng or Random(),  # noqa: S311 - spreads retries, guards nothing
            forwards=False,
        )
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
        version: str | int | None = None,
        data_class: str | None = None,
        deadline_s: float | None = None,
    ) -> Answer:
        """Send one request: `inputs` by name, or a `file` for models whose card takes files."""
        if self._closed:
            raise ClientClosedError
        started_s = self._clock.monotonic_s()
        tensors = tensors_of(inputs, file)
        request = InferRequest(
            model=model,
            version="" if version is None else str(version),
            inputs=tensors,
            data_class=data_class or self._data_class,
            deadline_s=self._timeout_s if deadline_s is None else deadline_s,
            received_s=started_s,
        )
        reply = await self._router.infer(request)
        return answer_of(reply, self._clock.monotonic_s() - started_s)

    async def aclose(self) -> None:
        """Close every connection; a second call does nothing."""
        self._closed = True
        await self._router.aclose()
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


def _context(
    ends: Endpoints, roots: Path | None, identity: tuple[Path, Path] | None
) -> ssl.SSLContext | None:
    if not any(peer.url.startswith("https:") for peer in ends.peers):
        return None
    context = ssl.create_default_context(cafile=None if roots is None else str(roots))
    if identity is not None:
        context.load_cert_chain(*identity)
    return context
