"""The gate: may a new version stay, judged from what was really served.

A node judges itself by it after a swap; a rollout judges every node of a ring by it.
A limit that is not stated is not judged. Too few requests are *wait*: a gate that
passes on nothing is no gate. Only a node that stays quiet long after its hold passes
on the check sample that it answered when it was warmed; a rollout does not count that
as evidence, its first ring waits for real requests.

Units: seconds, milliseconds, ratios from 0 to 1.
"""

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
"""Requests below which no ratio or percentile is believed, in either direction."""

QUIET_S = 120.0
"""How long after its hold a node without traffic goes on waiting for some."""


def judge(gate: Gate, window: Window, held_s: float) -> Judgement:
    """Judge one node's window, `held_s` after its swap.

    A broken limit fails as soon as enough was served to believe it: a bad version
    does not stay until its hold is over.
    """
    if window.requests >= min(FAIL_REQUESTS_MIN, max(1, gate.requests_min)):
        errors_ratio = window.errors / window.requests
        if gate.errors_ratio is not None and errors_ratio > gate.errors_ratio:
            return Judgement(
                Grade.FAIL,
                f"errors {errors_ratio:.2%} > {gate.errors_ratio:.2%} "
                f"({window.errors} of {window.requests})",
            )
        p95 = window.latency_ms_p95
        if gate.latency_ms_p95 is not None and p95 is not None and p95 > gate.latency_ms_p95:
            return Judgement(Grade.FAIL, f"p95 {p95:.1f} ms > {gate.latency_ms_p95:g} ms")
    if held_s < gate.hold_s:
        return Judgement(Grade.WAIT, f"held {held_s:.0f} of {gate.hold_s:.0f} s")
    if window.requests < gate.requests_min and held_s < gate.hold_s + QUIET_S:
        return Judgement(
            Grade.WAIT, f"{window.requests} of {gate.requests_min} requests to judge by"
        )
    return Judgement(Grade.PASS, f"{window.requests} requests within the limits")
