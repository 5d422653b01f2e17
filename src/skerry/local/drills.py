"""Drills on a local fleet: inject a fault while traffic runs, heal, watch, have it graded.

Each drill is a few lines of what it breaks; before, during and after are the same for
all: healthy traffic to compare with, the fault, the way back, and a count of records.
Nothing here judges: `skerry.proof.drills` does.

Units: seconds for times, milliseconds for latencies.
"""

import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from skerry.base.clock import SystemClock
from skerry.base.files import write_atomic
from skerry.client.operator import Operator, OperatorUnreachableError
from skerry.local.backup import make_backup
from skerry.local.clients import FOLDER
from skerry.local.control import SupervisorControl
from skerry.local.errors import LocalError
from skerry.local.folder import LocalFolder
from skerry.local.record_audit import RecordAudit
from skerry.local.restore import AHEAD, restore
from skerry.local.traffic import ClientPlan, Outcome, Traffic
from skerry.proof.drills import DrillSeen, grade
from skerry.proof.leaks import Served, leaked
from skerry.schema.api import RolloutStatus
from skerry.schema.drill import DrillKind, DrillRecord
from skerry.schema.run_file import RunFile, read_run_file
from skerry.spine.link import LinkControl

HEALTHY_S = 3.0
"""Traffic before the fault, to compare with."""
SETTLE_S = 2.0
"""Traffic after the fault has gone, before the next drill."""
WARM_S = 1.0
"""How long extra clients get to connect before anything is counted."""
EXTRA_CLIENTS, EXTRA_PER_S = 4, 8.0
QUIET_S = 0.5
"""How long requests under way get to end before everything is stopped."""
HALVES = ("worker", "agent")
LINKS, CENTRAL = "links", "central"
FOLLOW_S_MAX = 60.0
"""How long nodes may take to follow a central that was restored."""
RECORDS_S_MAX = 30.0
"""How long records may take to arrive once everything is back."""


class DrillTargetError(LocalError):
    """A drill names a site or node that the running fleet does not have, or that it cannot use."""

    code = "E1403"

    def __init__(self, kind: str, target: str, why: str) -> None:
        super().__init__(kind, target, why)
        self.kind, self.target, self.why = kind, target, why

    def __str__(self) -> str:
        return f"drill {self.kind} on {self.target or 'nothing'}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the command that lists targets."""
        return "skerry status lists the sites and nodes that run"


@dataclass(slots=True)
class Range:
    """Everything a drill works with: the running fleet, hands on it, and its traffic."""

    folder: LocalFolder
    traffic: Traffic
    central: Operator
    audit: RecordAudit
    timeline: list[str] = field(default_factory=list)
    began_unix_s: float = 0.0

    @property
    def run(self) -> RunFile:
        """Return what runs now, as the supervisor last wrote it."""
        return read_run_file(self.folder.run_file)

    @property
    def control(self) -> SupervisorControl:
        """Return the hand on the supervisor."""
        return SupervisorControl(self.folder.control)

    @property
    def links(self) -> LinkControl:
        """Return the hand on the emulated links."""
        return LinkControl(self.folder.links_control)

    def begin(self) -> None:
        """Start the drill's own clock."""
        self.timeline = []
        self.began_unix_s = time.time()

    def say(self, text: str) -> None:
        """Add a line to the drill's timeline."""
        self.timeline.append(f"{time.time() - self.began_unix_s:6.1f} s  {text}")

    def links_of(self, site: str) -> list[str]:
        """Return the links that leave a site."""
        return [name for name in self.links.status() if name.startswith(f"{site}>")]


@dataclass(slots=True)
class Facts:
    """What a drill saw beside its traffic; see `DrillSeen` for the meaning of each."""

    reverted: bool | None = None
    rings_reached: int | None = None
    refused: bool | None = None
    changed: int | None = None
    first_answer_s: float | None = None
    others_alive: int | None = None
    followed: int | None = None
    nodes: int | None = None


Concerns = Callable[[ClientPlan], bool]
"""Which clients a drill watches."""


