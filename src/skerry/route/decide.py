"""Routing decisions as scalar functions over plain numbers: no clock, no tables, no I/O.

The router calls them for every request, and `plan` replays a trace through the same
source, compiled. So they take and give numbers and named tuples of numbers only; a
verdict is an integer whose word is in `VERDICT_WORDS`, so every refusal has a reason.

The order of one request: residency first (`fit` looks at nothing else before it),
then the breaker, then the deadline; only what fits is ranked. The stand-in is asked
before anything leaves the site. A silent candidate is hedged once, and from that
moment is suspect: no second request waits for it before a probe has found it well.

Units:   seconds; times are monotonic. `chance` is uniform, 0 to 1.
Source:  hedging after the 95th percentile: Dean, Barroso: "The Tail at Scale",
         CACM 56(2), 2013. Breaker: Nygard: "Release It!", 2nd ed., chapter 5.
"""

import math
from typing import Final, NamedTuple

FIT: Final = 0
RESIDENCY: Final = 1
HOPS: Final = 2
DOWN: Final = 3
BREAKER: Final = 4
DEADLINE: Final = 5
BUSY: Final = 6
ABSENT: Final = 7
EJECTED: Final = 8
BUDGET: Final = 9
VERDICT_WORDS: Final = (
    "fit",
    "residency",
    "hops",
    "down",
    "breaker-open",
    "deadline",
    "queue-full",
    "no-model",
    "ejected",
    "retry-budget",
)
"""The word for each verdict, as it appears in answers, records and errors."""

CLOSED: Final = 0
OPEN: Final = 1
HALF_OPEN: Final = 2

FAILURES_MAX: Final = 3
"""Failures in a row that open a breaker; a refused connection or a silence opens it at once."""
OPEN_S_MIN: Final = 0.2
OPEN_S_MAX: Final = 10.0
HEDGE_FACTOR: Final = 1.25
"""Above the 95th percentile by this much, so that a healthy tail is seldom hedged."""
HEDGE_S_MIN: Final = 0.002
HEDGE_S_MAX: Final = 1.0
HEDGE_SAMPLES_MIN: Final = 8
COLD_SERVICE_S: Final = 0.025
"""What an answer is taken to need, round trip apart, before any was measured."""
FORGET_S: Final = 5.0
"""Half life of a latency that nobody measures any more: a slow spell is not for ever."""
HOPS_MAX: Final = 1
ABSENT_S: Final = 2.0
"""How long a node that did not have a model is not asked for it again."""
OUTLIER_ANSWERS_MIN: Final = 10
"""Answers or failures since it came (back) before a candidate is compared with the others."""
OUTLIER_FACTOR: Final = 3.0
"""How many times worse than the median of its like makes an outlier."""
OUTLIER_ERRORS_MIN: Final = 0.2
OUTLIER_S_MIN: Final = 0.02
EJECT_S_MIN: Final = 5.0
EJECT_S_MAX: Final = 300.0
QUEUE_FADES_S: Final = 1.0
"""Half life of the load that a node told of itself."""
_TIER_STEP: Final = 1e6
_SITE_STEP: Final = 1e5
_RANK_LATENCY_S_MAX: Final = 9e4


class Breaker(NamedTuple):
    """One breaker: its phase, failures in a row, trips in a row, and when a probe is due."""

    phase: int = CLOSED
    failures: int = 0
    trips: int = 0
    until_s: float = 0.0


def fit(allowed: bool, hops: int, phase: int, expected_s: float, left_s: float) -> int:
    """Judge one candidate; the first reason against it is the verdict.

    `hops` counts the forwards that answering there would make. A half-open breaker
    fits: the router lets one request at a time through it.
    """
    if not allowed:
        return RESIDENCY
    if hops > HOPS_MAX:
        return HOPS
    if phase == OPEN:
        return BREAKER
    if not in_time(expected_s, left_s):
        return DEADLINE
    return FIT


def in_time(expected_s: float, left_s: float) -> bool:
    """Tell whether a candidate may still answer before the deadline. Not so for NaN."""
    return left_s > 0.0 and expected_s <= left_s


def rank(tier: int, in_site: bool, expected_s: float) -> float:
    """Return a candidate's rank, lowest first: tier order, then own site, then latency."""
    near = 0.0 if in_site else _SITE_STEP
    return tier * _TIER_STEP + near + min(max(expected_s, 0.0), _RANK_LATENCY_S_MAX)


def standin_verdict(preferred: bool, large: int, has_standin: bool, standin: int) -> bool:
    """Tell whether the local stand-in answers next, before anything leaves the site.

    `large` and `standin` are the verdicts on the two local models: the stand-in is
    asked when a rule prefers it, or when the large one does not fit or has failed.
    """
    return has_standin and standin == FIT and (preferred or large != FIT)


