"""`Client`: the same as `AsyncClient`, for code that does not await.

    with Client("http://127.0.0.1:8000") as client:
        answer = client.infer("magika", file=Path("scan.pdf"))

One background thread runs one event loop; any number of threads may share a client.
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from numpy.typing import ArrayLike

from skerry.client.answer import Answer
from skerry.client.async_client import TIMEOUT_S, AsyncClient
from skerry.client.endpoints import Endpoints, from_run_file
from skerry.client.errors import ClientClosedError

T = TypeVar("T")


class Client:
    """A blocking client of one or several inference endpoints; see `AsyncClient`."""

    def __init__(
        self,
        urls: str | Sequence[str] | Endpoints,
        *,
        timeout_s: float = TIMEOUT_S,
        data_class: str | None = None,
        roots: Path | None = None,
        identity: tuple[Path, Path] | None = None,
        insecure: bool = False,
    ) -> None:
        self._client = AsyncClient(
            urls,
            timeout_s=timeout_s,
            data_class=data_class,
            roots=roots,
            identity=identity,
            insecure=insecure,
        )
        self._loop = asyncio.new_event_loop()
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="skerry-client", daemon=True)
        self._thread.start()

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

    def infer(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike] | None = None,
        *,
        file: bytes | Path | Sequence[bytes] | None = None,
        version: str | int | None = None,
        data_class: str | None = None,
        deadline_s: float | None = None,
    ) -> Answer:
        """Send one request and wait for its answer; see `AsyncClient.infer`."""
        return self._wait(
            self._client.infer(
                model,
                inputs,
                file=file,
                version=version,
                data_class=data_class,
                deadline_s=deadline_s,
            )
        )

    def close(self) -> None:
        """Close every connection and end the thread; a second call does nothing."""
        with self._closing:
            if self._loop.is_closed():
                return
            self._wait(self._client.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise ClientClosedError
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupted caller waits no longer, so nor does the request
            raise
