"""An answer that comes piece by piece, and what it cost once it has ended.

Whoever made it, runs it or records it may ask to be told when it ends: whole, broken off,
or because the client left. It must be read to its end or closed.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable

Ended = Callable[["AnswerStream"], None]


class AnswerStream(AsyncIterator[bytes]):
    """Pieces of one answer, as they come."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        self._ended: list[Ended] = []
        self._over = False
        self.whole = False
        """Whether it ended by itself."""
        self.error: BaseException | None = None
        """What broke it off."""
        self.tokens_in = 0
        self.tokens_out = 0

    def when_ended(self, call: Ended) -> None:
        """Have `call` called once, when it ends."""
        self._ended.append(call)

    async def __anext__(self) -> bytes:
        """Return the next piece."""
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            self.whole = self.error is None
            self._end()
            raise
        except BaseException as error:
            self.error = self.error or error
            self._end()
            raise

    def cut(self) -> None:
        """Break it off because its time is over; whoever reads is told so."""
        if not self._over:
            self.error = TimeoutError()
            self._end()

    async def aclose(self) -> None:
        """End it now; what it was made of is let go."""
        try:
            await self._pieces.aclose()
        finally:
            self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            for call in self._ended:
                call(self)