def believed_s(measured_s: float, prior_s: float, age_s: float) -> float:
    """Return the latency to expect: what was measured, fading to the prior as it ages.

    Only what is slower than the prior fades; otherwise a candidate that was judged
    too slow once would never be tried, and so never be measured, again.
    """
    if measured_s <= prior_s:
        return measured_s
    return prior_s + (measured_s - prior_s) * math.pow(0.5, max(age_s, 0.0) / FORGET_S)


def hedge_delay_s(latency_p95_s: float, samples: int, round_trip_s: float, left_s: float) -> float:
    """Return how long to wait for a candidate before a second one is asked too.

    After its measured 95th percentile, bounded both ways, and never more than half of
    the time left, so that the second still has a chance. Cold: twice a guess.
    """
    known = samples >= HEDGE_SAMPLES_MIN
    wanted = HEDGE_FACTOR * latency_p95_s if known else 2.0 * (round_trip_s + COLD_SERVICE_S)
    return min(max(wanted, HEDGE_S_MIN), HEDGE_S_MAX, max(left_s, 0.0) / 2.0)


def breaker_failed(breaker: Breaker, now_s: float, certain: bool, chance: float) -> Breaker:
    """Count a failure. `certain` ones (connection refused, a failed probe) open at once.

    Each trip in a row doubles the wait, up to `OPEN_S_MAX`, spread by a quarter so
    that many clients do not come back together.
    """
    failures = breaker.failures + 1
    if not certain and breaker.phase == CLOSED and failures < FAILURES_MAX:
        return Breaker(CLOSED, failures, breaker.trips, 0.0)
    wait_s = min(OPEN_S_MIN * 2.0 ** min(breaker.trips, 16), OPEN_S_MAX)
    return Breaker(OPEN, failures, breaker.trips + 1, now_s + wait_s * (0.75 + 0.5 * chance))


def breaker_silent(breaker: Breaker, now_s: float) -> Breaker:
    """Open on a silence: a probe is due at once, and no request waits here before it is back."""
    if breaker.phase == OPEN:
        return breaker
    return Breaker(OPEN, breaker.failures + 1, breaker.trips, now_s)


def breaker_probed(breaker: Breaker) -> Breaker:
    """Let one trial request through after a probe was answered."""
    return Breaker(HALF_OPEN, breaker.failures, breaker.trips, 0.0)


def probe_due(breaker: Breaker, now_s: float) -> bool:
    """Tell whether an open breaker has waited long enough to be probed."""
    return breaker.phase == OPEN and now_s >= breaker.until_s


def budget_earned(
    tokens: float, elapsed_s: float, ratio: float, per_s: float, tokens_max: float
) -> float:
    """Return the tokens after one more request: its share, and the minimum for the time since.

    A further attempt costs one token, so attempts stay below a share of the requests,
    however sick the fleet is.
    """
    return min(tokens + ratio + per_s * max(elapsed_s, 0.0), tokens_max)


def is_outlier(
    answers: int,
    errors_ratio: float,
    like_errors_ratio: float,
    service_s: float,
    like_service_s: float,
) -> bool:
    """Tell whether a candidate stands out of its like: by errors, or by time to answer.

    The `like_` values are medians of the others; `service_s` is without the round trip.
    NaN, where there is nothing to compare, never stands out.
    """
    if answers < OUTLIER_ANSWERS_MIN:
        return False
    if errors_ratio >= OUTLIER_ERRORS_MIN and errors_ratio >= OUTLIER_FACTOR * like_errors_ratio:
        return True
    return service_s >= OUTLIER_S_MIN and service_s >= OUTLIER_FACTOR * like_service_s


def may_eject(ejected: int, candidates: int, ratio_max: float) -> bool:
    """Tell whether one more of like candidates may be ejected; never all of them."""
    return ejected + 1 <= min(ratio_max * candidates, candidates - 1)


def ejection_s(times: int, chance: float) -> float:
    """Return how long an ejection lasts: doubled each time in a row, spread by a quarter."""
    wait_s = min(EJECT_S_MIN * 2.0 ** min(times, 16), EJECT_S_MAX)
    return wait_s * (0.75 + 0.5 * chance)


def load(in_flight: int, told: float, told_age_s: float) -> float:
    """Return a node's load: what was sent there and is not back, and what it told, fading."""
    return in_flight + told * math.pow(0.5, max(told_age_s, 0.0) / QUEUE_FADES_S)


def is_lighter(load_a: float, expected_a_s: float, load_b: float, expected_b_s: float) -> bool:
    """Tell whether the first of two nodes is the one to ask: less loaded, else faster.

    Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing",
    IEEE TPDS 12(10), 2001.
    """
    if load_a != load_b:
        return load_a < load_b
    return expected_a_s < expected_b_s
