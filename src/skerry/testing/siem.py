"""A collector of audit events that misbehaves on request: HTTP batches, or syslog over TLS.

Real sockets on loopback, in a thread. `mood` may be changed while it runs:

    well         takes and acknowledges
    deaf         takes, keeps, and answers 503 (HTTP), or hangs up after reading (syslog)
    away         answers 503 and keeps nothing (HTTP), hangs up at once (syslog)
    slow         waits a little before each batch
"""

import http.server
import socket
import ssl
import threading
import time
from typing import Self

SLOW_S = 0.05
_READ_BYTES = 1 << 16


class Collector:
    """One collector between start and stop. `lines` is what it has, in the order of arrival."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.lines: list[bytes] = []
        self.messages: list[bytes] = []
        """Whole syslog messages, header included."""
        self.tokens: set[str] = set()
        self.mood = "well"
        self._tls = tls
        self._http: http.server.ThreadingHTTPServer | None = None
        self._listener: socket.socket | None = None
        self.port = 0

    def serve_http(self) -> Self:
        """Take HTTP batches from now on."""
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.tokens.add(self.headers.get("authorization", ""))
                if collector.mood == "slow":
                    time.sleep(SLOW_S)
                if collector.mood != "away":
                    collector.lines += body.splitlines()
                self.send_response(200 if collector.mood in ("well", "slow") else 503)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def serve_syslog(self) -> Self:
        """Take syslog over TLS from now on."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(plain,), daemon=True).start()

    def _read(self, plain: socket.socket) -> None:
        buffer = b""
        try:
            if self._tls is None or self.mood == "away":
                return
            with self._tls.wrap_socket(plain, server_side=True) as connection:
                while data := connection.recv(_READ_BYTES):
                    if self.mood == "slow":
                        time.sleep(SLOW_S)
                    buffer = self._take(buffer + data)
                    if self.mood == "deaf":
                        return
        except OSError:
            return
        finally:
            plain.close()

    def _take(self, buffer: bytes) -> bytes:
        """Keep the whole messages at the front; returns the rest."""
        while True:
            count, space, rest = buffer.partition(b" ")
            if not space or len(rest) < int(count):
                return buffer
            message, buffer = rest[: int(count)], rest[int(count) :]
            self.messages.append(message)
            self.lines.append(message[message.index(b"] {") + 2 :])

    def stop(self) -> None:
        """Take nothing any more."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
        if self._listener is not None:
            self._listener.close()
