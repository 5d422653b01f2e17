"""One HTTP/2 connection of the gRPC door: heads, control frames, and how it ends.

Every rule that a client may break for the whole connection is held here; its calls are
in the layers below: frames, answers, messages.

Units:   bytes; seconds on the clock's monotonic scale.
"""

from typing import TYPE_CHECKING, Any

from skerry.base.errors import SkerryError
from skerry.serve import h2_frames as h2
from skerry.serve.client_gate import check_source
from skerry.serve.errors import HttpError
from skerry.serve.grpc_call import Call, status_of
from skerry.serve.grpc_head import Head
from skerry.serve.grpc_inbox import StreamInbox
from skerry.serve.grpc_wire import GrpcError
from skerry.serve.h2_calls import CallTaker
from skerry.serve.h2_flow import Sender
from skerry.serve.h2_frames import Code, H2ConnectionError, H2StreamError
from skerry.serve.h2_headers import HeaderReader
from skerry.serve.h2_limits import CALM_MAX, CALM_PER_S, RESETS_MAX, RESETS_PER_S, Calm
from skerry.serve.h2_stream import H2Stream

if TYPE_CHECKING:
    from skerry.serve.grpc_door import GrpcDoor
    from skerry.serve.listening import Listener

_DRAIN_PING = b"draining"
_DRAIN_PING_S_MAX = 1.0
_LINGER_S = 2.0
_TURN_CALLS = 64  # in one read; then others have their turn


