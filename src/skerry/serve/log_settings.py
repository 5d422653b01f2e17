"""What this process's serving log says, as the protocol's logging extension reads and sets it.

Everything that serving logs goes through the logger `skerry.serve`; a setting changes
that logger alone, at once. `log_file` cannot be set: a process writes where it was told
to when it was started, and not where somebody asks it to over a socket.

Errors:  OipError, UnsupportedError.
Source:  Triton's protocol extension "Logging".
"""

import logging
import time
from collections.abc import Mapping

from skerry.schema.oip_errors import OipError, UnsupportedError, shown

LOGGER = logging.getLogger("skerry.serve")
VERBOSE_MAX = 10
FORMATS = ("default", "ISO8601")

_SWITCHES = {
    "log_info": logging.INFO,
    "log_warning": logging.WARNING,
    "log_error": logging.ERROR,
}

Setting = bool | int | str


class LogSettings:
    """The settings of one process, and the hand on its logger."""

    def __init__(self) -> None:
        # Until something is set, the logger is as the process made it.
        self._values: dict[str, Setting] = {
            "log_file": "",
            **{name: LOGGER.isEnabledFor(level) for name, level in _SWITCHES.items()},
            "log_verbose_level": int(LOGGER.isEnabledFor(logging.DEBUG)),
            "log_format": "default",
        }
        self._handler: logging.Handler | None = None
        self._passes: logging.Filter | None = None

    def values(self) -> dict[str, Setting]:
        """Return what is set."""
        return dict(self._values)

    def change(self, wanted: Mapping[str, object]) -> None:
        """Set some; all of them or, where one cannot be, none."""
        checked = {name: _checked(name, value) for name, value in wanted.items()}
        if checked:
            self._values.update(checked)
            self._apply()

    def close(self) -> None:
        """Leave the logger as it was found."""
        if self._handler is not None:
            LOGGER.removeHandler(self._handler)
            LOGGER.propagate = True
        if self._passes is not None:
            LOGGER.removeFilter(self._passes)
            LOGGER.setLevel(logging.NOTSET)
        self._handler = self._passes = None

    def _apply(self) -> None:
        self.close()
        levels = {level for name, level in _SWITCHES.items() if self._values[name]}
        if self._values["log_verbose_level"]:
            levels.add(logging.DEBUG)
        self._passes = _Passes(levels)
        LOGGER.addFilter(self._passes)
        LOGGER.setLevel(min(levels, default=logging.CRITICAL))
        if self._values["log_format"] != "default":
            self._handler = logging.StreamHandler()
            formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
            formatter.converter = time.gmtime
            formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
            formatter.default_msec_format = "%s.%03dZ"
            self._handler.setFormatter(formatter)
            LOGGER.addHandler(self._handler)
            LOGGER.propagate = False


class _Passes(logging.Filter):
    """Lets through the levels that are switched on; what is worse than an error always."""

    def __init__(self, levels: set[int]) -> None:
        super().__init__()
        self._levels = levels

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno in self._levels or record.levelno > logging.ERROR


def _checked(name: str, value: object) -> Setting:
    if name == "log_file":
        raise UnsupportedError("log_file", "to be changed", "set when the process is started")
    if name in _SWITCHES:
        if isinstance(value, bool):
            return value
        raise OipError(name, shown(value), "true or false")
    if name == "log_verbose_level":
        if type(value) is int and 0 <= value <= VERBOSE_MAX:
            return value
        raise OipError(name, shown(value), f"0 to {VERBOSE_MAX}")
    if name == "log_format":
        if isinstance(value, str) and value in FORMATS:
            return value
        raise OipError(name, shown(value), f"one of {', '.join(FORMATS)}")
    known = ", ".join([*_SWITCHES, "log_verbose_level", "log_format"])
    raise OipError("log setting", shown(name), f"one of {known}")