def run_drill(
    range_: Range,
    kind: DrillKind,
    target: str,
    fault: Callable[[Facts], None],
    *,
    concerns: Concerns = lambda plan: plan.kind != FOLDER,
    extra: Sequence[ClientPlan] = (),
) -> DrillRecord:
    """Watch healthy traffic, run `fault` (which heals what it broke), and grade the whole.

    `extra` clients are there for this drill only, where the usual ones are too few for a
    tail to be judged by.
    """
    range_.begin()
    range_.audit.note()
    range_.traffic.pause(lambda plan: not concerns(plan))
    range_.traffic.start(extra)
    try:
        if extra:
            time.sleep(WARM_S)
        started_s = time.time()
        time.sleep(HEALTHY_S)
        fault_s = time.time()
        facts = Facts()
        fault(facts)
        range_.audit.note()
        time.sleep(SETTLE_S)
        ended_s = time.time()
    finally:
        range_.traffic.retire(extra)
        range_.traffic.resume()
    healthy = range_.traffic.between(started_s, fault_s)
    seen = range_.traffic.between(fault_s, ended_s)
    records = range_.audit.count(wait_s=RECORDS_S_MAX)
    range_.say(f"{records.stored} records at central, {records.lost} lost, {records.twice} twice")
    for outcome in seen:
        if outcome.answer is None:
            range_.say(f"failed: {outcome.client}: {outcome.error}")
    return grade(
        DrillSeen(
            kind=kind,
            target=target,
            started_unix_s=fault_s,
            duration_s=ended_s - fault_s,
            outcomes=tuple(outcome.for_grading() for outcome in seen),
            healthy_ms=tuple(one.latency_ms for one in healthy if one.answer is not None),
            lost=records.lost,
            twice=records.twice,
            leaked=leaks_of(seen, range_.run),
            reverted=facts.reverted,
            rings_reached=facts.rings_reached,
            refused=facts.refused,
            changed=facts.changed,
            first_answer_s=facts.first_answer_s,
            others_alive=facts.others_alive,
            followed=facts.followed,
            nodes=facts.nodes,
            timeline=tuple(range_.timeline),
        )
    )


def leaks_of(outcomes: list[Outcome], run: RunFile) -> int:
    """Count answers that came from where the data may not go, as the clients saw them."""
    if run.policy is None:
        return len(outcomes)
    return leaked(
        (
            Served(one.site, one.answer.served_site, one.data_class)
            for one in outcomes
            if one.answer is not None
        ),
        run.policy,
    )


# --- the faults ------------------------------------------------------------------------


def wan_cut(range_: Range, site: str, for_s: float) -> DrillRecord:
    """Reset and refuse everything that leaves a site."""
    links = range_.links_of(site)
    if not links:
        raise DrillTargetError("wan-cut", site, "no emulated link leaves it")

    def fault(_: Facts) -> None:
        with _link_state(range_, links, "cut"):
            range_.say(f"cut {len(links)} links of {site}")
            time.sleep(for_s)
        range_.say("links are back")

    return run_drill(
        range_,
        DrillKind.WAN_CUT,
        site,
        fault,
        concerns=lambda plan: plan.site == site and plan.kind != FOLDER,
    )


def black_hole(range_: Range, node: str, for_s: float) -> DrillRecord:
    """Freeze a node's worker: connections stay open, and nothing comes back."""
    site = _site_with_two(range_, "black-hole", node)

    def fault(_: Facts) -> None:
        pid = range_.control.pids()[f"{node} worker"]
        os.kill(pid, signal.SIGSTOP)
        range_.say(f"froze the worker of {node}")
        try:
            time.sleep(for_s)
        finally:
            os.kill(pid, signal.SIGCONT)
        range_.say("it goes on")

    return run_drill(
        range_,
        DrillKind.BLACK_HOLE,
        node,
        fault,
        concerns=lambda plan: _sdk_at(plan, site),
        extra=_more_sdk(range_, site),
    )


def node_kill(range_: Range, node: str, for_s: float) -> DrillRecord:
    """End a node's worker and agent without warning; the supervisor starts them again."""
    site = _site_with_two(range_, "node-kill", node)

    def fault(_: Facts) -> None:
        range_.control.kill(f"{node} worker", f"{node} agent")
        range_.say(f"killed worker and agent of {node}")
        time.sleep(for_s)

    return run_drill(
        range_,
        DrillKind.NODE_KILL,
        node,
        fault,
        concerns=lambda plan: _sdk_at(plan, site),
        extra=_more_sdk(range_, site),
    )


