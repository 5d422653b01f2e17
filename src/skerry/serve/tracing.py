"""Traces: the timeline of every n-th request, in a bounded file in Triton's own JSON.

    REQUEST_START   received, head and body
    QUEUE_START     checked, and given to the model's lane
    COMPUTE_START   its run begins
    COMPUTE_END     its run has ended
    REQUEST_END     answered or refused

Settings hold for every model, or for one; a model's own win. The file is named when the
server is started and never by a client. What is in it are names and times, no tensors.

Units:   nanoseconds on the monotonic clock, as in Triton's traces; bytes.
Errors:  OipError for a value that cannot be meant, UnsupportedError for one not offered.
Source:  Triton's protocol extension "Trace".
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from skerry.schema.oip_errors import OipError, UnsupportedError, shown
from skerry.serve.statistics import NS_PER_S

log = logging.getLogger("skerry.serve")

FILE_BYTES_MAX = 16 * 1024**2
MODELS_MAX = 1024

OFF, TIMESTAMPS = "OFF", "TIMESTAMPS"

Value = str | list[str]
Settings = dict[str, Value]

_DEFAULTS: Settings = {
    "trace_level": [OFF],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_mode": "triton",
}
_RATE_MAX = 1_000_000_000


class Trace:
    """One request's timeline, as far as it is known."""

    __slots__ = ("id", "model", "stamps", "version")

    def __init__(self, number: int, model: str) -> None:
        self.id, self.model, self.version = number, model, ""
        self.stamps: list[tuple[str, float]] = []

    def at(self, name: str, at_s: float) -> None:
        """Note that something happened, in monotonic seconds."""
        self.stamps.append((name, at_s))


class _Sampler:
    """Which requests of one model are traced; made anew when a setting changes."""

    __slots__ = ("left", "rate", "seen")

    def __init__(self, settings: Mapping[str, Value]) -> None:
        on = settings["trace_level"] == [TIMESTAMPS]
        self.left = int(str(settings["trace_count"])) if on else 0
        self.rate = int(str(settings["trace_rate"]))
        self.seen = 0

    def takes(self) -> bool:
        if self.left == 0:
            return False
        self.seen += 1
        if self.seen % self.rate:
            return False
        self.left -= self.left > 0
        return True


class Tracing:
    """The trace settings of one server, and its trace file."""

    def __init__(self, file: Path | None = None) -> None:
        self.on = False
        """Whether any request may be traced; all that a request asks as long as none is."""
        self._path = file
        self._file = -1
        self._size = 0
        self._number = 0
        self._global: Settings = dict(_DEFAULTS)
        self._own: dict[str, Settings] = {}
        self._samplers: dict[str, _Sampler] = {}

    def settings(self, model: str = "") -> Settings:
        """Return what holds for a model, or for all that have nothing of their own."""
        file = "" if self._path is None else str(self._path)
        return {**self._global, **self._own.get(model, {}), "trace_file": file}

    def change(self, wanted: Mapping[str, object], model: str = "") -> None:
        """Set some, all or none of them; a value of None takes a setting back."""
        checked = {name: self._checked(name, value) for name, value in wanted.items()}
        if model and model not in self._own and len(self._own) >= MODELS_MAX:
            raise OipError("trace settings", f"of {len(self._own)} models", f"{MODELS_MAX} at most")
        own = self._own.setdefault(model, {}) if model else self._global
        for name, value in checked.items():
            if value is not None:
                own[name] = value
            elif model:
                own.pop(name, None)
            else:
                own[name] = _DEFAULTS[name]
        self._samplers.clear()
        levels = [one.get("trace_level") for one in (self._global, *self._own.values())]
        self.on = [TIMESTAMPS] in levels

    def begin(self, model: str, start_s: float) -> Trace | None:
        """Return a trace for a request of a model in service if it is one to be traced."""
        sampler = self._samplers.get(model)
        if sampler is None:
            sampler = self._samplers[model] = _Sampler(self.settings(model))
        if not sampler.takes():
            return None
        self._number += 1
        trace = Trace(self._number, model)
        trace.at("REQUEST_START", start_s)
        return trace

    def end(self, trace: Trace, version: str, end_s: float) -> None:
        """Write a trace to the file."""
        trace.at("REQUEST_END", end_s)
        row = {
            "id": trace.id,
            "model_name": trace.model,
            "model_version": int(version) if version.isdigit() else -1,
            "timestamps": [
                {"name": name, "ns": round(at_s * NS_PER_S)} for name, at_s in trace.stamps
            ],
        }
        try:
            self._write(msgspec.json.encode(row))
        except OSError as error:
            log.warning("the trace file cannot be written, tracing stops: %s", error)
            self._stop()

    def close(self) -> None:
        """Let go of the file."""
        self.on = False
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, row: bytes) -> None:
        """Put a row before the closing bracket, so that the file is whole at any time."""
        if self._path is None:
            return
        if self._file < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
            self._size = 0
        if self._size + len(row) + 4 > FILE_BYTES_MAX:
            log.warning("the trace file has reached %d bytes, tracing stops", FILE_BYTES_MAX)
            self._stop()
            return
        lead = b"[\n" if not self._size else b",\n"
        at = max(self._size - 2, 0)
        self._size = at + os.pwrite(self._file, lead + row + b"\n]", at)

    def _stop(self) -> None:
        self.on = False
        self._global["trace_level"] = [OFF]
        self._own.clear()
        self._samplers.clear()

    def _checked(self, name: str, value: object) -> Value | None:
        if name == "trace_file":
            raise UnsupportedError("trace_file", "to be changed", "set when the server is started")
        if name not in _DEFAULTS:
            raise OipError("trace setting", shown(name), f"one of {', '.join(_DEFAULTS)}")
        if value is None or value == []:
            return None
        if name == "trace_level":
            return self._level(value)
        text = value[0] if isinstance(value, list) and len(value) == 1 else value
        if name == "trace_mode":
            if text != "triton":
                raise UnsupportedError("trace_mode", shown(text), "triton")
            return "triton"
        low, high = {"trace_rate": (1, _RATE_MAX), "trace_count": (-1, _RATE_MAX)}.get(name, (0, 0))
        try:
            number = int(str(text)) if isinstance(text, str | int) else low - 1
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise OipError(name, shown(text), f"{low} to {high}")
        return str(number)

    def _level(self, value: object) -> Value:
        levels = value if isinstance(value, list) else [value]
        if levels == [OFF]:
            return [OFF]
        if levels != [TIMESTAMPS]:
            raise UnsupportedError("trace_level", shown(value), f"{OFF} or {TIMESTAMPS}")
        if self._path is None:
            raise UnsupportedError(
                "trace_level", TIMESTAMPS, "a server that was started with --trace-file"
            )
        return [TIMESTAMPS]
