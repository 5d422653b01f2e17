"""SPIFFE ids of a fleet: who someone is, as one URI that a certificate carries.

Four forms exist, and no others:

    spiffe://<site>.<region>.<domain>/node/<n>
    spiffe://<region>.<domain>/region
    spiffe://<domain>/central
    spiffe://<domain>/operator/<name>

The host is also the DNS name in the certificate, so a client checks it as
`server_hostname` whatever address it dials.

Errors:  SpiffeIdError, for any text that is not exactly one of the four.
Source:  SPIFFE-ID 1.0, sections 2.1 to 2.4.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from skerry.base.ids import NodeName, RegionId, SiteId, token
from skerry.trust.errors import TrustError

URI_CHARS_MAX = 512  # the standard allows 2048; ours are far shorter
HOST_CHARS_MAX = 253  # RFC 1035
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_NODE_PATH = re.compile(r"node/([1-9][0-9]{0,5})")
_OPERATOR_PATH = re.compile(r"operator/([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)")


class SpiffeIdError(TrustError):
    """A name in a certificate or a request is not an id of this fleet's form.

    Ids are `spiffe://<host>/<node/N | region | central | operator/NAME>` in lower case, with no
    port, query, percent sign, empty or dotted path segment.
    """

    code = "E0202"
    reason = "SPIFFE_ID"

    def __init__(self, text: str, wanted: str) -> None:
        super().__init__(text, wanted)
        self.text, self.wanted = text, wanted

    def __str__(self) -> str:
        return f"{self.text[:80]!r} is not an identity: wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "join again, so that the node gets a certificate with its own id"


class Role(StrEnum):
    """What the holder of an id is."""

    NODE = "node"
    REGION = "region"
    CENTRAL = "central"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """One identity. Build it with `parse` or with the functions below, never by hand."""

    host: str
    """Trust host: the DNS name in the certificate and the `server_hostname` of a client."""
    path: str
    """Without the leading slash: `node/1`, `region`, `central`, `operator/ann`."""

    def __post_init__(self) -> None:
        if len(self.host) > HOST_CHARS_MAX or not _HOST.fullmatch(self.host):
            raise SpiffeIdError(str(self), "one lower-case DNS name as host")
        labels = self.host.count(".") + 1
        # A node needs a site and a region before its domain, a region itself before it.
        floor = {Role.NODE: 3, Role.REGION: 2}.get(self.role, 1)
        if labels < floor:
            raise SpiffeIdError(str(self), f"at least {floor} names in the host of a {self.role}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id strictly; raises `SpiffeIdError`."""
        if len(text) > URI_CHARS_MAX or not text.startswith("spiffe://"):
            raise SpiffeIdError(text, "spiffe://<host>/<path>")
        host, slash, path = text[len("spiffe://") :].partition("/")
        if not slash:
            raise SpiffeIdError(text, "a path after the host")
        return cls(host, path)

    def __str__(self) -> str:
        return f"spiffe://{self.host}/{self.path}"

    @property
    def role(self) -> Role:
        """What the holder is."""
        if self.path in (Role.REGION, Role.CENTRAL):
            return Role(self.path)
        if _NODE_PATH.fullmatch(self.path):
            return Role.NODE
        if _OPERATOR_PATH.fullmatch(self.path):
            return Role.OPERATOR
        raise SpiffeIdError(str(self), "the path node/N, region, central or operator/NAME")

    @property
    def domain(self) -> str:
        """The fleet's domain: the host without site and region."""
        skip = {Role.NODE: 2, Role.REGION: 1}.get(self.role, 0)
        return ".".join(self.host.split(".")[skip:])

    @property
    def site(self) -> SiteId:
        """The site of a node; raises `SpiffeIdError` for anyone else."""
        if self.role is not Role.NODE:
            raise SpiffeIdError(str(self), "the id of a node")
        return SiteId(self.host.split(".")[0])

    @property
    def region(self) -> RegionId:
        """The region of a node or of a region process; raises `SpiffeIdError` for anyone else."""
        role = self.role
        if role not in (Role.NODE, Role.REGION):
            raise SpiffeIdError(str(self), "the id of a node or a region")
        return RegionId(self.host.split(".")[1 if role is Role.NODE else 0])

    @property
    def number(self) -> int:
        """A node's number within its site, from 1; raises `SpiffeIdError` for anyone else."""
        if self.role is not Role.NODE:
            raise SpiffeIdError(str(self), "the id of a node")
        return int(self.path.removeprefix("node/"))

    @property
    def node(self) -> NodeName:
        """A node's name, `<site>/<n>`; raises `SpiffeIdError` for anyone else."""
        return NodeName(f"{self.site}/{self.number}")

    @property
    def operator(self) -> str:
        """An operator's name; raises `SpiffeIdError` for anyone else."""
        if self.role is not Role.OPERATOR:
            raise SpiffeIdError(str(self), "the id of an operator")
        return self.path.removeprefix("operator/")


def node_id(domain: str, region: str, site: str, number: int) -> SpiffeId:
    """Name the n-th node of a site."""
    return SpiffeId(f"{token('site', site)}.{token('region', region)}.{domain}", f"node/{number}")


def region_id(domain: str, region: str) -> SpiffeId:
    """Name a region's process."""
    return SpiffeId(f"{token('region', region)}.{domain}", "region")


def central_id(domain: str) -> SpiffeId:
    """Name the central process."""
    return SpiffeId(domain, "central")


def operator_id(domain: str, name: str) -> SpiffeId:
    """Name a person who operates the fleet."""
    return SpiffeId(domain, f"operator/{token('operator', name)}")
