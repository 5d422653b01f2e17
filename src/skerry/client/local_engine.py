"""A model repository served inside this process: the SDK's nearest endpoint, with no socket.

The same repository, service and file front as `skerry serve`, stepped by the client's own
event loop. Models load with the first call; a call whose deadline is over by then goes on
to the client's next endpoint while they load on.

    with Client(["local:///srv/models", "https://inference.example"]) as client: ...

Units:   seconds.
Errors:  RepositoryError, for a folder that is none; PeerAnsweredError, as over a wire.
"""

import asyncio
from pathlib import Path

import msgspec

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError
from skerry.pipeline.front import wrap
from skerry.route.endpoint import ModelStatistics
from skerry.route.errors import PeerAnsweredError
from skerry.schema.oip import InferReply, InferRequest
from skerry.schema.oip_documents import IndexRow, ModelMetadata, ServerMetadata
from skerry.serve.errors import RepositoryError, facts_of
from skerry.serve.repository import Repository
from skerry.serve.service import Service

QUEUE_LEN_MAX = 64


class LocalEngine:
    """One repository; see `route.endpoint.Endpoint`. It belongs to the client it is given to."""

    def __init__(
        self,
        repository: str | Path,
        *,
        queue_len_max: int = QUEUE_LEN_MAX,
        clock: Clock | None = None,
    ) -> None:
        folder = Path(repository)
        if not folder.is_dir():
            raise RepositoryError(str(folder), "no folder")
        self.url = f"local://{folder.absolute()}"
        clock = clock or SystemClock()
        self._repository = Repository(folder, queue_len_max=queue_len_max, clock=clock)
        self._service = Service(self._repository, clock=clock)
        self._infer = wrap(self._service.infer, self._service.card)
        self._starting: asyncio.Task[None] | None = None

    async def infer(self, request: InferRequest, deadline_s: float) -> InferReply:
        """Answer one request here."""
        await self._started(deadline_s)
        try:
            async with asyncio.timeout(deadline_s):  # a run in a thread ends when it ends
                return await self._infer(request)
        except SkerryError as error:
            raise self._told(error) from error

    async def ready(self, model: str, version: str, deadline_s: float) -> bool:
        """Say whether it would answer."""
        await self._started(deadline_s)
        try:
            return self._service.model_ready(model, version) if model else self._service.ready()
        except SkerryError:
            return False

    async def server(self, deadline_s: float) -> ServerMetadata:
        """Say who answers here."""
        return self._service.server_metadata()

    async def metadata(self, model: str, version: str, deadline_s: float) -> ModelMetadata:
        """Describe a model."""
        await self._started(deadline_s)
        try:
            return self._service.metadata(model, version)
        except SkerryError as error:
            raise self._told(error) from error

    async def models(self, deadline_s: float) -> list[IndexRow]:
        """List the model versions."""
        await self._started(deadline_s)
        return self._service.index()

    async def statistics(
        self, model: str, version: str, deadline_s: float
    ) -> list[ModelStatistics]:
        """Count what its models did."""
        await self._started(deadline_s)
        try:
            rows = self._service.statistics(model, version)
        except SkerryError as error:
            raise self._told(error) from error
        return msgspec.convert(rows, list[ModelStatistics])

    async def load(self, model: str, folder: str, deadline_s: float) -> None:
        """Load or swap a model."""
        await self._started(deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                await self._service.load(model, Path(folder) if folder else None)
        except SkerryError as error:
            raise self._told(error) from error

    async def unload(self, model: str, deadline_s: float) -> None:
        """Take a model out of service."""
        await self._started(deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                await self._service.unload(model)
        except SkerryError as error:
            raise self._told(error) from error

    async def aclose(self) -> None:
        """Answer what is under way, and take nothing more."""
        self._service.close()
        if self._starting is not None:
            await asyncio.wait([self._starting])
        await self._repository.drain()

    async def _started(self, deadline_s: float) -> None:
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        if not self._starting.done():
            async with asyncio.timeout(deadline_s):
                await asyncio.shield(self._starting)
        self._starting.result()

    async def _start(self) -> None:
        await self._repository.load_all()
        self._service.open()

    def _told(self, error: SkerryError) -> PeerAnsweredError:
        """Return an engine's error as a server would have answered it."""
        status, _, wait_s = facts_of(error)
        return PeerAnsweredError(self.url, status, str(error), wait_s, error.code)
