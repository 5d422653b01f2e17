"""What rules read: a small JSON file of signal to value, written by meters, people or drills.

A file that is missing, too large or torn is the same as no signals: rules that need one
become *unknown*, and nothing that works is stopped.
"""

from pathlib import Path

import msgspec

from skerry.base.files import write_atomic

SIGNALS_BYTES_MAX = 64 * 1024
Signals = dict[str, str | float]


def read_signals(path: Path) -> Signals:
    """Return the signals as they are now."""
    try:
        with path.open("rb") as file:
            data = file.read(SIGNALS_BYTES_MAX + 1)
        if len(data) > SIGNALS_BYTES_MAX:
            return {}
        return msgspec.json.decode(data, type=Signals)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def write_signals(path: Path, signals: Signals) -> None:
    """Replace the signals."""
    write_atomic(path, msgspec.json.encode(signals))
