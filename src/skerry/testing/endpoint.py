"""A fake inference endpoint for tests: programmable answers, latencies and errors, and no socket.

    fake = FakeEndpoint({"double": lambda inputs: {"y": inputs["x"] * 2}})
    with Client(fake) as client:
        assert client.infer("double", {"x": np.ones(3)}).outputs["y"].sum() == 6
    assert fake.seen[0].model == "double"

It is an endpoint like any other (`skerry.route.endpoint.Endpoint`): the client's routing,
deadlines, hedging and errors are the real ones. Time is simulated, so a latency of ten
seconds takes none; fakes of one client share one clock.

Units:   seconds, on the simulated clock.
Errors:  those of a real endpoint, as programmed.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from skerry.base.clock import Clock
from skerry.base.http_errors import PeerUnreachableError
from skerry.route.endpoint import Duration, ModelStatistics
from skerry.route.errors import PeerAnsweredError
from skerry.schema.model import TensorSpec
from skerry.schema.oip import InferReply, InferRequest, ServedBy, Tensor
from skerry.schema.oip_documents import IndexRow, ModelMetadata, ServerMetadata
from skerry.schema.oip_tensors import tensor_from_array
from skerry.testing.simulated_clock import SimulatedClock

Outputs = Mapping[str, ArrayLike]
Answer = Callable[[dict[str, NDArray[Any]]], Outputs]
"""Makes a model's outputs, by name, of its inputs."""


@dataclass(slots=True, kw_only=True)
class FakeModel:
    """A model: how it answers, how long it takes more, and what it takes, if `inputs` say so."""

    answer: Answer | Outputs
    inputs: Sequence[TensorSpec] = ()
    outputs: Sequence[TensorSpec] = ()
    version: str = "1"
    latency_s: float = 0.0
    loaded: bool = True
    answered: int = field(default=0, init=False)


