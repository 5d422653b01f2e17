"""`Client`: the same as `AsyncClient`, for code that does not await.

    with Client("http://127.0.0.1:8000") as client:
        answer = client.infer("magika", file=Path("scan.pdf"))

The calling thread itself does the work (see `skerry.client.turns`); any number of threads
may share a client. Its methods are those of `AsyncClient`, made blocking one by one.
"""

import functools
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from skerry.base.clock import Clock
from skerry.base.http_client import CONNECT_S_MAX
from skerry.client.async_client import TIMEOUT_S, AsyncClient
from skerry.client.endpoints import Endpoints, from_run_file
from skerry.client.turns import Turns
from skerry.route.endpoint import Endpoint
from skerry.schema.shadow import ShadowRule

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Client", P], T]:
    """Return the blocking method of an awaited one: same name, signature and words."""

    @functools.wraps(method)
    def call(self: "Client", *args: P.args, **kwargs: P.kwargs) -> T:
        return self._turns.wait(method(self._client, *args, **kwargs))

    return cast(Callable[Concatenate["Client", P], T], call)


def _pieces(
    method: Callable[Concatenate[AsyncClient, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate["Client", P], Generator[T, None, None]]:
    """Return the blocking generator of an awaited one."""

    @functools.wraps(method)
    def call(self: "Client", *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        pieces = method(self._client, *args, **kwargs)
        try:
            while (piece := self._turns.wait(_next(pieces))) is not None:
                yield piece
        finally:
            self._turns.begin(_close(pieces))  # a finalizer comes here too, and may not wait

    return cast(Callable[Concatenate["Client", P], Generator[T, None, None]], call)


async def _next(pieces: AsyncGenerator[T, None]) -> T | None:
    return await anext(pieces, None)


async def _close(pieces: AsyncGenerator[Any, None]) -> None:
    await pieces.aclose()


class Client:
    """A blocking client of one or several inference endpoints; see `AsyncClient`."""

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
        self._client = AsyncClient(
            ends,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            data_class=data_class,
            roots=roots,
            identity=identity,
            tls=tls,
            headers=headers,
            insecure=insecure,
            compression=compression,
            shared_memory=shared_memory,
            shadow=shadow,
            shadow_folder=shadow_folder,
            clock=clock,
            rng=rng,
        )
        self._turns = Turns()

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

    infer = _blocking(AsyncClient.infer)
    infer_many = _blocking(AsyncClient.infer_many)
    send = _blocking(AsyncClient.send)
    stream = _pieces(AsyncClient.stream)
    shadow_records = _blocking(AsyncClient.shadow_records)
    ready = _blocking(AsyncClient.ready)
    server = _blocking(AsyncClient.server)
    metadata = _blocking(AsyncClient.metadata)
    models = _blocking(AsyncClient.models)
    statistics = _blocking(AsyncClient.statistics)
    load = _blocking(AsyncClient.load)
    unload = _blocking(AsyncClient.unload)
    call = _blocking(AsyncClient.call)

    def close(self) -> None:
        """Close every connection; a second call does nothing."""
        self._turns.close(self._client.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
