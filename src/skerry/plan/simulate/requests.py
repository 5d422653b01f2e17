"""Requests one by one, in slices of the year: what an answer takes, and who gives it.

Arrivals are Poisson at each site's rate of that hour; each request meets the production
admission at a machine of its site (`serve.admission.admit`), then, in the order and under
the judgement of `route.decide`, the room of its region and the clouds. A machine is one
first-in-first-out server: one run at a time. Regions are independent of each other but
for the clouds, which take the regions' requests in the order of their arrival there.

    latency = LAN + [round trip + jitter + bytes / bandwidth] + wait + run

Units:   seconds; latencies in the histogram are LATENCY_S_MIN * STEP ** bin.
Shapes:  `hist` is (1 + U, BINS): all answers, then by who gave them; `answers` (S, F, 1 + U).
Limits:  as `plan.replay`, and: no stand-ins, breakers know at once what is down, latencies
         are those of the prior. A slice starts with empty queues, its first tenth is not
         counted. A percentile is exact to half a bin, 0.2 %.
Source:  runs spread log-normally with a coefficient of variation of 0.2, *stated*.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from skerry.base.units import MS_PER_SECOND, SECONDS_PER_HOUR
from skerry.plan.replay import RUN_SPREAD
from skerry.plan.simulate.fleet_arrays import FleetArrays, Floats, Ints
from skerry.plan.simulate.kernels_requests import (
    BINS,
    LATENCY_S_MIN,
    LOG_STEP,
    MACHINE,
    REFUSALS,
    RUNS,
    STEP,
    Columns,
    Machines,
    requests_of_clouds,
    requests_of_region,
)
from skerry.plan.simulate.outages import Changes
from skerry.plan.simulate.world import WEEK_H, World, quiet

SLICE_S_MIN: Final = 60.0
SLICE_RUNS_MIN: Final = 200.0
WARM_UP: Final = 0.1
_HOUR_S: Final = float(SECONDS_PER_HOUR)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What the requests came to."""

    hist: Ints
    answers: Ints
    refused: Ints
    up_bytes: float
    slices: int
    slice_s: float

    @property
    def asked(self) -> int:
        """Requests that were counted."""
        return self.answered + int(self.refused.sum())

    @property
    def answered(self) -> int:
        """Requests that got an answer."""
        return int(self.hist[0].sum())

    def percentile_ms(self, percent: float, who: int = 0) -> float | None:
        """Return a percentile of the latency (of one way's answers); None without an answer."""
        counts = np.cumsum(self.hist[who])
        if not counts[-1]:
            return None
        place = int(np.searchsorted(counts, math.ceil(percent / 100 * counts[-1])))
        return float(LATENCY_S_MIN * STEP ** (place + 0.5) * MS_PER_SECOND)

    def within_ms(self, limit_ms: float) -> int:
        """Return how many answers took no longer than a limit."""
        last = int(math.log(limit_ms / MS_PER_SECOND / LATENCY_S_MIN) / LOG_STEP)
        return int(self.hist[0][: max(last, 0) + 1].sum())


def _machines(nodes: Ints) -> tuple[Ints, Machines]:
    """Return each place's first machine, and the machines, idle."""
    first = np.concatenate([[0], np.cumsum(nodes)])
    return first, np.zeros(first[-1], dtype=MACHINE)


def run_times() -> Floats:
    """Return the quantiles of a run's time over its mean; their mean is 1."""
    sigma = math.sqrt(math.log1p(RUN_SPREAD**2))
    quantiles = [NormalDist().inv_cdf((k + 0.5) / RUNS) for k in range(RUNS)]
    drawn = np.exp(sigma * np.array(quantiles))
    return np.asarray(drawn / drawn.mean())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slices:
    """Which parts of the span are simulated request by request."""

    begins_s: Floats
    hour: Ints
    length_s: float
    warm_s: float