class FakeEndpoint:
    """One endpoint. Its attributes may be changed at any time.

    `latency_s` is how long each answer takes. `down` refuses connections, `silent` never
    answers, `fail` programs errors for the next requests. `seen` has every request that
    arrived, those that failed too.
    """

    def __init__(
        self,
        models: Mapping[str, FakeModel | Answer | Outputs],
        *,
        latency_s: float = 0.0,
        clock: Clock | None = None,
        url: str = "fake://endpoint",
        site: str = "fake",
        node: str = "fake/1",
        tier: str = "fake",
    ) -> None:
        self.url = url
        self.clock = clock or SimulatedClock()
        self.latency_s = latency_s
        self.down = self.silent = self.closed = False
        self.seen: list[InferRequest] = []
        self.fakes = {
            name: model if isinstance(model, FakeModel) else FakeModel(answer=model)
            for name, model in models.items()
        }
        self._failures: deque[Exception] = deque()
        self._served = (site, node, tier)

    def fail(
        self,
        status: int = 503,
        text: str = "told to fail",
        *,
        times: int = 1,
        retry_after_s: float | None = None,
        error: Exception | None = None,
    ) -> None:
        """Answer the next requests with an HTTP status, or raise `error` in place of it."""
        failure = error or PeerAnsweredError(self.url, status, text, retry_after_s)
        self._failures.extend([failure] * times)

    async def infer(self, request: InferRequest, deadline_s: float) -> InferReply:
        """Answer one request as programmed."""
        fake = self.fakes.get(request.model)
        if not self.down:
            self.seen.append(msgspec.structs.replace(request))
        await self._reached(deadline_s, self.latency_s + (fake.latency_s if fake else 0.0))
        if self._failures:
            raise self._failures.popleft()
        model = self._model(request.model, request.version)
        self._check(request, model)
        answer = model.answer
        given = {tensor.name: tensor.data for tensor in request.inputs}
        arrays = answer(given) if callable(answer) else answer
        unknown = sorted(set(request.outputs or ()) - arrays.keys())
        if unknown:
            raise PeerAnsweredError(self.url, 400, f"there is no output {unknown[0]!r}")
        model.answered += 1
        site, node, tier = self._served
        return InferReply(
            model=request.model,
            version=model.version,
            id=request.id,
            outputs=[_tensor(name, arrays[name]) for name in request.outputs or arrays],
            served_by=ServedBy(
                site=site,
                node=node,
                tier=tier,
                model=request.model,
                version=model.version,
                reason="local",
            ),
        )

    async def ready(self, model: str, version: str, deadline_s: float) -> bool:
        """Say whether it would answer."""
        await self._reached(deadline_s, 0.0)
        fake = self.fakes.get(model)
        return not model or (fake is not None and fake.loaded)

    async def server(self, deadline_s: float) -> ServerMetadata:
        """Say who answers here."""
        await self._reached(deadline_s)
        return ServerMetadata(name="fake", version="1")

    async def metadata(self, model: str, version: str, deadline_s: float) -> ModelMetadata:
        """Describe a model."""
        await self._reached(deadline_s)
        fake = self._model(model, version)
        return ModelMetadata(
            name=model,
            versions=(fake.version,),
            platform="fake",
            inputs=tuple(fake.inputs),
            outputs=tuple(fake.outputs),
        )

    async def models(self, deadline_s: float) -> list[IndexRow]:
        """List the models."""
        await self._reached(deadline_s)
        return [
            IndexRow(
                name=name, version=fake.version, state="READY" if fake.loaded else "UNAVAILABLE"
            )
            for name, fake in self.fakes.items()
        ]

    async def statistics(
        self, model: str, version: str, deadline_s: float
    ) -> list[ModelStatistics]:
        """Count the answers."""
        await self._reached(deadline_s)
        names = [model] if model else list(self.fakes)
        return [_statistics(name, self._model(name, version)) for name in names]

    async def load(self, model: str, folder: str, deadline_s: float) -> None:
        """Put a model into service."""
        await self._reached(deadline_s)
        if model not in self.fakes:
            raise PeerAnsweredError(self.url, 404, f"there is no model {model!r}")
        self.fakes[model].loaded = True

    async def unload(self, model: str, deadline_s: float) -> None:
        """Take a model out of service."""
        await self._reached(deadline_s)
        self._model(model, "").loaded = False

    async def aclose(self) -> None:
        """Note that the client let go."""
        self.closed = True

    async def _reached(self, deadline_s: float, latency_s: float | None = None) -> None:
        if self.down:
            raise PeerUnreachableError(self.url, "it is told to be down")
        wait_s = self.latency_s if latency_s is None else latency_s
        if self.silent or wait_s >= deadline_s:
            await self.clock.sleep(deadline_s)
            raise TimeoutError(f"{self.url}: no answer in time")
        if wait_s:
            await self.clock.sleep(wait_s)

    def _model(self, name: str, version: str) -> FakeModel:
        model = self.fakes.get(name)
        if model is None or not model.loaded or version not in ("", model.version):
            raise PeerAnsweredError(self.url, 404, f"there is no model {name!r} {version}".strip())
        return model

    def _check(self, request: InferRequest, model: FakeModel) -> None:
        """Refuse what a real model would: other names, datatypes or shapes than declared."""
        if not model.inputs:
            return
        given = {tensor.name: tensor for tensor in request.inputs}
        wanted = {spec.name: spec for spec in model.inputs}
        if given.keys() != wanted.keys():
            raise PeerAnsweredError(
                self.url, 400, f"inputs are {sorted(given)}, wanted {sorted(wanted)}"
            )
        for name, spec in wanted.items():
            tensor = given[name]
            shaped = len(tensor.shape) == len(spec.shape) and all(
                axis in (-1, length) for axis, length in zip(spec.shape, tensor.shape, strict=True)
            )
            if tensor.datatype != spec.datatype or not shaped:
                found = f"{tensor.datatype} {list(tensor.shape)}"
                raise PeerAnsweredError(
                    self.url,
                    400,
                    f"input {name} is {found}, wanted {spec.datatype} {list(spec.shape)}",
                )


def _tensor(name: str, value: ArrayLike) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind in "US":
        texts = [item.encode() if isinstance(item, str) else item for item in array.ravel()]
        flat = np.empty(len(texts), dtype=np.object_)
        flat[:] = texts
        array = flat.reshape(array.shape)
    return tensor_from_array(name, array)


def _statistics(name: str, fake: FakeModel) -> ModelStatistics:
    return ModelStatistics(
        name=name,
        version=fake.version,
        inference_count=fake.answered,
        execution_count=fake.answered,
        inference_stats={"success": Duration(count=fake.answered)},
    )
