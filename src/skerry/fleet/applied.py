"""The last applied fleet, `.skerry/applied.json`: what `diff` compares the file with.

`skerry apply` writes it once every site has been sealed; it holds the resolved fleet,
so a change of the file's wording alone is no difference.
"""

from pathlib import Path

import msgspec

from skerry.base.files import private_folder, write_atomic
from skerry.fleet.errors import AppliedStateError
from skerry.schema.fleet import Fleet

STATE_FOLDER = ".skerry"
APPLIED_FILE = "applied.json"
_APPLIED_BYTES_MAX = 64 * 1024 * 1024


def read_applied(folder: Path) -> Fleet | None:
    """Return the last applied fleet of a fleet folder; None if nothing was applied."""
    path = folder / STATE_FOLDER / APPLIED_FILE
    try:
        with path.open("rb") as file:
            data = file.read(_APPLIED_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AppliedStateError(str(path), f"cannot be read: {error.strerror}") from error
    if len(data) > _APPLIED_BYTES_MAX:
        raise AppliedStateError(str(path), f"is more than {_APPLIED_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=Fleet)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AppliedStateError(str(path), f"is no resolved fleet: {error}") from error


def write_applied(folder: Path, fleet: Fleet) -> None:
    """Remember a fleet as the applied one."""
    state = private_folder(folder / STATE_FOLDER)
    write_atomic(state / APPLIED_FILE, msgspec.json.encode(fleet))
