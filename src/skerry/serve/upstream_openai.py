"""Any server with the OpenAI API as a runtime: vLLM, llama.cpp and others.

Its inputs are the path and the request, its outputs the answer and the tokens it cost, so
it is asked like any model, over every door and from other nodes. An answer that was asked
for as a stream comes as one here (`stream`), or whole with all its events (`run`).

Errors:  OpenAiRequestError, UpstreamRefusedError, UpstreamFailedError, UpstreamDownError;
         those of HttpClient.
"""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.http_errors import PeerBrokenError, PeerUnreachableError
from skerry.base.http_stream import StreamedAnswer
from skerry.schema.answer_stream import AnswerStream
from skerry.schema.openai import (
    EVENT_STREAM,
    INPUTS,
    OUTPUTS,
    Events,
    OpenAiAsk,
    error_document,
    error_kind,
    read_ask,
    text_tensor,
    usage_in,
    usage_of_event,
)
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
        reading = _Reading(self.name, answer, ask)
        stream = reading.stream

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


class _Reading:
    """One streamed answer: its events, less the one that only we asked for."""

    def __init__(self, model: str, answer: StreamedAnswer, ask: OpenAiAsk) -> None:
        self._model, self._answer, self._ask = model, answer, ask
        self.stream = AnswerStream(self._pieces())

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        events = Events()
        try:
            async for piece in self._answer:
                passed = b"".join(event for event in events.feed(piece) if self._passes(event))
                if passed:
                    yield passed
            if events.rest:
                yield events.rest
        except (PeerUnreachableError, PeerBrokenError, ValueError) as error:
            # The head is out: what is wrong comes as the last event, as these servers do it.
            late = isinstance(self.stream.error, TimeoutError)
            self.stream.error = self.stream.error or UpstreamFailedError(self._model, str(error))
            text = "the deadline passed within the answer" if late else str(self.stream.error)
            document = error_document(
                text, error_kind(504 if late else 502), _code(self.stream.error), ""
            )
            yield b"data: " + msgspec.json.encode(document) + b"\n\n"

    def _passes(self, event: bytes) -> bool:
        usage, alone = usage_of_event(event)
        if usage is not None:
            self.stream.tokens_in, self.stream.tokens_out = usage
        return usage is None or not alone or self._ask.wants_usage


def _code(error: BaseException) -> str:
    return str(getattr(error, "code", "E0404"))


_JSON = [("content-type", "application/json")]
