"""Compressed messages: unpacked before a work sees them, packed after it has answered.

Small ones are done on the loop. A larger one goes to a thread, one at a time for the
whole door: a few kilobytes can unpack to the largest message allowed, and many at once
would take all memory before anyone could count it.

Units:   bytes.
Errors:  GrpcError, for what is not what it says or is larger than allowed.
"""

import asyncio
from collections.abc import Callable

from skerry.base.drive import in_task
from skerry.schema.oip_tensors import Buffer
from skerry.serve.grpc_call import Call, Work
from skerry.serve.grpc_wire import COMPRESS_BYTES_MIN, GrpcError, deflated, inflated, too_large

INLINE_BYTES_MAX = 64 * 1024


class Packing:
    """Wraps works of one door; `hold` and `release` count its memory."""

    def __init__(
        self, bytes_max: int, hold: Callable[[int], bool], release: Callable[[int], None]
    ) -> None:
        self._bytes_max = bytes_max
        self._hold, self._release = hold, release
        self._one = asyncio.Semaphore(1)

    def packed(self, work: Work, encoding: str, note: Callable[[], None]) -> Work:
        """Return the work with its answer packed; `note` is called if it really is."""

        async def answer(data: Buffer, call: Call) -> list[Buffer]:
            pieces = await work(data, call)
            size = sum(len(piece) for piece in pieces)
            if size < COMPRESS_BYTES_MIN:
                return pieces
            note()
            if size <= INLINE_BYTES_MAX:
                return [deflated(pieces, encoding)]
            await in_task()
            return [await asyncio.to_thread(deflated, pieces, encoding)]

        return answer

    def unpacked(self, work: Work, encoding: str) -> Work:
        """Return the work for a message that is packed."""

        async def answer(data: Buffer, call: Call) -> list[Buffer]:
            if encoding == "identity":
                raise GrpcError("INTERNAL", "a compressed message of a call without grpc-encoding")
            if len(data) <= INLINE_BYTES_MAX:
                plain = inflated(data, encoding, INLINE_BYTES_MAX)
                if plain is not None:
                    return await work(plain, call)
            await in_task()
            async with self._one:
                plain = await asyncio.to_thread(inflated, data, encoding, self._bytes_max)
                if plain is None:
                    raise too_large(self._bytes_max)
                if not self._hold(len(plain)):
                    raise GrpcError("RESOURCE_EXHAUSTED", "too many messages at once")
            try:
                return await work(plain, call)
            finally:
                self._release(len(plain))

        return answer