class H2Connection(CallTaker):
    """Takes connections and heads, and keeps the rules."""

    def __init__(self, door: "GrpcDoor", listener: "Listener") -> None:
        super().__init__(door)
        self._listener = listener
        self._client = door.next_client()
        self._admin = listener.admin
        self._peer_site: str | None = None
        self._reader: HeaderReader[Head] = HeaderReader(door.blocks)
        self._blocks = door.blocks.blocks
        self._block: list[bytes] = []
        self._block_flags = self._block_bytes = 0
        self._resets = Calm(RESETS_MAX)
        self._seen_id = 0
        self._warned_s: float | None = None
        self._since_s = self._swept_s = self._moved_s
        self._unread_since_s: float | None = None
        self._lingers_until_s: float | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the connection, unless there are too many or its peer may not."""
        self._transport = transport
        self._out = Sender(transport, self._sent)
        transport.write(self._door.opening)
        if not self._door.admit(self):
            what = f"more than {self._limits.connections_max} connections"
            self.failed(H2ConnectionError(Code.ENHANCE_YOUR_CALM, what))
        elif self._listener.authorize is not None:
            try:
                self._peer_site = self._listener.authorize(transport.get_extra_info("ssl_object"))
            except SkerryError as error:
                self.failed(H2ConnectionError(Code.INADEQUATE_SECURITY, str(error)))
        elif self._listener.loopback_only:
            try:
                check_source(*map(transport.get_extra_info, ("peername", "sockname")))
            except SkerryError as error:
                self.failed(H2ConnectionError(Code.INADEQUATE_SECURITY, str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; nobody reads its answers any more."""
        self._closed = True
        self._door.forget(self)
        for stream in list(self._streams.values()):
            self._drop(stream)

    def eof_received(self) -> bool:
        """Close: a client that ends its half of HTTP/2 has left."""
        return False

    def pause_writing(self) -> None:
        """Note that the client does not read its answers."""
        self._out.paused = True
        self._unread_since_s = self._now_s()

    def resume_writing(self) -> None:
        """Note that it does again."""
        self._unread_since_s = None
        self._out.resume()

    # What the door calls.

    def sweep(self, now_s: float) -> None:
        """End what takes too long."""
        limits = self._limits
        past_s, self._swept_s = now_s - self._swept_s, now_s
        self._calm.earn(CALM_PER_S * past_s)
        self._resets.earn(RESETS_PER_S * past_s)
        if self._lingers_until_s is not None:
            if now_s >= self._lingers_until_s:
                self._transport.abort()
            return
        if self._unread_since_s is not None and now_s - self._unread_since_s > limits.write_s:
            self._transport.abort()
        elif not self._set_up and now_s - self._since_s > limits.head_s:
            self.failed(H2ConnectionError(Code.PROTOCOL_ERROR, "the preface took too long"))
        elif self._block_of and now_s - self._moved_s > limits.head_s:
            self.failed(H2ConnectionError(Code.ENHANCE_YOUR_CALM, "a header block took too long"))
        elif self._warned_s is not None and now_s - self._warned_s > _DRAIN_PING_S_MAX:
            self._drain_for_good()
        elif not self._streams and now_s - self._moved_s > limits.idle_s:
            self.stop()
        for stream in list(self._streams.values()):
            self._sweep_stream(stream, now_s)

    def came_by(self, listener: "Listener") -> bool:
        """Tell whether the connection was made at this address."""
        return self._listener is listener

    def leave(self) -> None:
        """Close after the replies that are under way."""
        self.stop()

    def stop(self) -> None:
        """Tell the client to go elsewhere, answer what it has sent, then close.

        The first GOAWAY names no stream: what the client sent before it heard is served.
        """
        if self._warned_s is None and not (self._draining or self._closed):
            self._warned_s = self._now_s()
            self._control(
                h2.goaway(h2.STREAM_MAX, Code.NO_ERROR) + h2.frame(h2.PING, 0, 0, _DRAIN_PING)
            )

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()

    # What the reader calls.

    def frame_came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a whole frame that is not DATA."""
        if kind == h2.HEADERS and flags & (h2.END_HEADERS | h2.PADDED | h2.WITH_PRIORITY) == (
            h2.END_HEADERS
        ):
            self._open(flags, stream_id, payload)
            return
        if kind == h2.CONTINUATION:
            self._continue(flags, stream_id, payload)
            return
        if self._block_of:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "a frame within a header block")
        if kind == h2.HEADERS:
            block = h2.unpadded(flags, payload)
            if flags & h2.END_HEADERS:
                self._open(flags, stream_id, block)
            else:
                self._block = [block]
                self._block_of, self._block_flags = stream_id, flags
                self._block_bytes = len(block)
                self._moved_s = self._now_s()
            return
        if not self._calm.spend():
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "too many frames that carry nothing")
        if kind == h2.WINDOW_UPDATE:
            self._widen(stream_id, h2.number(payload, "WINDOW_UPDATE") & 0x7FFFFFFF)
        elif kind == h2.SETTINGS:
            self._settings(flags, stream_id, payload)
        elif kind == h2.PING:
            self._ping(flags, stream_id, payload)
        elif kind == h2.RST_STREAM:
            self._reset_by_peer(stream_id, h2.number(payload, "RST_STREAM"))
        elif kind == h2.GOAWAY:
            if stream_id:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        elif kind == h2.PRIORITY:
            if len(payload) != 5:
                raise H2StreamError(stream_id, Code.FRAME_SIZE_ERROR, "PRIORITY")
            if not stream_id:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "PRIORITY on no stream")

    def full_read(self) -> None:
        """Let others have their turn before the next read, if this one was full of calls."""
        begun, self._seen_id = (self._last_id - self._seen_id) // 2, self._last_id
        if begun >= _TURN_CALLS:
            self._transport.pause_reading()
            self._door.loop.call_soon(self._read_on)

    def failed(self, error: H2ConnectionError) -> None:
        """Tell the client why, and end the connection."""
        if self._closed:
            return
        self._closed = True
        self._sink = None
        for stream in list(self._streams.values()):
            self._drop(stream)
        if self._transport.is_closing():
            return
        if not self._prefaced and self._rest_is_http():
            self._transport.write(_NOT_HTTP)
        else:
            self._transport.write(h2.goaway(self._last_id, error.code, error.why[:200]))
        self._linger()

    def stream_failed(self, error: H2StreamError) -> None:
        """Tell the client why, and end the stream."""
        if not self._calm.spend():
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "too many streams that fail")
        if not error.stream_id:
            raise H2ConnectionError(error.code, error.why)
        stream = self._streams.get(error.stream_id)
        if stream is not None:
            self._drop(stream)
            if not self._resets.spend():  # a client can make us take its calls back as well
                raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "too many calls taken back")
        self._control(h2.rst_stream(error.stream_id, error.code))
        self._close_if_drained()

    # Heads.

    def _open(self, flags: int, stream_id: int, block: bytes) -> None:
        """Take a head that is complete."""
        reader = self._reader
        head = self._blocks.young.get(block) if reader.stateless else None
        if head is None:
            head = reader.read(block)
        if stream_id <= self._last_id or not stream_id & 1 or self._block_of:
            self._open_again(flags, stream_id)
            return
        if self._draining:
            return  # the client has been told that nobody looks at it
        self._last_id = stream_id
        if len(self._streams) >= self._limits.streams_max:
            raise H2StreamError(stream_id, Code.REFUSED_STREAM, "too many streams")
        if head.malformed:
            raise H2StreamError(stream_id, Code.PROTOCOL_ERROR, head.malformed)
        now_s = self._moved_s = self._now_s()
        call = Call(
            head.metadata,
            now_s,
            head.timeout_s,
            self._admin,
            self._peer_site,
            head.facts,
            self._client,
        )
        stream = H2Stream(self, stream_id, head, call, self._out.stream_window, now_s)
        self._streams[stream_id] = stream
        if self._calm.left < CALM_MAX:
            self._calm.earn(4)
        if head.stream:
            stream.messages = StreamInbox(self._limits.message_bytes_max)
        if flags & h2.END_STREAM:
            stream.ended = True
        if self._listener.gate is not None:
            try:
                self._listener.gate.check(head.metadata.get("authorization", ""))
            except SkerryError as error:
                self._refuse(stream, status_of(error))
                return
        if head.refusal is not None:
            if isinstance(head.refusal, HttpError):
                self._refuse_as_http(stream, head.refusal)
            else:
                self._refuse(stream, status_of(head.refusal))
        elif stream.ended:
            self.data_ends(stream, flags)

    def _open_again(self, flags: int, stream_id: int) -> None:
        """Take trailers, or refuse what cannot be any."""
        if self._block_of:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "a frame within a header block")
        stream = self._streams.get(stream_id)
        if stream is None or not stream_id & 1:
            if stream_id & 1 and self._calm.spend(4):  # trailers of a call that we have refused
                return
            raise H2ConnectionError(Code.PROTOCOL_ERROR, f"stream {stream_id} opened again")
        if stream.ended:
            raise H2StreamError(stream_id, Code.STREAM_CLOSED, "HEADERS after the end")
        if not flags & h2.END_STREAM:
            raise H2StreamError(stream_id, Code.PROTOCOL_ERROR, "trailers that end nothing")
        self.data_ends(stream, flags)

    def _continue(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._block_of or stream_id != self._block_of:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block.append(payload)
        self._block_bytes += len(payload)
        limits = self._limits
        if len(self._block) - 1 > limits.continuations_max or (
            self._block_bytes > limits.head_bytes_max
        ):
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "a header block without an end")
        if flags & h2.END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._block_of = 0
            self._open(self._block_flags, stream_id, block)

    # Control frames.

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & h2.ACK:
            if payload:
                raise H2ConnectionError(Code.FRAME_SIZE_ERROR, "SETTINGS that say and set")
            self._reader.table_is_empty()
            return
        out = self._out
        for name, value in h2.settings_in(payload):
            if name == h2.INITIAL_WINDOW_SIZE:
                change, out.stream_window = value - out.stream_window, value
                for stream in self._streams.values():
                    stream.window += change
                    if stream.window > h2.WINDOW_MAX:
                        raise H2ConnectionError(Code.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            elif name == h2.MAX_FRAME_SIZE:
                out.frame_bytes_max = min(value, self._limits.frame_bytes_max)
        self._control(h2.frame(h2.SETTINGS, h2.ACK, 0))
        out.pump()

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise H2ConnectionError(Code.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if stream_id:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "PING on a stream")
        if not flags & h2.ACK:
            self._control(h2.frame(h2.PING, h2.ACK, 0, payload))
        elif payload == _DRAIN_PING and self._warned_s is not None:
            self._drain_for_good()

    def _widen(self, stream_id: int, more: int) -> None:
        stream = self._streams.get(stream_id)
        if not more:
            if stream_id:
                raise H2StreamError(stream_id, Code.PROTOCOL_ERROR, "a window opened by 0")
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "a window opened by 0")
        if stream_id and stream is None:
            if stream_id > self._last_id or not stream_id & 1:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "a window of no stream")
            return
        if stream is not None and stream.window + more > h2.WINDOW_MAX:
            raise H2StreamError(stream_id, Code.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
        self._calm.earn(0.5)
        self._out.widen(stream, more)

    def _reset_by_peer(self, stream_id: int, code: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            if not stream_id & 1 or stream_id > self._last_id:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "RST_STREAM of no stream")
            return
        if not self._resets.spend():
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "too many calls taken back")
        self._finish(stream)

    # The end.

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _sweep_stream(self, stream: H2Stream, now_s: float) -> None:
        limits, call = self._limits, stream.call
        if call.deadline_s is not None and now_s - call.received_s > call.deadline_s:
            error = GrpcError("DEADLINE_EXCEEDED", "the deadline passed before the answer was out")
            self._refuse(stream, status_of(error))
            return
        if stream.stuck_s is not None and now_s - stream.stuck_s > limits.write_s:
            self.stream_failed(H2StreamError(stream.id, Code.CANCEL, "its window stayed shut"))
            return
        if stream.ended or stream.busy:
            return
        partial = stream.messages is None or len(stream.messages) > 0
        late = now_s - stream.moved_s > limits.message_pause_s or (
            stream.messages is None and now_s - call.received_s > limits.message_s
        )
        if partial and late and not stream.pieces_bytes:
            error = GrpcError("RESOURCE_EXHAUSTED", "the message took too long to come")
            self._refuse(stream, status_of(error))

    def _drain_for_good(self) -> None:
        self._draining, self._warned_s = True, None
        self._control(h2.goaway(self._last_id, Code.NO_ERROR))
        self._close_if_drained()

    def _linger(self) -> None:
        """Close, but read on a little: a reset would destroy what we wrote last."""
        if self._transport.is_closing() or self._lingers_until_s is not None:
            return
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        self._lingers_until_s = self._now_s() + _LINGER_S
        self._transport.write_eof()

    def _rest_is_http(self) -> bool:
        start = self._buffer[:8].tobytes()
        return start.split(b" ")[0] in (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE")


_NOT_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    b"this port speaks gRPC over HTTP/2; the HTTP/1.1 door is on another port\n"
)
