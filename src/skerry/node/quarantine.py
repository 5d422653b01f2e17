"""The node's quarantine: a file with the reasons.

The agent writes the file, the worker reads it; either may be restarted. A file that is there and
cannot be read is a quarantine too: nobody gets out of one by tearing a file.

Units: unix seconds.
"""

from pathlib import Path

import msgspec

from skerry.base.files import sync_folder, write_private
from skerry.schema.quarantine import Quarantine, QuarantineCause

FREE = Quarantine(causes={})
FILE_BYTES_MAX = 64 * 1024
_decoder = msgspec.json.Decoder(Quarantine)


def read_quarantine(path: Path) -> Quarantine:
    """Return the reasons that lie on the disk; no file is no reason."""
    try:
        with path.open("rb") as file:
            found = _decoder.decode(file.read(FILE_BYTES_MAX))
        why = "names no reason"
    except FileNotFoundError:
        return FREE
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        found, why = FREE, f"cannot be read: {error}"
    if found.causes:
        return found
    cause = QuarantineCause(word="UNREADABLE", text=f"{path.name} {why}", at_unix_s=0.0)
    return Quarantine(causes={"file": cause})


def add_cause(path: Path, who: str, cause: QuarantineCause) -> Quarantine:
    """Enter a quarantine, or give a further reason; it is on disk when this returns."""
    found = Quarantine(causes={**read_quarantine(path).causes, who: cause})
    write_private(path, msgspec.json.encode(found))
    return found


def lift_cause(path: Path, who: str) -> Quarantine:
    """Take one reason back; with the last one the quarantine ends."""
    causes = {name: cause for name, cause in read_quarantine(path).causes.items() if name != who}
    if causes:
        write_private(path, msgspec.json.encode(Quarantine(causes=causes)))
    elif path.exists():
        path.unlink()
        sync_folder(path.parent)
    return Quarantine(causes=causes)
