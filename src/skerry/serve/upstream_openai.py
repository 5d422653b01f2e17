"""Any server with the OpenAI API as a runtime: vLLM, llama.cpp and others.

Its inputs are the path and the request, its outputs the answer and the tokens it cost, so
it is asked like any model, over every door and from other nodes. An answer that was asked
for as a stream comes as one here (`stream`), or whole with all its events (`run`).

Errors:  OpenAiRequestError, UpstreamRefusedError, UpstreamFailedError, UpstreamDownError;
         those of HttpClient.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.schema.answer_stream import AnswerStream
from skerry.schema.openai import (
    EVENT_STREAM,
    INPUTS,
    OUTPUTS,
    OpenAiAsk,
    read_ask,
    text_tensor,
    usage_in,
)
from skerry.schema.openai_stream import events_of
from skerry.serve.upstream_call import UpstreamCalls
from skerry.serve.upstream_errors import UpstreamFailedError
from skerry.serve.upstreams import Spent

Array = NDArray[Any]


class OpenAiUpstream:
    """One model of a server with the OpenAI API."""

    def __init__(self, name: str, calls: UpstreamCalls, spent: Spent) -> None:
        self.name = name
        self.inputs, self.outputs = INPUTS, OUTPUTS
        self.output_names = [spec.name for spec in OUTPUTS]
        self._calls, self._spent = calls, spent
        self._model = calls.settings.model or name

    async def probe(self) -> None:
        """Raise unless the server says that it is ready."""
        await self._calls.look(self._calls.settings.ready_at(self.name))

    async def run(self, inputs: dict[str, Array], outputs: list[str], left_s: float) -> list[Array]:
        """Ask and return the whole answer."""
        ask = self._read(inputs)
        answer = await self._calls.ask(
            "POST", f"/{ask.path}", _JSON, [ask.body_for(self._model)], left_s
        )
        tokens_in, tokens_out = usage_in(answer.body)
        self._spent(self.name, tokens_in, tokens_out)
        found = {
            "answer": text_tensor("answer", bytes(answer.body)).data,
            "usage": np.array([tokens_in, tokens_out], dtype=np.int64),
        }
        return [found[name] for name in outputs]

    async def stream(self, inputs: dict[str, Array], left_s: float) -> AnswerStream:
        """Ask and return the answer's events as they come."""
        ask = self._read(inputs)
        answer = await self._calls.begin(f"/{ask.path}", _JSON, [ask.body_for(self._model)], left_s)
        if EVENT_STREAM not in answer.headers.get("content-type", ""):
            answer.close()
            raise UpstreamFailedError(self.name, "a stream was asked for and no events came")
        stream = events_of(answer, ask, lambda why: UpstreamFailedError(self.name, why))

        def ended(stream: AnswerStream) -> None:
            answer.close()
            self._spent(self.name, stream.tokens_in, stream.tokens_out)

        stream.when_ended(ended)
        return stream

    def close(self) -> None:
        """Let its connections go."""
        self._calls.close()

    def _read(self, inputs: dict[str, Array]) -> OpenAiAsk:
        path, body = inputs["path"].flat[0], inputs["request"].flat[0]
        return read_ask(bytes(path).decode("utf-8", "replace"), bytes(body))


_JSON = [("content-type", "application/json")]
