"""Hands a ledger's entries on: to a file, to syslog over TLS, to an HTTP collector.

The ledger itself is the spool. Each way out has a cursor on disk that moves only after what was
sent is acknowledged, so a collector that is away, slow or restarted gets everything in the end,
some of it twice: `metadata.uid`, chain and number, says what is the same. What cannot go out
stays; when the disk runs low, actions are refused before an entry is given up.

Units:   entries; seconds.
Errors:  AuditExportError.
Source:  OCSF 1.9 as JSON lines; RFC 5424 and RFC 5425 (octet counting) for syslog.
"""

import fcntl
import http.client
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from skerry.base.files import write_private
from skerry.base.units import MS_PER_SECOND
from skerry.schema.audit_api import AuditSettings, HttpExport, SyslogExport
from skerry.trust.ledger_errors import AuditExportError
from skerry.trust.ledger_ocsf import line_of
from skerry.trust.ledger_store import LedgerStore

BATCH = 200
BATCH_MAX = 5000
CALL_S_MAX = 10.0
SETTLE_S = 0.01
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_FACILITY_AUDIT = 13
_LEVELS = {1: 6, 2: 5, 3: 4, 4: 3, 5: 1}
"""OCSF severity to syslog severity: informational, notice, warning, error, alert."""
_ENTERPRISE = "audit@32473"
"""Name of the structured data; 32473 is the number that RFC 5612 gives to examples."""
_BYTES_NOT_ACKED = 0x5411  # SIOCOUTQ of Linux


class Sink(Protocol):
    """One way out."""

    batch: int
    again: int
    """Entries to send once more after a new connection: what the last one may have swallowed."""

    def send(self, lines: Sequence[bytes]) -> None:
        """Hand lines over; returns once they are acknowledged. Raises `AuditExportError`."""
        ...

    @property
    def fresh(self) -> bool:
        """Say whether the next `send` makes a new connection."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class Cursor(msgspec.Struct, frozen=True):
    """How far a way out has come: all entries of a chain up to this number are acknowledged."""

    chain: str = ""
    seq: int = 0


class Exporter:
    """Moves one ledger's entries to one sink. Blocking turns."""

    def __init__(self, store: LedgerStore, sink: Sink, cursor: Path) -> None:
        self._store, self._sink, self._path = store, sink, cursor
        self.cursor = self._read()

    def _read(self) -> Cursor:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Cursor)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return Cursor(self._store.origin)
        return found if found.chain == self._store.origin else Cursor(self._store.origin)

    def turn(self) -> int:
        """Send one batch; returns how many entries are acknowledged more than before."""
        seq = self.cursor.seq
        start = max(0, seq - self._sink.again) if self._sink.fresh else seq
        limit = self._sink.batch + seq - start
        entries = self._store.entries(start, limit)
        if not entries or entries[-1].seq <= seq:
            return 0
        lines, previous = [], self._store.previous(start + 1)
        for entry in entries:
            lines.append(
                line_of(
                    entry.body,
                    chain=self._store.origin,
                    seq=entry.seq,
                    previous=previous,
                    leaf=entry.leaf,
                )
            )
            previous = entry.leaf
        self._sink.send(lines)
        self.cursor = Cursor(self._store.origin, entries[-1].seq)
        write_private(self._path, msgspec.json.encode(self.cursor))
        return entries[-1].seq - seq

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()


