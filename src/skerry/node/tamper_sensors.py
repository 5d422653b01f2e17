"""Reading a tamper sensor: a file of the kernel, the chassis by IPMI, messages of others.

A reading is True (open), False (shut) or None: there was none, and three of those are silence.
Plain blocking calls; the watch makes them in a thread each.

    file      /sys/class/gpio/gpio17/value, /sys/class/hwmon/hwmon2/intrusion0_alarm
    ipmi      `ipmitool chassis status`, the line "Chassis Intrusion"
    mqtt      a message on its topic: a word, or JSON such as {"contact": false}
    webhook   POST /tamper/<sensor> with {"n": 7, "open": true}, and
              `skerry-signature: <hex HMAC-SHA256 of the body>`; n only ever rises

A kernel file such as `intrusion0_alarm` latches: it still says *open* after the lid was shut with
the power off. Whoever closes the case writes 0 to it.

Errors:  none to the watch; a message that is refused is told to its sender.
Source:  kernel.org/doc/html/latest/hwmon/sysfs-interface.html; ipmitool(1).
"""

import hashlib
import hmac
import shutil
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec

from skerry.schema.tamper import Sensor, SensorSource

VALUE_BYTES_MAX = 64
MESSAGE_BYTES_MAX = 1024
COUNTER_MAX = 2**53
IPMI_S_MAX = 3.0
CALL_S_MAX = 1.0
"""Longest a message may take to arrive: others wait behind it."""


def read_value(path: str, open_when: str) -> bool | None:
    """Read a file of one word."""
    try:
        with Path(path).open("rb") as file:
            found = file.read(VALUE_BYTES_MAX).strip()
    except OSError:
        return None
    return found == open_when.encode() if found else None


def read_ipmi() -> bool | None:
    """Ask the machine's management controller, through the program that people have for it."""
    program = shutil.which("ipmitool")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "chassis", "status"], capture_output=True, timeout=IPMI_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_ipmi(done.stdout[: 64 * 1024]) if done.returncode == 0 else None


def parse_ipmi(output: bytes) -> bool | None:
    """Find the chassis intrusion in what `ipmitool chassis status` printed."""
    for line in output.splitlines():
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() == b"chassis intrusion":
            return {b"active": True, b"inactive": False}.get(value.strip().lower())
    return None


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a webhook's sender says: whether it is open, with a number that only rises."""

    n: int
    open: bool


_message = msgspec.json.Decoder(Message)


def read_message(body: bytes, signature: str, secret: bytes, *, last_n: int) -> Message | str:
    """Check a message and return it, or why it is refused."""
    if not secret:
        return "this sensor has no secret here"
    wanted = hmac.new(secret, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted.encode(), signature.strip().lower().encode()):
        return "the signature is not right"
    try:
        message = _message.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 'wanted {"n": 7, "open": true}'
    if not last_n < message.n <= COUNTER_MAX:
        return f"n is {message.n}, wanted more than {last_n}"
    return message


def parse_mqtt(payload: bytes, field: str, open_when: str) -> bool | None:
    """Read what a message says, None where it says nothing: too long, or without the field."""
    if len(payload) > MESSAGE_BYTES_MAX:
        return None
    if not field:
        word = payload.strip()
        return word == open_when.encode() if word else None
    try:
        value = msgspec.json.decode(payload, type=dict[str, msgspec.Raw]).get(field)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if value is None:
        return None
    said = bytes(value).strip()
    return said.strip(b'"') == open_when.encode() if said not in (b"null", b'""') else None


class SensorReader:
    """Reads the sensors that are asked; what messages said waits here until it is read."""

    def __init__(self) -> None:
        self._said: dict[str, bool] = {}
        self._lock = threading.Lock()

    def read(self, sensor: Sensor) -> bool | None:
        """Return a sensor's reading, or None where it has none."""
        match sensor.source:
            case SensorSource.FILE:
                return read_value(sensor.path, sensor.open_when)
            case SensorSource.IPMI:
                return read_ipmi()
            case SensorSource.WEBHOOK | SensorSource.MQTT:
                with self._lock:
                    return self._said.pop(sensor.name, None)

    def say(self, name: str, *, opened: bool) -> None:
        """Take a message in. Between two readings *open* wins: a short opening is not missed."""
        with self._lock:
            self._said[name] = self._said.get(name, False) or opened


Accept = Callable[[str, bytes, str], str]
"""`accept(sensor, body, signature)`: takes a message in, or returns why it is refused."""


class WebhookDoor:
    """A small HTTP server on loopback, one call at a time, on a thread of its own."""

    def __init__(self, port: int, accept: Accept) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = CALL_S_MAX
            server_version, sys_version = "skerry", ""

            def do_POST(self) -> None:
                """Take one message."""
                status, text = self._taken()
                reply = msgspec.json.encode({"error": text}) if text else b"{}"
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)
                self.close_connection = True

            def _taken(self) -> tuple[int, str]:
                folder, _, name = self.path.rpartition("/")
                length = self.headers.get("content-length", "")
                if folder != "/tamper" or not name:
                    return 404, "wanted /tamper/<sensor>"
                if not (length.isascii() and length.isdigit() and len(length) < 6):
                    return 411, "wanted a content-length"
                if int(length) > MESSAGE_BYTES_MAX:
                    return 413, f"wanted at most {MESSAGE_BYTES_MAX} bytes"
                body = self.rfile.read(int(length))
                refused = accept(name, body, self.headers.get("skerry-signature", ""))
                return (403, refused) if refused else (200, "")

            def log_message(self, *args: object) -> None:
                """Say nothing: what matters becomes an event."""

        self._server = HTTPServer(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
