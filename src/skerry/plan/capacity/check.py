"""What the formulas say beside the simulation, and whether this trace lets them.

The formulas want Poisson arrivals at a steady rate. Two measures of the trace tell whether
it has them: the SCV of the times between arrivals (1 for Poisson), and the variance over
the mean of counts per window (1 for Poisson; bursts and a changing rate raise it).

    share late = mean over requests of P(W > limit - service)

with the wait's tail from Erlang C, its mean stretched to Kimura's.

Units:   seconds.
"""

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.plan.capacity.least import Simulator
from skerry.plan.capacity.queueing import erlang_c, wait_mean, wait_mean_any, wait_mean_general
from skerry.plan.capacity.target import Target
from skerry.plan.capacity.trace import Work

Series = NDArray[np.float64]

AGREES_RATIO: Final = 0.03
"""Kimura is within this of a simulation of Poisson arrivals; beyond it, it is wrong here."""
POISSON_SCV: Final = (0.8, 1.25)
POISSON_DISPERSION_MAX: Final = 1.5
WINDOW_SERVICES: Final = 10
"""Counts are taken over windows of this many mean services: what a queue can still feel."""
WINDOWS_MIN: Final = 20
"""A trace shorter than this many windows is counted in shorter ones."""
FORMULA_SERVERS_OVER: Final = 10_000
SAMPLE_MAX: Final = 20_000
"""Service times that stand for all of them in a formula, evenly spread by rank."""


class Formulas(msgspec.Struct, frozen=True, kw_only=True):
    """The formulas' figures for one number of servers, and whether they may be believed."""

    servers: int
    load_erlang: float
    service_scv: float
    arrival_scv: float
    arrival_dispersion: float | None
    """None where the trace is too short to tell."""
    erlang_c_wait_ratio: float
    erlang_c_wait_s_mean: float | None
    """None where the formula has the queue grow for ever."""
    kimura_wait_s_mean: float | None
    varied_wait_s_mean: float | None
    """Kimura's, scaled to how arrivals vary (G/G/c); None where they vary too much for it."""
    simulated_wait_s_mean: float
    agrees: bool
    verdict: str


def scv(values: Series) -> float:
    """Return the squared coefficient of variation; 0 where nothing varies."""
    mean = float(values.mean()) if len(values) else 0.0
    return float(values.var()) / mean**2 if mean else 0.0


def dispersion(arrival_s: Series, window_s: float) -> float:
    """Return variance over mean of the counts per whole window; NaN where there is no window."""
    span_s = float(arrival_s[-1])
    window_s = min(window_s, span_s / WINDOWS_MIN)
    if not window_s:
        return math.nan
    windows = int(span_s / window_s)
    counts = np.bincount((arrival_s / window_s).astype(np.int64), minlength=windows)[:windows]
    return float(counts.var() / counts.mean())


def formulas(simulator: Simulator, servers: int) -> Formulas:
    """Return the check for one number of servers."""
    work = simulator.work
    load, service = work.load_erlang, float(work.service_s.mean())
    service_scv, arrival_scv = scv(work.service_s), scv(np.diff(work.arrival_s))
    spread = dispersion(work.arrival_s, WINDOW_SERVICES * service)
    simulated = float(simulator.waits_s(servers).mean())
    steady = load < servers
    kimura = wait_mean_general(servers, load, service_scv, service=service) if steady else math.inf
    poisson = POISSON_SCV[0] <= arrival_scv <= POISSON_SCV[1] and not (
        spread > POISSON_DISPERSION_MAX
    )
    agrees = abs(kimura - simulated) <= AGREES_RATIO * simulated
    return Formulas(
        servers=servers,
        load_erlang=load,
        service_scv=service_scv,
        arrival_scv=arrival_scv,
        arrival_dispersion=None if math.isnan(spread) else spread,
        erlang_c_wait_ratio=erlang_c(servers, load) if math.isfinite(load) else 1.0,
        erlang_c_wait_s_mean=wait_mean(servers, load, service=service) if steady else None,
        kimura_wait_s_mean=kimura if steady else None,
        varied_wait_s_mean=(
            wait_mean_any(servers, load, service_scv, arrival_scv, service=service)
            if steady
            else None
        ),
        simulated_wait_s_mean=simulated,
        agrees=agrees,
        verdict=_verdict(kimura, simulated, arrival_scv, spread, poisson=poisson, agrees=agrees),
    )


def servers_by_formula(work: Work, target: Target) -> int | None:
    """Return the least servers by formula alone; None where it finds none.

    It stands beside the simulated number and never in its place.
    """
    load, service = work.load_erlang, float(work.service_s.mean())
    if not math.isfinite(load):
        return None
    sample = (
        work.service_s if len(work) <= 20_000 else np.sort(work.service_s)[:: len(work) // 20_000]
    )
    service_scv = scv(work.service_s)
    first = int(load) + 1
    for servers in range(first, first + FORMULA_SERVERS_OVER):
        waits = erlang_c(servers, load)
        mean = wait_mean_general(servers, load, service_scv, service=service)
        if target.metric == "mean":
            if mean + service <= target.limit_s:
                return servers
            continue
        tail = waits / mean if mean > 0 else math.inf  # mean = P(wait) / tail
        left = target.limit_s - sample
        late = np.where(left < 0, 1.0, waits * np.exp(-tail * np.maximum(left, 0.0)))
        if late.mean() <= target.late_ratio:
            return servers
        if waits < 1e-9:
            return None
    return None


def _verdict(
    kimura: float,
    simulated: float,
    arrival_scv: float,
    spread: float,
    *,
    poisson: bool,
    agrees: bool,
) -> str:
    bursts = f"arrivals have an SCV of {arrival_scv:.2f}" + (
        "" if math.isnan(spread) else f" and counts a variance of {spread:.1f} times their mean"
    )
    if simulated == 0:
        return "nobody waits in the simulation; there is nothing to compare"
    if not math.isfinite(kimura):
        return f"by formula this queue grows for ever; the trace ends before it does ({bursts})"
    off = f"the formula's mean wait is {kimura / simulated:.2f} times the simulated one"
    if poisson and agrees:
        return f"{off}: they agree, and arrivals look like Poisson's"
    if poisson:
        return f"{off}, though arrivals look like Poisson's: it has not settled over this trace"
    return f"{off}: do not size by formula here; {bursts}, where Poisson's has 1 and 1"
