"""What the router adds to a request that the local model answers: CPU time, no waiting.

    python benchmarks/router.py

The request is stepped by hand, as a door steps it; the local model is an empty function,
whose own cost is taken off. The least of many short rounds counts, so that whoever else
runs on the machine does not.
"""

import time
from collections.abc import Coroutine
from random import Random
from typing import Any

import numpy as np

from skerry.base.clock import SystemClock
from skerry.route.router import Router
from skerry.schema.desired import Peer
from skerry.schema.oip import InferFunction, InferReply, InferRequest, Tensor
from skerry.schema.policy import Place, Policy, Residency, Stays

ROUNDS, REQUESTS = 300, 1000
OSLO = Place(site="oslo", region="r", jurisdiction="NO")
POLICY = Policy(
    fleet="f",
    generation=1,
    data_classes={"public": Residency(stays=Stays.ANYWHERE)},
    model_classes={"m": ("public",)},
    places={"oslo": OSLO},
)
OUTPUTS = [Tensor("y", "FP32", (1, 2), np.zeros((1, 2), np.float32))]


async def local(_: InferRequest) -> InferReply:
    """Answer at once."""
    return InferReply(model="m", version="1", outputs=OUTPUTS)


async def nobody(*_: Any) -> Any:
    """Stand for peers that are never asked."""
    raise ConnectionError


def step(work: Coroutine[Any, Any, InferReply]) -> None:
    """Run a request that waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("the plain case waits for nothing")


def least_us(infer: InferFunction, request: InferRequest) -> float:
    """Return the least mean time of a request over all rounds."""
    best_s = float("inf")
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        for _ in range(REQUESTS):
            step(infer(request))  # type: ignore[arg-type]
        best_s = min(best_s, time.perf_counter() - started_s)
    return best_s / REQUESTS * 1e6


def main() -> None:
    """Print the figure."""
    router = Router(
        place=OSLO,
        node="oslo/1",
        tier="closet",
        policy=POLICY,
        tier_order=("closet",),
        peers=[
            Peer(node="oslo/2", site="oslo", region="r", tier="closet", url="", round_trip_ms=1.0)
        ],
        call_peer=nobody,
        probe_peer=nobody,
        clock=SystemClock(),
        rng=Random(1),
        local=local,
    )
    data = np.zeros((1, 4), np.float32)
    request = InferRequest(model="m", inputs=[Tensor("x", "FP32", (1, 4), data)], deadline_s=1.0)
    added_us = least_us(router.infer, request) - least_us(local, request)
    print(f"router-local-path {added_us:.2f} us")


if __name__ == "__main__":
    main()