def slices_of(
    fleet: FleetArrays, *, hours: int, requests: float, requests_max: int, seed: int
) -> Slices:
    """Choose slices: whole hours where requests are few enough, else every so many-th hour.

    Hours are counted through all Mondays at midnight, then all at one, and so on, from a
    start that is drawn. So each hour of the week has its share, every hour is as likely
    as every other, and the requests of all slices are a fair sample of the span's.
    """
    least_s = min(max(SLICE_S_MIN, SLICE_RUNS_MIN * float(fleet.service_s.max())), _HOUR_S)
    share = min(1.0, requests_max / max(requests, 1.0))
    length_s = max(share * _HOUR_S, least_s)
    count = max(1, min(hours, int(share * hours * _HOUR_S / length_s)))
    rng = np.random.default_rng((seed, 55))
    by_week = np.argsort(np.arange(hours) % WEEK_H, kind="stable")
    step = hours / count
    hour = np.sort(by_week[(rng.random() * step + np.arange(count) * step).astype(np.int64)])
    begins_s = hour * _HOUR_S + rng.random(count) * (_HOUR_S - length_s)
    whole = share >= 1.0
    return Slices(
        begins_s=begins_s,
        hour=hour,
        length_s=length_s,
        warm_s=0.0 if whole else WARM_UP * length_s,
    )


def simulate_requests(
    fleet: FleetArrays,
    changes: Changes,
    world: World,
    slices: Slices,
    *,
    rates: Floats,
    seed: int,
    threads: int,
    tell: Callable[[float], None] = quiet,
) -> Answers:
    """Simulate the requests of slices; `rates` is (slices, S), per second.

    The result does not depend on `threads`: each region has a stream of its own.
    """
    ways = 1 + fleet.clouds
    columns = Columns(
        nodes=fleet.nodes,
        flow_share=fleet.flow_share,
        service_s=fleet.service_s,
        content_bytes=fleet.content_bytes,
        ways=fleet.ways,
        round_trip_s=fleet.round_trip_s,
        jitter_s=fleet.jitter_s,
        byte_s=fleet.byte_s,
    )
    runs = run_times()
    answers = np.zeros((fleet.sites, len(fleet.service_s), 1 + ways), dtype=np.int64)
    streams = np.random.default_rng((seed, 77)).integers(0, 2**62, fleet.regions)

    def one(region: int) -> tuple[Ints, Ints, Floats, Floats]:
        first, last = int(fleet.first_site[region]), int(fleet.first_site[region + 1])
        mine = np.ascontiguousarray(rates[:, first:last])
        expected = float(mine.sum()) * slices.length_s
        up = np.empty((int(expected + 8 * math.sqrt(expected) + 64) if fleet.clouds else 0, 8))
        hist = np.zeros((1 + 1 + ways, BINS), dtype=np.int64)
        refused, totals = np.zeros(len(REFUSALS), dtype=np.int64), np.zeros(1)
        room = fleet.sites + region
        nodes = np.append(fleet.nodes[first:last], fleet.nodes[room])
        sent = requests_of_region(
            first,
            last,
            room,
            int(streams[region]),
            slices.begins_s,
            slices.length_s,
            slices.warm_s,
            mine,
            runs,
            columns,
            changes,
            *_machines(nodes),
            hist,
            answers,
            refused,
            up,
            totals,
        )
        return hist, refused, up[:sent].copy(), totals

    with ThreadPoolExecutor(threads) as pool:
        parts = []
        for part in pool.map(one, range(fleet.regions)):
            parts.append(part)
            tell(len(parts) / fleet.regions)
    hist = np.sum([part[0] for part in parts], axis=0)
    refused = np.sum([part[1] for part in parts], axis=0)
    totals = np.sum([part[3] for part in parts], axis=0)
    asks = np.concatenate([part[2] for part in parts])
    if len(asks):
        first = fleet.sites + fleet.regions
        machines = _machines(fleet.nodes[first:])
        order = np.argsort(asks[:, 0], kind="stable")
        requests_of_clouds(
            first, order, asks, columns, changes, *machines, hist, answers, refused, totals
        )
    return Answers(
        hist=hist,
        answers=answers,
        refused=refused,
        up_bytes=float(totals[0]),
        slices=len(slices.begins_s),
        slice_s=slices.length_s,
    )
