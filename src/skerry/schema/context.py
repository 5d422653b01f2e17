"""Where an operator's commands reach a fleet of real machines, and as whom.

Lies as `.skerry/context.json` beside the fleet file, readable by this user only. Paths
are relative to the fleet folder or absolute.
"""

from pathlib import Path

import msgspec

from skerry.base.files import private_folder, write_private

CONTEXT_FILE = ".skerry/context.json"


class Context(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operator's way to one fleet; people may edit the file."""

    fleet: str
    domain: str
    central_url: str
    """Central's API, `https://host:port`."""
    region_urls: dict[str, str]
    """Each region's API, for join tickets."""
    identity: str
    """The operator's certificate and key, one PEM file; empty for who logs in otherwise."""
    roots: str
    """The fleet's root certificates."""
    offline: str
    """Folder of the offline signing keys; may be absent where nothing is signed."""


def read_context(folder: Path) -> Context | None:
    """Return a fleet folder's context; None if there is none.

    Raises `msgspec.DecodeError` for a file that is no context.
    """
    try:
        data = (folder / CONTEXT_FILE).read_bytes()
    except OSError:
        return None
    return msgspec.json.decode(data, type=Context)


def write_context(folder: Path, context: Context) -> None:
    """Write a fleet folder's context, readable by this user only."""
    private_folder((folder / CONTEXT_FILE).parent)
    encoded = msgspec.json.format(msgspec.json.encode(context), indent=2)
    write_private(folder / CONTEXT_FILE, encoded)
