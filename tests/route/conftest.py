"""A manual clock, scripted peers, and a real HTTP server that answers by script."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest

from skerry.route.router import Router
from skerry.schema.desired import Peer
from skerry.schema.oip import InferFunction, InferReply, InferRequest, Tensor
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.schema.route import RouteSettings
from skerry.testing.clock import ManualClock

TIERS = ("closet", "room", "cloud")
PLACES = {
    "oslo": ("region-eu", "NO"),
    "bergen": ("region-eu", "NO"),
    "hamburg": ("region-eu", "DE"),
    "region-eu": ("region-eu", "DE"),
    "cloud": ("cloud", "US"),
}
PEERS = (
    ("oslo/2", "closet", 1.0),
    ("bergen/1", "closet", 8.0),
    ("region-eu/1", "room", 20.0),
    ("cloud/1", "cloud", 60.0),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def policy() -> Policy:
    return Policy(
        fleet="clinic",
        generation=1,
        data_classes={
            "health": Residency(stays=Stays.SITE),
            "internal": Residency(stays=Stays.JURISDICTIONS, jurisdictions=("NO",)),
            "public": Residency(stays=Stays.ANYWHERE),
        },
        model_classes={
            "magika": ("public", "internal", "health"),
            "magika-small": ("public", "internal", "health"),
        },
        places={
            site: Place(site=site, region=region, jurisdiction=land)
            for site, (region, land) in PLACES.items()
        },
    )


def reply_of(model: str) -> InferReply:
    scores = np.zeros((1, 2), np.float32)
    return InferReply(model=model, version="1", outputs=[Tensor("s", "FP32", (1, 2), scores)])


@dataclass
class World:
    """One node's router among scripted peers. A script is an answer time, None for silence,
    or an error to raise."""

    clock: ManualClock = field(default_factory=ManualClock)
    scripts: dict[str, float | Exception | None] = field(default_factory=dict)
    probes: dict[str, Exception | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    sent: list[InferRequest] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)

    def router(
        self,
        policy: Policy | None,
        *,
        local: InferFunction | None = None,
        peers: Sequence[tuple[str, str, float]] = PEERS,
        forwards: bool = True,
        site: str = "oslo",
        settings: RouteSettings | None = None,
        explains: bool = False,
    ) -> Router:
        region, land = PLACES[site]
        return Router(
            place=Place(site=site, region=region, jurisdiction=land),
            node=f"{site}/1",
            tier="closet",
            policy=policy,
            tier_order=TIERS,
            peers=[
                Peer(
                    node=node,
                    site=node.split("/")[0],
                    region=PLACES[node.split("/")[0]][0],
                    tier=tier,
                    url=f"https://{node}",
                    round_trip_ms=round_trip_ms,
                )
                for node, tier, round_trip_ms in peers
            ],
            call_peer=self.call,
            probe_peer=self.probe,
            clock=self.clock,
            rng=Random(1),
            local=local,
            standins={"magika": "magika-small"},
            forwards=forwards,
            settings=settings,
            explains=explains,
        )

    async def call(self, peer: Peer, request: InferRequest, deadline_s: float) -> InferReply:
        self.asked.append(peer.node)
        self.sent.append(request)
        script = self.scripts.get(peer.node, 0.0)
        if isinstance(script, Exception):
            raise script
        try:
            late_s = deadline_s + 0.001  # the race, if there is one, ends it first
            await self.clock.sleep(late_s if script is None else min(script, late_s))
        except asyncio.CancelledError:
            self.cancelled.append(peer.node)
            raise
        if script is None or script >= late_s:
            raise TimeoutError("no answer in time")
        return reply_of(request.model)

    async def probe(self, peer: Peer) -> None:
        self.probed.append(peer.node)
        error = self.probes.get(peer.node)
        if error is not None:
            raise error

    async def run(self, work: Awaitable[InferReply], *, step_s: float = 0.001) -> InferReply:
        """Let simulated time pass until the work is done."""
        task = asyncio.ensure_future(work)
        for _ in range(20_000):
            await settle()
            if task.done():
                return task.result()
            self.clock.advance(step_s)
        raise AssertionError("no answer in 20 simulated seconds")


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ask() -> Callable[..., InferRequest]:
    def make(
        model: str = "magika",
        *,
        data_class: str | None = None,
        deadline_s: float | None = 2.0,
        hops: int = 0,
        origin: str | None = None,
    ) -> InferRequest:
        data = np.zeros((1, 4), np.int32)
        return InferRequest(
            model=model,
            inputs=[Tensor("bytes", "INT32", (1, 4), data)],
            data_class=data_class,
            deadline_s=deadline_s,
            hops=hops,
            origin_site=origin,
        )

    return make
