"""Settings files of processes: JSON that people may edit, read with bounds.

The error is the reading room's own, made from the file's path and what is wrong with it, so
that its code and its hint lead to that room's settings.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.base.files import write_private

SETTINGS_BYTES_MAX = 256 * 1024
PORT_MAX = 65_535
Settings = TypeVar("Settings", bound=msgspec.Struct)


def read_settings_file(
    path: Path,
    kind: type[Settings],
    wrong: Callable[[str, str], Exception],
    *,
    ports: Sequence[str] = (),
    above_zero: Sequence[str] = (),
) -> Settings:
    """Read and check a settings file; raises what `wrong(path, why)` makes.

    `ports` and `above_zero` name the settings that must be a port (0: choose one) and those
    that must be more than nothing.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SETTINGS_BYTES_MAX + 1)
    except OSError as error:
        raise wrong(str(path), error.strerror or str(error)) from error
    if len(data) > SETTINGS_BYTES_MAX:
        raise wrong(str(path), f"is larger than {SETTINGS_BYTES_MAX} bytes")
    try:
        settings = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise wrong(str(path), str(error)) from error
    for name in ports:
        port = getattr(settings, name)
        if not 0 <= port <= PORT_MAX:
            raise wrong(str(path), f"{name} is {port}, wanted 0 to {PORT_MAX}")
    for name in above_zero:
        if not getattr(settings, name) > 0:
            raise wrong(str(path), f"{name} is {getattr(settings, name)}, wanted more than 0")
    return settings


def write_settings_file(path: Path, settings: msgspec.Struct) -> None:
    """Write a settings file, readable by this user only."""
    write_private(path, msgspec.json.format(msgspec.json.encode(settings), indent=2))
