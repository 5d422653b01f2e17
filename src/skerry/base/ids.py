"""Ids: small tokens that are safe in a file name, a NATS subject and a URI at once.

A token is 1 to 63 characters of `a-z`, `0-9` and `-`, neither first nor last a
`-` (RFC 1123 label). So no id can become a path, a wildcard or a second subject
token.
"""

import re
import secrets
from typing import NewType

from skerry.base.errors import SkerryError

FleetName = NewType("FleetName", str)
RegionId = NewType("RegionId", str)
SiteId = NewType("SiteId", str)
NodeName = NewType("NodeName", str)
"""`<site>/<n>`: one node of one site, n counting from 1."""

_TOKEN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class IdError(SkerryError):
    """A name that cannot be an id."""

    code = "E0010"

    def __init__(self, kind: str, value: str) -> None:
        super().__init__(kind, value)
        self.kind, self.value = kind, value

    def __str__(self) -> str:
        return f"{self.value!r} cannot name a {self.kind}: wanted 1 to 63 of a-z, 0-9 and '-'"


def token(kind: str, value: str) -> str:
    """Return the value if it is a token, else raise `IdError`."""
    if not _TOKEN.fullmatch(value):
        raise IdError(kind, value)
    return value


def node_name(site: str, number: int) -> NodeName:
    """Name the n-th node of a site."""
    return NodeName(f"{token('site', site)}/{number}")


def new_boot_id() -> str:
    """Return an id for one life of a process; record keys carry it."""
    return secrets.token_hex(6)
