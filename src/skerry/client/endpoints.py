"""Where a client may send, in which order, and by which policy: from URLs, or from a local fleet.

    http://host:port   https://host:port   the HTTP door of any server that speaks OIP
    grpc://host:port   grpcs://host:port   its gRPC door
    unix:///path                           HTTP over a Unix socket
    local:///path                          a model repository, served inside this process

URLs that a caller names are taken as places the data may go: the caller chose them. A
local fleet's run file names sites and carries the signed policy, so there the policy decides.
"""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from skerry.base.coding import CODINGS
from skerry.base.errors import UsageError
from skerry.base.http_client import HttpClient
from skerry.client.errors import ClientError, RunFileError
from skerry.route.endpoint import Endpoint
from skerry.route.peer_http import HttpEndpoint, address_of
from skerry.schema.desired import Peer
from skerry.schema.policy import Place, Policy
from skerry.schema.run_file import RUN_FILE, RunFile, RunNode, read_run_file

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_TLS_SCHEMES = ("https:", "grpcs:")


class PlainAddressError(ClientError):
    """A plain http:// or grpc:// address that is not on this machine.

    Content and answers would travel readable. Use https:// or grpcs:// with `roots`, or
    give `insecure=True` where the network itself is trusted.
    """

    code = "E1304"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url

    def __str__(self) -> str:
        return f"{self.url} is plain {self.url.partition(':')[0]} and not on this machine"

    @property
    def hint(self) -> str:
        """Name the ways out."""
        return "use TLS (https://, grpcs://) with roots=, or insecure=True on a trusted network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What a client's router is made of. `links` are the endpoints that are objects already."""

    peers: tuple[Peer, ...]
    tier_order: tuple[str, ...]
    place: Place
    policy: Policy | None = None
    links: Mapping[str, Endpoint] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """For TLS: a file of CA certificates (None: the system's), one's own certificate and key.

    `made` is a context made elsewhere, for https in place of the two.
    """

    roots: Path | None = None
    identity: tuple[Path, Path] | None = None
    made: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return it as the standard library wants it."""
        if self.made is not None:
            return self.made
        context = ssl.create_default_context(cafile=None if self.roots is None else str(self.roots))
        if self.identity is not None:
            context.load_cert_chain(*self.identity)
        return context


def from_urls(
    ends: str | Endpoint | Sequence[str | Endpoint], *, insecure: bool = False
) -> Endpoints:
    """Return endpoints in the order given; each is its own step of the order."""
    if isinstance(ends, str) or not isinstance(ends, Sequence):
        ends = [ends]
    if not ends:
        raise UsageError("no endpoint was given", 'Client("http://127.0.0.1:8000")')
    urls = [end if isinstance(end, str) else end.url for end in ends]
    for end in ends:
        if isinstance(end, str):
            _check(end, insecure=insecure)
    tiers = tuple(f"endpoint-{number}" for number in range(1, len(urls) + 1))
    peers = tuple(
        Peer(node=url, site="", region="", tier=tier, url=url, round_trip_ms=0.0)
        for url, tier in zip(urls, tiers, strict=True)
    )
    return Endpoints(
        peers=peers,
        tier_order=tiers,
        place=Place(site="", region="", jurisdiction=""),
        links={end.url: end for end in ends if not isinstance(end, str)},
    )


def open_endpoint(
    url: str,
    http: HttpClient,
    trust: Trust,
    *,
    connect_s: float,
    headers: Sequence[tuple[str, str]] = (),
    compression: str = "",
) -> Endpoint:
    """Return the endpoint of a URL; its scheme says what carries the requests."""
    if compression not in ("", *CODINGS):
        raise UsageError(f"compression is {compression!r}", f"one of {', '.join(CODINGS)}")
    scheme = url.partition(":")[0]
    if scheme in ("grpc", "grpcs"):
        from skerry.route.peer_grpc import GrpcEndpoint, GrpcRoots  # grpcio is slow to load

        own = trust.identity
        roots = GrpcRoots(
            roots=None if trust.roots is None else trust.roots.read_bytes(),
            chain=None if own is None else own[0].read_bytes(),
            key=None if own is None else own[1].read_bytes(),
        )
        return GrpcEndpoint(
            url, roots, connect_s_max=connect_s, headers=headers, compression=compression
        )
    if scheme == "local":
        from skerry.client.local_engine import LocalEngine  # and so is ONNX Runtime

        return LocalEngine(urlsplit(url).path)
    if http.tls is None and scheme == "https":
        http.tls = trust.context()
    return HttpEndpoint(http, url, address_of(url), headers, compression)


def is_near(url: str) -> bool:
    """Tell whether a URL leads to another process of this machine."""
    parts = urlsplit(url)
    return parts.scheme == "unix" or (
        parts.scheme in ("http", "https", "grpc", "grpcs") and parts.hostname in LOOPBACK
    )


def _check(url: str, *, insecure: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme in ("unix", "local"):
        if parts.netloc or not parts.path:
            raise UsageError(f"{url!r} names no path", f"write {parts.scheme}:///path")
        return
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname:
        raise UsageError(
            f"{url!r} is not an inference address",
            "write http(s)://host:port, grpc(s)://host:port, unix:///path or local:///repository",
        )
    if not (url.startswith(_TLS_SCHEMES) or insecure or parts.hostname in LOOPBACK):
        raise PlainAddressError(url)


def from_run_file(path: Path, site: str) -> Endpoints:
    """Return the endpoints of a client that stands at a site of a running local fleet."""
    if path.is_dir():
        path = path / RUN_FILE
    try:
        run = read_run_file(path)
    except OSError as error:
        raise RunFileError(str(path), "no fleet runs here") from error
    except msgspec.DecodeError as error:
        raise RunFileError(str(path), f"not a run file ({error})") from error
    if not run.at_site(site):
        known = ", ".join(sorted({node.site for node in run.nodes}))
        raise RunFileError(str(path), f"no site {site!r}; it has {known}")
    place = Place(site=site, region=run.at_site(site)[0].region, jurisdiction="")
    if run.policy is not None:
        place = run.policy.places.get(site, place)
    peers = tuple(
        Peer(
            node=node.node,
            site=node.site,
            region=node.region,
            tier=node.tier,
            url=url,
            round_trip_ms=run.round_trip_ms(site, node.site),
        )
        for node in run.nodes
        if (url := _url_from(run, node, site))
    )
    own_first = dict.fromkeys((run.at_site(site)[0].tier, *run.tier_order))
    return Endpoints(peers=peers, tier_order=tuple(own_first), place=place, policy=run.policy)


def _url_from(run: RunFile, node: RunNode, site: str) -> str:
    """A far node is dialled through its emulated link, or not at all: no link is skipped."""
    if node.site == site or not run.links:
        return node.http_url
    return node.http_url_from.get(site, "")
