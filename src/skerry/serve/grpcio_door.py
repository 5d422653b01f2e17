"""The gRPC door on the grpcio library: slower than the own one, and its oracle.

Messages are taken as bytes and go to the same works as those of the own door, so both
give the same answers, limits and facts. Each address has a server of its own, because
grpcio does not say through which of several a call came.

Units:   bytes and seconds.
Errors:  PortBusyError, when the address cannot be listened on; UsageError for a socket that
         another process made, which the library cannot take.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError, UsageError
from skerry.schema.oip_grpc import SERVICE
from skerry.serve.errors import PortBusyError
from skerry.serve.grpc_call import FAILED, Call, Work, status_of
from skerry.serve.grpc_works import STREAM_METHOD, GrpcWorks
from skerry.serve.listening import Listener, bound_socket

log = logging.getLogger("skerry.serve")

MESSAGE_BYTES_MAX = 64 * 1024**2
CALLS_MAX = 1024
_HEAD_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcTls:
    """PEM bytes for a TLS listener; with `client_roots` clients must show a certificate."""

    key: bytes
    chain: bytes
    client_roots: bytes | None = None


class GrpcioDoor:
    """The gRPC service on one or more addresses."""

    def __init__(
        self, works: GrpcWorks, *, clock: Clock, message_bytes_max: int = MESSAGE_BYTES_MAX
    ) -> None:
        self._works = works
        self._now_s = clock.monotonic_s
        self._message_bytes_max = message_bytes_max
        self._servers: list[grpc.aio.Server] = []

    async def listen(self, listener: Listener, tls: GrpcTls | None = None) -> int:
        """Open one address and return its port (0 for a Unix socket)."""
        if listener.handle is not None:
            raise UsageError(
                "the grpcio library cannot answer on a Unix socket that several workers share",
                "leave --grpc-engine at own, or --grpc-uds away",
            )
        server = grpc.aio.server(
            maximum_concurrent_rpcs=CALLS_MAX,
            options=[
                ("grpc.max_receive_message_length", self._message_bytes_max),
                ("grpc.max_send_message_length", self._message_bytes_max),
                ("grpc.max_metadata_size", _HEAD_BYTES_MAX),
                # A port in use is an error, not a second server, unless that is asked for.
                ("grpc.so_reuseport", int(listener.reuse_port)),
            ],
        )
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(self._unary(work, listener))
            for name, work in self._works.unary.items()
        }
        handlers[STREAM_METHOD] = grpc.stream_stream_rpc_method_handler(self._stream(listener))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = _bind(server, listener, tls)
        self._servers.append(server)
        await server.start()
        return port

    async def stop(self, grace_s: float) -> None:
        """Take no new call, answer those under way, and close."""
        for server in self._servers:
            await server.stop(grace_s)

    def _unary(self, work: Work, listener: Listener) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def answer(data: bytes, context: Any) -> bytes:
            call = self._call(context, listener)
            try:
                pieces = await work(data, call)
            except SkerryError as error:
                await _abort(context, error)
            except Exception:
                log.exception("a gRPC call failed")
                await context.abort(grpc.StatusCode.INTERNAL, FAILED.text)
            context.set_trailing_metadata(tuple(call.trailing))
            return b"".join(pieces)

        return answer

    def _stream(self, listener: Listener) -> Callable[[Any, Any], AsyncIterator[bytes]]:
        async def answers(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for data in requests:
                yield b"".join(await self._works.stream_infer(data, self._call(context, listener)))

        return answers

    def _call(self, context: Any, listener: Listener) -> Call:
        pairs = context.invocation_metadata() or ()
        return Call(
            metadata={key: value for key, value in pairs if isinstance(value, str)},
            received_s=self._now_s(),
            deadline_s=context.time_remaining(),
            admin=listener.admin,
            # grpcio numbers no connections; an address and port is as good, and below 0.
            client=-1 - (hash(context.peer()) & 0x7FFF_FFFF_FFFF),
        )


def _bind(server: "grpc.aio.Server", listener: Listener, tls: GrpcTls | None) -> int:
    host, port = listener.host, listener.port
    if listener.uds is not None:
        address = f"unix:{listener.uds}"
    else:
        # grpcio does not say why it cannot bind, so a socket of our own asks first.
        reuse = listener.reuse_port
        bound_socket(host, port, option=listener.option, reuse_port=reuse).close()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if tls is None:
            found = server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials(
                [(tls.key, tls.chain)],
                root_certificates=tls.client_roots,
                require_client_auth=tls.client_roots is not None,
            )
            found = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise PortBusyError(listener.option, address) from error
    return 0 if listener.uds is not None else int(found)


async def _abort(context: Any, error: SkerryError) -> NoReturn:
    status = status_of(error)
    code = getattr(grpc.StatusCode, status.name, grpc.StatusCode.INTERNAL)
    await context.abort(code, status.text, tuple(status.trailing))
    raise AssertionError  # never reached: abort raises
