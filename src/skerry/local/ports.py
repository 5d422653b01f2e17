"""Ports of a local fleet: chosen once among the free ones, and kept, since addresses are signed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from skerry.base.files import write_private
from skerry.base.ports import free_ports

LOOPBACK = "127.0.0.1"


def kept_ports(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Return a port for each name: those of an earlier start, and free ones for new names."""
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError):
        known = {}
    new = [name for name in names if name not in known]
    if new:
        taken = set(known.values())  # by names whose processes are not up yet
        free = [port for port in free_ports(len(new) + len(taken)) if port not in taken]
        known.update(zip(new, free, strict=False))
        write_private(path, msgspec.json.encode(known))
    return {name: known[name] for name in names}


def local_url(ports: Mapping[str, int], name: str) -> str:
    """Return the address of a named TLS port on this machine."""
    return f"https://{LOOPBACK}:{ports[name]}"
