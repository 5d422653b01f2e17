"""The gate: may a new version stay, judged from what was really served.

A node judges itself by it after a swap; a rollout judges every node of a ring by it.
A limit that is not stated is not judged. Too few requests are *wait*: a gate that
passes on nothing is no gate. A limit counts as broken only where chance alone would
do that less than once in a hundred times: two slow answers out of twenty do not
revert a good release, and five out of five revert a bad one. Only a node that stays
quiet long after its hold passes on the check sample that it answered when it was
warmed; a rollout does not count that as evidence, its first ring waits for real
requests.

Units: seconds, milliseconds, ratios from 0 to 1.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from skerry.schema.desired import Gate
from skerry.schema.observed import Window


class Grade(StrEnum):
    """What the gate says."""

    PASS = "pass"  # noqa: S105 - a word, not a secret
    WAIT = "wait"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The gate's word and its reason, with the value and the limit in it."""

    grade: Grade
    reason: str


FAIL_REQUESTS_MIN = 5
"""Requests below which no ratio is believed, in either direction."""

CHANCE_MAX = 0.01
"""How unlikely a breach must be, if the limit really held, before it is believed."""

P95_TAIL = 0.05
"""The share of answers that may be slower than a p95 limit."""

QUIET_S = 120.0
"""How long after its hold a node without traffic goes on waiting for some."""


def judge(gate: Gate, window: Window, held_s: float) -> Judgement:
    """Judge one node's window, `held_s` after its swap.

    A broken limit fails as soon as enough was served to believe it: a bad version
    does not stay until its hold is over.
    """
    if window.requests >= min(FAIL_REQUESTS_MIN, max(1, gate.requests_min)):
        broken = _broken(gate, window)
        if broken:
            return Judgement(Grade.FAIL, broken)
    if held_s < gate.hold_s:
        return Judgement(Grade.WAIT, f"held {held_s:.0f} of {gate.hold_s:.0f} s")
    if window.requests < gate.requests_min and held_s < gate.hold_s + QUIET_S:
        return Judgement(
            Grade.WAIT, f"{window.requests} of {gate.requests_min} requests to judge by"
        )
    return Judgement(Grade.PASS, f"{window.requests} requests within the limits")


def chance_of(count: int, of: int, ratio: float) -> float:
    """Return how likely at least `count` of `of` is, where each has the chance `ratio`.

    The upper tail of the binomial distribution, exact.
    """
    if count <= 0:
        return 1.0
    if ratio <= 0 or count > of:
        return 0.0
    if ratio >= 1:
        return 1.0
    log_term = (
        math.lgamma(of + 1)
        - math.lgamma(count + 1)
        - math.lgamma(of - count + 1)
        + count * math.log(ratio)
        + (of - count) * math.log1p(-ratio)
    )
    term = total = math.exp(log_term)
    odds = ratio / (1 - ratio)
    for k in range(count, of):
        term *= (of - k) / (k + 1) * odds
        total += term
        if k > of * ratio and term < total * 1e-12:
            break
    return min(1.0, total)


def _broken(gate: Gate, window: Window) -> str:
    """Return the limit that is broken beyond chance, with value and limit; empty if none is."""
    if gate.errors_ratio is not None:
        errors_ratio = window.errors / window.requests
        chance = chance_of(window.errors, window.requests, gate.errors_ratio)
        if errors_ratio > gate.errors_ratio and chance < CHANCE_MAX:
            return (
                f"errors {errors_ratio:.2%} > {gate.errors_ratio:.2%} "
                f"({window.errors} of {window.requests})"
            )
    limit_ms, p95_ms = gate.latency_ms_p95, window.latency_ms_p95
    if limit_ms is None or p95_ms is None or p95_ms <= limit_ms:
        return ""
    answered = window.requests - window.errors
    # A report from before slow answers were counted is judged by its p95 alone.
    if window.slow is not None and chance_of(window.slow, answered, P95_TAIL) >= CHANCE_MAX:
        return ""
    return f"p95 {p95_ms:.1f} ms > {limit_ms:g} ms over {answered} answers"