class FileSink:
    """Appends to a file, which whatever ships logs here reads."""

    batch, again, fresh = BATCH, 0, False

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, lines: Sequence[bytes]) -> None:
        """Append, and wait for the disk."""
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "rb+") as file:
                end = file.seek(0, os.SEEK_END)
                torn = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
                file.write(b"\n" if torn else b"")  # a kill left half a line: end it
                file.write(b"".join(line + b"\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise AuditExportError(str(self._path), error.strerror or str(error)) from error

    def close(self) -> None:
        """Nothing stays open."""


class SyslogSink:
    """A syslog collector over TLS. Its protocol has no acknowledgement of its own.

    A batch counts once the collector's machine has acknowledged every byte; after a broken
    connection the last batch goes out once more, for what its program had not read yet.
    """

    batch = again = BATCH

    def __init__(self, settings: SyslogExport) -> None:
        self._settings = settings
        self._where = f"{settings.host}:{settings.port}"
        self._tls = _context(self._where, settings.roots)
        if settings.identity:
            _file(self._where, settings.identity)
            self._tls.load_cert_chain(settings.identity)
        self._socket: ssl.SSLSocket | None = None

    @property
    def fresh(self) -> bool:
        """Say whether the next `send` makes a new connection."""
        return self._socket is None

    def send(self, lines: Sequence[bytes]) -> None:
        """Send each line as one counted message, and wait for the bytes to arrive."""
        frames = []
        for line in lines:
            message = syslog_message(line)
            frames.append(b"%d %b" % (len(message), message))
        try:
            connection = self._socket or self._connect()
            self._socket = connection
            connection.sendall(b"".join(frames))
            self._settle(connection)
        except OSError as error:
            self.close()
            raise AuditExportError(self._where, str(error) or type(error).__name__) from error

    def _connect(self) -> ssl.SSLSocket:
        host, port = self._settings.host, self._settings.port
        plain = socket.create_connection((host, port), timeout=CALL_S_MAX)
        try:
            return self._tls.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise

    def _settle(self, connection: ssl.SSLSocket) -> None:
        until_s = time.monotonic() + CALL_S_MAX
        while True:
            left = fcntl.ioctl(connection.fileno(), _BYTES_NOT_ACKED, bytes(4))
            if struct.unpack("i", left)[0] == 0:
                return
            if time.monotonic() > until_s:
                raise TimeoutError(f"its machine took none of it for {CALL_S_MAX:g} s")
            time.sleep(SETTLE_S)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class HttpSink:
    """An HTTP collector: a batch of JSON lines per call, acknowledged by its status."""

    again, fresh = 0, False

    def __init__(self, settings: HttpExport) -> None:
        self._settings, self._parts = settings, urlsplit(settings.url)
        self.batch = settings.batch
        self._where = settings.url
        secure = self._parts.scheme == "https"
        if not secure and (self._parts.scheme != "http" or self._parts.hostname not in LOOPBACK):
            raise AuditExportError(self._where, "wanted https://, or http:// to loopback")
        if not 1 <= settings.batch <= BATCH_MAX:
            raise AuditExportError(self._where, f"batch is {settings.batch}, wanted 1 to 5000")
        self._tls = _context(self._where, settings.roots) if secure else None

    def send(self, lines: Sequence[bytes]) -> None:
        """Post the lines; any status but 200 to 299 leaves them for later."""
        host, port = self._parts.hostname or "", self._parts.port
        connection: http.client.HTTPConnection
        if self._tls is not None:
            connection = http.client.HTTPSConnection(
                host, port, timeout=CALL_S_MAX, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CALL_S_MAX)
        headers = {"content-type": "application/x-ndjson"}
        if self._settings.token_file:
            token = _file(self._where, self._settings.token_file).decode("ascii").strip()
            headers["authorization"] = f"Bearer {token}"
        path = self._parts.path or "/"
        if self._parts.query:
            path += f"?{self._parts.query}"
        try:
            connection.request("POST", path, b"".join(line + b"\n" for line in lines), headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise AuditExportError(self._where, str(error) or type(error).__name__) from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise AuditExportError(self._where, f"it answers with status {status}")

    def close(self) -> None:
        """Nothing stays open."""


def syslog_message(line: bytes) -> bytes:
    """Return an exported line as an RFC 5424 message, without its length."""
    head = msgspec.json.decode(line, type=_Head)
    chain, _, seq = head.metadata.uid.rpartition("/")
    level = _FACILITY_AUDIT * 8 + _LEVELS.get(head.severity_id, 6)
    second, ms = divmod(head.time, MS_PER_SECOND)
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    host = _printable(chain.partition("/")[0], 255)
    kind = _printable(head.unmapped.kind, 32)
    name = "".join(f"\\{sign}" if sign in '"\\]' else sign for sign in chain)
    data = f'[{_ENTERPRISE} chain="{name}" seq="{seq}"]'
    return f"<{level}>1 {at}.{ms:03d}Z {host} skerry - {kind} {data} ".encode() + line


class _Metadata(msgspec.Struct):
    uid: str


class _Own(msgspec.Struct):
    kind: str


class _Head(msgspec.Struct):
    severity_id: int
    time: int
    metadata: _Metadata
    unmapped: _Own


def _printable(text: str, chars_max: int) -> str:
    """Return what RFC 5424 takes in a header field; a dash stands for nothing."""
    return "".join(sign for sign in text if "!" <= sign <= "~")[:chars_max] or "-"


def _file(where: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AuditExportError(where, f"{path}: {error.strerror or error}") from error


def _context(where: str, roots: str) -> ssl.SSLContext:
    if not roots:
        return ssl.create_default_context()
    pem = _file(where, roots)
    try:
        return ssl.create_default_context(cadata=pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise AuditExportError(where, f"{roots} holds no root certificate: {error}") from error


def sinks_of(settings: AuditSettings) -> dict[str, Callable[[], Sink]]:
    """Return how to make each way out that settings name."""
    found: dict[str, Callable[[], Sink]] = {}
    if settings.file:
        found["file"] = lambda: FileSink(Path(settings.file))
    syslog, web = settings.syslog, settings.http
    if syslog is not None:
        found["syslog"] = lambda: SyslogSink(syslog)
    if web is not None:
        found["http"] = lambda: HttpSink(web)
    return found
