"""Any Open Inference Protocol server over HTTP as a runtime: Triton, OpenVINO Model Server,
MLServer, KServe, or another skerry.

Tensors travel raw where the server says that it has the binary extension, or where the file
says so; else as JSON lists (MLServer has no binary extension over HTTP). What goes in and
out is read from the server's own metadata each time it becomes ready.

Errors:  UpstreamRefusedError, UpstreamFailedError, UpstreamDownError; those of HttpClient.
"""

from typing import Any
from urllib.parse import quote

import msgspec
from numpy.typing import NDArray

from skerry.base.http_client import Answer
from skerry.schema.answer_stream import AnswerStream
from skerry.schema.model import Card, TensorSpec
from skerry.schema.oip import DATATYPES, InferRequest, Tensor
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_facts import write_facts
from skerry.schema.oip_http import (
    HEADER_JSON_LENGTH,
    decode_reply,
    encode_request,
    parse_json_length,
)
from skerry.serve.upstream_call import UpstreamCalls
from skerry.serve.upstream_errors import UpstreamDownError, UpstreamFailedError

Array = NDArray[Any]

BINARY = "binary_tensor_data"
_PROBE_S_MAX = 5.0


class _ServerMetadata(msgspec.Struct):
    extensions: list[str] = []


class _ModelMetadata(msgspec.Struct):
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []


class OipUpstream:
    """One model of an OIP server."""

    def __init__(self, name: str, calls: UpstreamCalls, card: Card | None) -> None:
        settings = calls.settings
        self.name = name
        self._calls = calls
        self._card = card
        self._model = settings.model or name
        self._version = settings.version
        version = f"/versions/{quote(self._version, safe='')}" if self._version else ""
        self._path = f"/v2/models/{quote(self._model, safe='')}{version}"
        self._binary = settings.tensors == "binary"
        self._specs: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]] | None = None
        self._ready = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Every input, as the server's metadata has it; unknown until it was ready once."""
        return self._known()[0]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Every output."""
        return self._known()[1]

    @property
    def output_names(self) -> list[str]:
        """The outputs' names, in order."""
        return [spec.name for spec in self._known()[1]]

    async def probe(self) -> None:
        """Raise unless the server is ready; learn its model again when it has become so."""
        try:
            await self._calls.look(self._calls.settings.ready_at(self.name))
            if not self._ready:
                await self._learn()
        except BaseException:
            self._ready = False
            raise
        self._ready = True

    async def run(self, inputs: dict[str, Array], outputs: list[str], left_s: float) -> list[Array]:
        """Send the tensors, return those that came back."""
        datatypes = {spec.name: spec.datatype for spec in self.inputs}
        request = InferRequest(
            model=self._model,
            inputs=[
                Tensor(name, datatypes[name], array.shape, array) for name, array in inputs.items()
            ],
            outputs=outputs,
            binary_outputs=self._binary,
        )
        json_length, body = encode_request(request, binary=self._binary)
        headers = [*write_facts(request, left_s).items()]
        if json_length is None:
            headers.append(("content-type", "application/json"))
        else:
            headers.append(("content-type", "application/octet-stream"))
            headers.append((HEADER_JSON_LENGTH, str(json_length)))
        answer = await self._calls.ask("POST", f"{self._path}/infer", headers, body, left_s)
        return self._arrays(answer, outputs)

    async def stream(self, inputs: dict[str, Array], left_s: float) -> AnswerStream:
        """Refuse: the protocol has no streams over HTTP."""
        raise UpstreamFailedError(self.name, "an OIP server does not answer piece by piece")

    def close(self) -> None:
        """Let its connections go."""
        self._calls.close()

    def _known(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        if self._specs is None:
            raise UpstreamDownError(self.name, "it has not said yet what its model takes")
        return self._specs

    async def _learn(self) -> None:
        calls = self._calls
        answer = await calls.ask("GET", self._path, [], [], _PROBE_S_MAX)
        found = calls.decoded(answer.body, _ModelMetadata)
        # Some servers list nothing for models of their own kind: then the card says it.
        inputs = tuple(found.inputs) or (self._card.inputs if self._card else ())
        outputs = tuple(found.outputs) or (self._card.outputs if self._card else ())
        if not inputs or not outputs:
            raise UpstreamFailedError(
                self.name, "its metadata lists no inputs or no outputs, and no card.json does"
            )
        for spec in (*inputs, *outputs):
            if spec.datatype not in DATATYPES:
                raise UpstreamFailedError(
                    self.name, f"{spec.name} is {spec.datatype}, which is not known here"
                )
        if calls.settings.tensors == "auto":
            server = await calls.ask("GET", "/v2", [], [], _PROBE_S_MAX)
            self._binary = BINARY in calls.decoded(server.body, _ServerMetadata).extensions
        self._specs = inputs, outputs

    def _arrays(self, answer: Answer, names: list[str]) -> list[Array]:
        try:
            length = parse_json_length(answer.headers.get(HEADER_JSON_LENGTH))
            found = {tensor.name: tensor for tensor in decode_reply(answer.body, length).outputs}
        except OipError as error:
            raise UpstreamFailedError(self.name, str(error)) from error
        datatypes = {spec.name: spec.datatype for spec in self.outputs}
        for name in names:
            if name not in found:
                raise UpstreamFailedError(self.name, f"its answer is without output {name}")
            if found[name].datatype != datatypes[name]:
                raise UpstreamFailedError(
                    self.name, f"output {name} is {found[name].datatype}, not {datatypes[name]}"
                )
        return [found[name].data for name in names]
