"""A streamed answer of the OpenAI API, read as it comes: its events, and what it cost.

A stream is always asked for its usage; the event that states it is kept back where the
client did not ask. What breaks off is said as the last event, as these servers do it: the
head is out by then.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable

import msgspec

from skerry.base.http_errors import PeerBrokenError, PeerUnreachableError
from skerry.schema.answer_stream import AnswerStream
from skerry.schema.openai import Events, OpenAiAsk, error_document, error_kind, usage_of_event

Broken = Callable[[str], Exception]
"""What breaks a stream off, in words, as the error of the room that reads it."""


def events_of(answer: AsyncIterator[bytes], ask: OpenAiAsk, broken: Broken) -> AnswerStream:
    """Return the answer to `ask` as a stream of whole events."""
    return _Reading(answer, ask, broken).stream


class _Reading:
    def __init__(self, answer: AsyncIterator[bytes], ask: OpenAiAsk, broken: Broken) -> None:
        self._answer, self._ask, self._broken = answer, ask, broken
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
            yield self._last_word(str(error))

    def _passes(self, event: bytes) -> bool:
        usage, alone = usage_of_event(event)
        if usage is not None:
            self.stream.tokens_in, self.stream.tokens_out = usage
        return usage is None or not alone or self._ask.wants_usage

    def _last_word(self, why: str) -> bytes:
        late = isinstance(self.stream.error, TimeoutError)
        error = self.stream.error = self.stream.error or self._broken(why)
        text = "the deadline passed within the answer" if late else str(error)
        code = str(getattr(error, "code", "E0404"))
        document = error_document(text, error_kind(504 if late else 502), code, "")
        return b"data: " + msgspec.json.encode(document) + b"\n\n"
