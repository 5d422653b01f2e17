"""A staged rollout as a pure function: rings, gate and what is seen, to the next step.

Central asks again on every report and every tick; it keeps only `Progress`. A ring is
released when the one before it passed: every node runs the new generation, is in
sync and healthy, its hold is over by its own last report, and no node that has traffic
breaks the gate's limits. One bad node fails the ring. The first ring also waits for the
gate's number of requests: later rings may be quiet, the first gave the evidence; a
fleet's very first generation replaces nothing and waits for none. Silence is a failure,
once the deadline has passed: a release that takes a site down must not pass because the
site can no longer say so. Nodes of earlier rings stay watched.

A ring that has its turn does not begin at once: it waits for a person where the fleet says
so, then for the check outside, and each of its sites for its own window. A site's hold is
counted from when it was let out. A site without a link is let out and not waited for.

Units: seconds of wall time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from skerry.fleet.gate import Grade, judge
from skerry.fleet.windows import describe_opening, opens_unix_s
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
    """Where a rollout stands: ring `ring` (from 0) has had its turn since `ring_at_unix_s`."""

    generation: int
    previous_generation: int
    ring: int
    ring_at_unix_s: float
    let_out: dict[str, float] = {}
    """When each site of the present ring was let out; kept only where rings wait for something."""
    approved: tuple[str, ...] = ()
    """Rings that a person let begin."""
    checked_ring: int = -1
    """The last ring that the check outside spoke for."""
    check_said: str = ""
    """Why the check outside does not speak for the present ring."""
    any_time: bool = False
    """A person waived the windows."""


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
    """Return the progress of a rollout whose first ring has its turn now."""
    return Progress(
        generation=generation, previous_generation=previous, ring=0, ring_at_unix_s=now_unix_s
    )


def advanced(progress: Progress, now_unix_s: float) -> Progress:
    """Return the progress once the next ring has its turn."""
    return msgspec.structs.replace(
        progress, ring=progress.ring + 1, ring_at_unix_s=now_unix_s, let_out={}, check_said=""
    )


def waits(rollout: Rollout) -> bool:
    """Tell whether rings of this rollout wait for anything before they begin."""
    return bool(rollout.windows or rollout.approve or rollout.check)


def out_unix_s(rollout: Rollout, progress: Progress, site: str) -> float | None:
    """Return since when a site of the present ring may have the change; None if not yet."""
    return progress.let_out.get(site) if waits(rollout) else progress.ring_at_unix_s


def released(rollout: Rollout, progress: Progress) -> tuple[str, ...]:
    """Return every site that the change has been let out to."""
    earlier = [site for ring in rollout.rings[: progress.ring] for site in ring]
    present = rollout.rings[progress.ring]
    return (*earlier, *(s for s in present if out_unix_s(rollout, progress, s) is not None))


def let_out(rollout: Rollout, progress: Progress, now_unix_s: float) -> Progress:
    """Return the progress with every site let out that waits for nothing any more."""
    if not waits(rollout) or ring_waits_for(rollout, progress):
        return progress
    fresh = {
        site: now_unix_s
        for site in rollout.rings[progress.ring]
        if site not in progress.let_out and not _site_waits_for(rollout, progress, site, now_unix_s)
    }
    return msgspec.structs.replace(progress, let_out=progress.let_out | fresh)


def ring_waits_for(rollout: Rollout, progress: Progress) -> str:
    """Return what the present ring waits for before any of its sites is let out; empty if nothing.

    A person first: a check that is asked long before the ring begins says little.
    """
    name = rollout.ring_names[progress.ring]
    if name in rollout.approve and name not in progress.approved:
        return f"ring {name} waits for a person: skerry rollout approve"
    if rollout.check is not None and progress.checked_ring < progress.ring:
        return f"ring {name} waits for the check: {progress.check_said or 'no answer yet'}"
    return ""


def _site_waits_for(rollout: Rollout, progress: Progress, site: str, now_unix_s: float) -> str:
    span = rollout.windows.get(site)
    if span is None or progress.any_time:
        return ""
    opens = opens_unix_s(span, now_unix_s)
    return "" if opens <= now_unix_s else describe_opening(span, opens)


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
    out = released(rollout, progress)
    waiting = ring_waits_for(rollout, progress)
    held_s = math.inf
    requests = 0
    for site in (*out, *(site for site in ring_sites if site not in out)):
        current = site in ring_sites
        since_unix_s = out_unix_s(rollout, progress, site) if current else progress.ring_at_unix_s
        if since_unix_s is None:
            why = _site_waits_for(rollout, progress, site, now_unix_s)
            waiting = waiting or f"{site}: {why or 'about to be let out'}"
            continue
        if site in rollout.unheard:
            held_s = min(held_s, now_unix_s - since_unix_s) if current else held_s
            continue
        if not nodes.get(site):
            return _fail(rollout, progress, out, f"{site}: no node is known there")
        late = now_unix_s - since_unix_s > rollout.gate.hold_s + REACH_S or not current
        for node in nodes[site]:
            report = observed.get(node)
            bad, wait = judge_node(
                rollout.gate, progress, report, now_unix_s, since_unix_s, late=late
            )
            if bad:
                return _fail(rollout, progress, out, f"{node}: {bad}")
            waiting = waiting or (f"{node}: {wait}" if wait else "")
            if current and report is not None:
                # Only what was reported counts: a release that cuts its site's link after a
                # second must not pass on what the site said before.
                held_s = min(held_s, report.at_unix_s - since_unix_s)
                requests += report.window.requests
    if waiting:
        return _hold(progress, waiting)
    watch_s = rollout.gate.hold_s + rollout.soak_s
    if held_s < watch_s:
        return _hold(progress, f"held {max(0.0, held_s):.0f} of {watch_s:.0f} s")
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


def judge_node(
    gate: Gate,
    progress: Progress,
    report: Observed | None,
    now_unix_s: float,
    since_unix_s: float,
    *,
    late: bool,
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
    judgement = judge(gate, report.window, now_unix_s - since_unix_s)
    if judgement.grade is Grade.FAIL:
        return judgement.reason, ""
    return "", ""


def _hold(progress: Progress, reason: str) -> NextStep:
    return NextStep(verdict=Verdict.HOLD, reason=reason, ring=progress.ring)


def _fail(rollout: Rollout, progress: Progress, out: tuple[str, ...], reason: str) -> NextStep:
    if not rollout.revert_on_fail:
        return _hold(progress, f"held for a person: {reason}")
    return NextStep(verdict=Verdict.REVERT, reason=reason, ring=progress.ring, sites=out)