def region_down(range_: Range, region: str, for_s: float) -> DrillRecord:
    """Hold a region's process and its nodes down; its sites are on their own, its clients turn."""
    if region not in range_.run.regions:
        raise DrillTargetError("region-down", region, "it is no region")
    own = [f"{node.node} {half}" for node in range_.run.at_site(region) for half in HALVES]
    return _held(range_, DrillKind.REGION_DOWN, region, (f"{region} region", *own), for_s)


def central_down(range_: Range, for_s: float) -> DrillRecord:
    """Hold central down."""
    return _held(range_, DrillKind.CENTRAL_DOWN, "central", ("central",), for_s)


def lose_central(range_: Range) -> DrillRecord:
    """Lose central's machine: its state folder goes, and comes back from a backup."""

    def fault(facts: Facts) -> None:
        state, passphrase = range_.folder.central, secrets.token_urlsafe()
        facts.nodes = len(range_.run.nodes)
        range_.control.hold(CENTRAL)
        try:
            with tempfile.TemporaryDirectory(dir=range_.folder.state) as elsewhere:
                file = Path(elsewhere) / "central.backup"
                made = make_backup(state, file, passphrase=passphrase, clock=SystemClock())
                shutil.rmtree(state)
                range_.say(f"central's state is gone; {len(made.files)} files are in its backup")
                restore(file, state, passphrase=passphrase, clock=SystemClock())
        finally:
            range_.control.release(CENTRAL)
        range_.say("central is back from its backup, with numbers far ahead")
        deadline_s = time.monotonic() + FOLLOW_S_MAX
        facts.followed = 0
        while facts.followed < facts.nodes and time.monotonic() < deadline_s:
            time.sleep(0.2)
            with suppress(OperatorUnreachableError):
                nodes = range_.central.status().nodes
                facts.followed = sum(n.in_sync and n.desired_generation > AHEAD for n in nodes)
        range_.say(f"{facts.followed} of {facts.nodes} nodes are in sync with it")

    return run_drill(range_, DrillKind.LOSE_CENTRAL, CENTRAL, fault)


def forged_update(range_: Range, region: str, for_s: float) -> DrillRecord:
    """Put a newer timestamp that nobody signed into a region's mirror, as a thief would.

    Central is held meanwhile, or the mirror would mend itself at its next look.
    """
    timestamp = range_.folder.region(region) / "mirror" / "metadata" / "timestamp.json"
    if not timestamp.exists():
        raise DrillTargetError("forged-update", region, "its mirror holds nothing yet")
    nodes = {node.node for node in range_.run.nodes if node.region == region}

    def fault(facts: Facts) -> None:
        before, last = _running(range_), max((e.n for e in range_.central.events()), default=0)
        range_.control.hold(CENTRAL)
        genuine = timestamp.read_bytes()
        document = msgspec.json.decode(genuine, type=dict[str, Any])
        document["signed"]["version"] += 1
        for signature in document["signatures"]:
            signature["sig"] = os.urandom(64).hex()
        write_atomic(timestamp, msgspec.json.encode(document))
        range_.say(f"the mirror of {region} holds a timestamp that nobody signed")
        time.sleep(for_s)
        write_atomic(timestamp, genuine)
        range_.control.release(CENTRAL)
        deadline_s = time.monotonic() + RECORDS_S_MAX
        refusals: dict[str, str] = {}
        while refusals.keys() != nodes and time.monotonic() < deadline_s:
            time.sleep(0.2)
            for stored in range_.central.events(after=last, kind="target.refused"):
                refusals[stored.event.node] = str(stored.event.detail.get("reason", ""))
        for node, reason in sorted(refusals.items()):
            range_.say(f"{node} refused it: {reason}")
        facts.refused = refusals.keys() == nodes and set(refusals.values()) == {"UPDATE_FORGED"}
        facts.changed = sum(_running(range_).get(node) != what for node, what in before.items())

    return run_drill(range_, DrillKind.FORGED_UPDATE, region, fault)


