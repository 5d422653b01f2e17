"""A staged rollout as a pure function: rings, gate and what is seen, to the next step.

Central asks again on every report and every tick; it keeps only `Progress`. A ring is
released when the one before it passed: every node runs the new generation, is in
sync and healthy, the hold is over, and no node that has traffic breaks the gate's
limits. One bad node fails the ring. The first ring also waits for the gate's number
of requests: later rings may be quiet, the first gave the evidence; a fleet's very first
generation replaces nothing and waits for none. Silence is a
failure, once the deadline has passed: a release that takes a site down must not pass
because the site can no longer say so. Nodes of earlier rings stay watched.

Units: seconds of wall time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from skerry.fleet.gate import Grade, judge
from skerry.schema.desired import Gate
from skerry.schema.fleet import Rollout
from skerry.schema.observed import Observed, State

REACH_S = 120.0
"""How long a ring has, on top of its hold, to fetch, swap and report: 400 MB at 50 Mbit/s,
a cold load, and some waiting. A node that is silent or behind after that fails its ring."""
SILENT_S = 30.0
"""A report older than this says nothing about now; fifteen reports were missed."""


class Verdict(StrEnum):
    """What to do next."""

    HOLD = "hold"
    ADVANCE = "advance"
    REVERT = "revert"
    DONE = "done"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rollout stands: ring `ring` (from 0) was released at `ring_at_unix_s`."""

    generation: int
    previous_generation: int
    ring: int
    ring_at_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """What to do next, why, and whom it concerns.

    `sites` are those to release with ADVANCE, and those to take back with REVERT.
    """

    verdict: Verdict
    reason: str
    ring: int
    sites: tuple[str, ...] = ()


def begin(rollout: Rollout, generation: int, previous: int, now_unix_s: float) -> Progress:
    """Return the progress of a rollout whose first ring is released now."""
    return Progress(
        generation=generation, previous_generation=previous, ring=0, ring_at_unix_s=now_unix_s
    )


def advanced(progress: Progress, now_unix_s: float) -> Progress:
    """Return the progress once the next ring is released."""
    return msgspec.structs.replace(progress, ring=progress.ring + 1, ring_at_unix_s=now_unix_s)


def next_step(
    rollout: Rollout,
    progress: Progress,
    nodes: Mapping[str, Sequence[str]],
    observed: Mapping[str, Observed],
    now_unix_s: float,
) -> NextStep:
    """Return the next step of a rollout.

    `nodes` maps each site to the names of its nodes, `observed` a node to its last
    report. A site without nodes in `nodes` fails its ring: nobody could vouch for it.
    """
    ring_sites = rollout.rings[progress.ring]
    released = tuple(site for ring in rollout.rings[: progress.ring + 1] for site in ring)
    passed_s = now_unix_s - progress.ring_at_unix_s
    late = passed_s > rollout.gate.hold_s + REACH_S
    waiting = ""
    requests = 0
    for site in released:
        current = site in ring_sites
        if not nodes.get(site):
            return _fail(rollout, progress, released, f"{site}: no node is known there")
        for node in nodes[site]:
            bad, wait = _judge_node(
                rollout.gate, progress, observed.get(node), now_unix_s, late or not current
            )
            if bad:
                return _fail(rollout, progress, released, f"{node}: {bad}")
            waiting = waiting or (f"{node}: {wait}" if wait else "")
            report = observed.get(node)
            if current and report is not None:
                requests += report.window.requests
    if waiting:
        return _hold(progress, waiting)
    if passed_s < rollout.gate.hold_s:
        return _hold(progress, f"held {max(0.0, passed_s):.0f} of {rollout.gate.hold_s:.0f} s")
    first = progress.previous_generation == 0  # nothing served before, so nobody asks yet
    if progress.ring == 0 and not first and requests < rollout.gate.requests_min:
        return _hold(
            progress, f"{requests} of {rollout.gate.requests_min} requests to judge the ring by"
        )
    if progress.ring + 1 == len(rollout.rings):
        return NextStep(verdict=Verdict.DONE, reason="every ring passed", ring=progress.ring)
    return NextStep(
        verdict=Verdict.ADVANCE,
        reason=f"ring {rollout.ring_names[progress.ring]} passed: {requests} requests",
        ring=progress.ring + 1,
        sites=rollout.rings[progress.ring + 1],
    )


def _judge_node(
    gate: Gate, progress: Progress, report: Observed | None, now_unix_s: float, late: bool
) -> tuple[str, str]:
    """Return why a node fails the ring, or why it is waited for; both empty if it passes."""
    if report is None:
        return ("never reported", "") if late else ("", "no report yet")
    if report.reverted_generation == progress.generation:
        return f"reverted by itself: {report.reverted_reason or 'no reason given'}", ""
    if now_unix_s - report.at_unix_s > SILENT_S:
        silent = f"silent for {now_unix_s - report.at_unix_s:.0f} s"
        return (silent, "") if late else ("", silent)
    if report.generation != progress.generation or not report.in_sync:
        if late:
            said = report.refusal or report.reason or "no reason given"
            return f"did not reach generation {progress.generation}: {said}", ""
        return "", f"at generation {report.generation} of {progress.generation}"
    if report.state is State.DOWN:
        return f"down: {report.reason or 'no reason given'}", ""
    broken = [model for model in report.models if not model.ready]
    if broken:
        return f"{broken[0].name} is not ready: {broken[0].reason or 'no reason given'}", ""
    judgement = judge(gate, report.window, now_unix_s - progress.ring_at_unix_s)
    if judgement.grade is Grade.FAIL:
        return judgement.reason, ""
    return "", ""


def _hold(progress: Progress, reason: str) -> NextStep:
    return NextStep(verdict=Verdict.HOLD, reason=reason, ring=progress.ring)


def _fail(rollout: Rollout, progress: Progress, released: tuple[str, ...], reason: str) -> NextStep:
    if not rollout.revert_on_fail:
        return _hold(progress, f"held for a person: {reason}")
    return NextStep(verdict=Verdict.REVERT, reason=reason, ring=progress.ring, sites=released)
