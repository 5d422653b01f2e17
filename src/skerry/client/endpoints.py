"""Where a client may send, in which order, and by which policy: from URLs, or from a local fleet.

URLs that a caller names are taken as places the data may go: the caller chose them. A
local fleet's run file names sites and carries the signed policy, so there the policy decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.client.errors import ClientError, RunFileError
from skerry.route.peer_http import address_of
from skerry.schema.desired import Peer
from skerry.schema.policy import Place, Policy
from skerry.schema.run_file import RUN_FILE, RunFile, RunNode, read_run_file

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class PlainAddressError(ClientError):
    """A plain http:// address that is not on this machine.

    Content and answers would travel readable. Use https:// with `roots`, or give
    `insecure=True` where the network itself is trusted.
    """

    code = "E1304"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url

    def __str__(self) -> str:
        return f"{self.url} is plain http and not on this machine"

    @property
    def hint(self) -> str:
        """Name the ways out."""
        return "use https:// with roots=, or insecure=True where the network itself is trusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What a client's router is made of."""

    peers: tuple[Peer, ...]
    tier_order: tuple[str, ...]
    place: Place
    policy: Policy | None = None


def from_urls(urls: Sequence[str], *, insecure: bool) -> Endpoints:
    """Return endpoints in the order given; each is its own step of the order."""
    for url in urls:
        address = address_of(url)
        if not (address.tls or insecure or address.host in LOOPBACK):
            raise PlainAddressError(url)
    tiers = tuple(f"endpoint-{number}" for number in range(1, len(urls) + 1))
    peers = tuple(
        Peer(node=url, site="", region="", tier=tier, url=url, round_trip_ms=0.0)
        for url, tier in zip(urls, tiers, strict=True)
    )
    return Endpoints(
        peers=peers, tier_order=tiers, place=Place(site="", region="", jurisdiction="")
    )


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
