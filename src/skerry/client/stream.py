"""Text of a language model as it is made: server-sent events of the OpenAI API, as pieces.

Units:   seconds.
Errors:  PeerAnsweredError, PeerUnreachableError, PeerBrokenError; DeadlineExceededError
         where the whole answer is not there in time.
Source:  HTML Living Standard, section 9.2 "Server-sent events".
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final

import msgspec

from skerry.base.http_errors import PeerBrokenError
from skerry.route.peer_http import HttpEndpoint

CHAT_PATH: Final = "/v1/chat/completions"
EVENT_BYTES_MAX: Final = 1024 * 1024
_END: Final = b"[DONE]"


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    error: Any = None


async def text_of(
    link: HttpEndpoint, ask: Mapping[str, object], facts: Mapping[str, str], deadline_s: float
) -> AsyncGenerator[str, None]:
    """Send a chat request and yield the first choice's text, piece by piece."""
    ends_s = time.monotonic() + deadline_s
    answer = await link.open(CHAT_PATH, ask, facts, deadline_s)
    events = _events(answer, link.url)
    try:
        while True:
            async with asyncio.timeout(ends_s - time.monotonic()):
                data = await anext(events, _END)
            if data == _END:
                return
            try:
                event = msgspec.json.decode(data, type=_Event)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise PeerBrokenError(link.url, f"an event that is none ({error})") from error
            if event.error is not None:
                raise PeerBrokenError(link.url, f"it broke off: {event.error}"[:400])
            if event.choices and event.choices[0].delta.content:
                yield event.choices[0].delta.content
    finally:
        answer.close()
        await events.aclose()


async def _events(pieces: AsyncIterator[bytes], url: str) -> AsyncGenerator[bytes, None]:
    """Cut a body into the data of its events; what is no data is passed over."""
    waiting = b""
    async for piece in pieces:
        *lines, waiting = (waiting + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
        if len(waiting) > EVENT_BYTES_MAX:
            raise PeerBrokenError(url, f"an event of over {EVENT_BYTES_MAX} bytes")