def bad_release(
    range_: Range, target: str, send: Callable[[], RolloutStatus], rings: int
) -> DrillRecord:
    """Send a signed release that is bad; `send` follows it to its end and returns how that was."""

    def fault(facts: Facts) -> None:
        outcome = send()
        facts.reverted = outcome.phase == "reverted"
        started = [
            stored.event.text
            for stored in range_.central.events()
            if stored.event.kind == "rollout.advanced"
            and stored.event.at_unix_ms >= range_.began_unix_s * 1000
        ]
        facts.rings_reached = min(1 + len(started), rings)
        range_.say(f"{outcome.phase}: {outcome.reason}")

    return run_drill(range_, DrillKind.BAD_RELEASE, target, fault)


def cold_start(
    range_: Range, site: str, ask: Callable[[], bool], *, seconds_max: float = 20.0
) -> DrillRecord:
    """Stop the whole fleet, start one site alone, and time its first answer."""
    own = {f"{node.node} worker" for node in range_.run.at_site(site)}
    if not own:
        raise DrillTargetError("cold-start", site, "no node runs there")

    def fault(facts: Facts) -> None:
        control = range_.control
        names = [name for name in control.pids() if name != LINKS]
        range_.traffic.pause(lambda plan: True)  # nobody can be asked while all is down
        time.sleep(QUIET_S)
        control.hold(*names)
        range_.audit.note()
        range_.say(f"stopped {len(names)} processes")
        began_s = time.monotonic()
        control.release(*own)
        while not ask() and time.monotonic() - began_s < seconds_max:
            time.sleep(0.01)
        facts.first_answer_s = time.monotonic() - began_s
        alive = {name for name, pid in control.pids().items() if pid and name != LINKS}
        facts.others_alive = len(alive - own)
        range_.say(f"first answer of {site} after {facts.first_answer_s:.2f} s, alone")
        range_.traffic.resume()
        range_.traffic.pause(lambda plan: plan.site != site or plan.kind == FOLDER)
        time.sleep(SETTLE_S)  # the site serves while nothing else is there
        for name in names:  # one by one: this machine is a whole fleet's, and others wait
            if name not in own:
                control.release(name)
        range_.say("the rest is back")

    return run_drill(
        range_,
        DrillKind.COLD_START,
        site,
        fault,
        concerns=lambda plan: plan.site == site and plan.kind != FOLDER,
    )


def _running(range_: Range) -> dict[str, str]:
    """Return what every node runs, as it reports: models and generation."""
    return {
        node.node: f"{node.observed.generation} {node.observed.models}"
        for node in range_.central.status().nodes
        if node.observed is not None
    }


def _held(
    range_: Range, kind: DrillKind, target: str, names: tuple[str, ...], for_s: float
) -> DrillRecord:
    def fault(_: Facts) -> None:
        range_.control.hold(*names)
        range_.say(f"{', '.join(names)} is down")
        try:
            time.sleep(for_s)
        finally:
            range_.control.release(*names)
        range_.say("it is back")

    return run_drill(range_, kind, target, fault)


@contextmanager
def _link_state(range_: Range, links: list[str], state: str) -> Iterator[None]:
    control = range_.links
    try:
        for name in links:
            (control.cut if state == "cut" else control.black_hole)(name)
        yield
    finally:
        for name in links:
            control.heal(name)


def _site_with_two(range_: Range, kind: str, node: str) -> str:
    """Return a node's site, which must have another node: what this drill is about."""
    site = node.rpartition("/")[0]
    nodes = [one.node for one in range_.run.at_site(site)]
    if node not in nodes:
        raise DrillTargetError(kind, node, "no such node runs")
    if len(nodes) < 2:
        raise DrillTargetError(kind, node, f"{site} has one node; who should take over?")
    return site


def _sdk_at(plan: ClientPlan, site: str) -> bool:
    """Clients that route: a stock client that knows one node has nobody to turn to."""
    return plan.kind == "sdk" and plan.site == site


def _more_sdk(range_: Range, site: str) -> list[ClientPlan]:
    """Return more clients like the site's first that routes, each with a brisk pace."""
    model = next((plan for plan in range_.traffic.plans() if _sdk_at(plan, site)), None)
    if model is None:
        return []
    return [
        replace(model, name=f"{site} drill-{number}", per_s=EXTRA_PER_S)
        for number in range(1, EXTRA_CLIENTS + 1)
    ]
