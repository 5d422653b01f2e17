"""What became of each request, as a line in the journal: counts and latency, no content.

Stands between the front, which turns a file into a model's input, and the router, so
`bytes_in` is the input that would travel if the request went to another site. Lines
of one turn of the event loop go to the kernel in one write; nothing is awaited.
"""

import asyncio

import msgspec

from skerry.base.clock import Clock
from skerry.base.units import MS_PER_SECOND, US_PER_SECOND
from skerry.schema.oip import InferFunction, InferReply, InferRequest
from skerry.schema.openai import tokens_of
from skerry.schema.records import Outcome, RequestRecord
from skerry.spine.journal import JournalWriter

_FAILED_FROM = 500
_TOLD = (503, 504)  # the client was told at once that nobody can answer now, or in time


class Recorder:
    """Wraps an infer function; one per worker."""

    def __init__(
        self, infer: InferFunction, journal: JournalWriter, *, site: str, clock: Clock
    ) -> None:
        self._infer, self._journal = infer, journal
        self._site, self._clock = site, clock
        self._flush_due = False
        self._encoder = msgspec.msgpack.Encoder()

    async def infer(self, request: InferRequest) -> InferReply:
        """Answer through the router and note what became of it."""
        started_s = request.received_s or self._clock.monotonic_s()
        try:
            reply = await self._infer(request)
        except Exception as error:
            self._note(request, started_s, _outcome_of(error), None, _why(error))
            raise
        if reply.stream is None:
            self._note(request, started_s, Outcome.OK, reply)
        else:  # what it cost is known when it has ended
            reply.stream.when_ended(lambda stream: self._note_stream(request, started_s, reply))
        return reply

    def flush(self) -> None:
        """Write what is buffered."""
        self._flush_due = False
        self._journal.flush()

    def _note_stream(self, request: InferRequest, started_s: float, reply: InferReply) -> None:
        stream = reply.stream
        # A client that leaves got what it wanted; a server that breaks off failed it.
        failed = stream is not None and isinstance(stream.error, Exception)
        self._note(request, started_s, Outcome.FAILED if failed else Outcome.OK, reply)

    def _note(
        self,
        request: InferRequest,
        started_s: float,
        outcome: Outcome,
        reply: InferReply | None,
        why: str = "",
    ) -> None:
        served = reply.served_by if reply is not None else None
        away = served is not None and served.site != self._site
        origin = request.origin_site or ""
        tokens_in, tokens_out = (0, 0) if reply is None else tokens_of(reply)
        record = RequestRecord(
            at_unix_ms=int(self._clock.unix_s() * MS_PER_SECOND),
            model=served.model if served else request.model,
            version=served.version if served else request.version,
            data_class=request.data_class or "",
            outcome=outcome,
            latency_us=int((self._clock.monotonic_s() - started_s) * US_PER_SECOND),
            served_site=served.site if served else "",
            served_node=served.node if served else "",
            served_tier=served.tier if served else "",
            reason=served.reason if served else why,
            bytes_in=request.body_bytes,
            bytes_upstream=request.body_bytes if away else 0,
            forwarded_for=origin if origin != self._site else "",
            tokens_in=tokens_in,
            tokens_out=tokens_out,
        )
        self._journal.append(self._encoder.encode(record))
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self.flush)


def _outcome_of(error: Exception) -> Outcome:
    """Refused means that the client was told why at once; anything else failed it."""
    status = getattr(error, "http_status", _FAILED_FROM)
    told = status < _FAILED_FROM or status in _TOLD
    return Outcome.REFUSED if told else Outcome.FAILED


def _why(error: Exception) -> str:
    """Return the word for the first candidate that did not answer, or the error's code."""
    considered = getattr(error, "considered", ())
    return str(considered[0].verdict) if considered else str(getattr(error, "code", ""))
