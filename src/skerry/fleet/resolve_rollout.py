"""Goals, rings and gate of the authored file to resolved ones.

A ring is `label=value` (the sites with that label) or a share of all sites (`10 %`:
until that share of the sites is reached, in the order of the file). A site belongs to
the first ring that takes it, and the last ring is `100 %`, so no site is left out. A
share that adds no site in a small fleet is dropped, never left empty: an empty ring
would pass its gate on nothing.
"""

import math
import re

from skerry.fleet.findings import Findings
from skerry.fleet.resolve_places import label_text
from skerry.fleet.windows import site_windows
from skerry.schema.desired import Gate
from skerry.schema.file_errors import KeyPath
from skerry.schema.fleet import RingCheck, Rollout, Site
from skerry.schema.fleet_file import FleetFile
from skerry.schema.goal import GoalName

_GOALS: tuple[tuple[str, GoalName, str, float], ...] = (
    ("latency_p95", GoalName.LATENCY_MS_P95, "ms", math.inf),
    ("local_answers", GoalName.LOCAL_RATIO, "1", 1.0),
    ("cost_per_1k", GoalName.COST_USD_PER_1K, "USD", math.inf),
    ("energy_per_1k", GoalName.ENERGY_WH_PER_1K, "Wh", math.inf),
    ("carbon_per_1k", GoalName.CARBON_G_PER_1K, "g", math.inf),
    ("availability", GoalName.AVAILABILITY_RATIO, "1", 1.0),
    ("upstream_per_1k", GoalName.UPSTREAM_BYTES_PER_1K, "B", math.inf),
)
_LABEL = re.compile(r"([A-Za-z0-9._/-]{1,63})=([^\s=]{1,63})")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,253}(/[!-~]{0,1000})?")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,3})?) ?%")


def resolve_goals(file: FleetFile, notes: Findings) -> dict[GoalName, float]:
    """Return the stated goals, each in the unit of its name."""
    goals = {}
    for key, name, unit, high in _GOALS:
        text = getattr(file.goals, key)
        if text is not None:
            # No bytes upstream is a goal that people have; no milliseconds is none.
            above = name is not GoalName.UPSTREAM_BYTES_PER_1K
            goals[name] = notes.quantity(text, unit, ("goals", key), high=high, above=above)
    return goals


def resolve_rollout(file: FleetFile, sites: tuple[Site, ...], notes: Findings) -> Rollout:
    """Return the rings as lists of sites, and the gate in seconds, milliseconds and ratios."""
    authored = file.rollout
    rings: list[tuple[str, ...]] = []
    names: list[str] = []
    taken: set[str] = set()
    for index, text in enumerate(authored.rings):
        path: KeyPath = ("rollout", "rings", index)
        members = _members(text, file, sites, taken, path, notes)
        if members:
            rings.append(members)
            names.append(text)
            taken.update(members)
    last = _SHARE.fullmatch(authored.rings[-1].strip())
    if last is None or float(last[1]) != 100:
        notes.contradiction(
            ("rollout", "rings", len(authored.rings) - 1),
            "the last ring leaves sites out",
            "end with `100 %`",
        )
    if authored.on_fail not in ("revert", "hold"):
        notes.unknown(("rollout", "on_fail"), "answer to a failure", authored.on_fail,
                      ("revert", "hold"))  # fmt: skip
    unknown = [name for name in authored.approve if name not in authored.rings]
    if unknown:
        notes.unknown(("rollout", "approve"), "ring", unknown[0], tuple(authored.rings))
    return Rollout(
        rings=tuple(rings),
        ring_names=tuple(names),
        gate=_gate(file, notes),
        revert_on_fail=authored.on_fail == "revert",
        windows=site_windows(authored.window, sites, ("rollout", "window"), notes),
        soak_s=0.0
        if authored.soak is None
        else notes.quantity(authored.soak, "s", ("rollout", "soak"), high=90 * 86_400),
        approve=tuple(authored.approve),
        check=_check(file, notes),
        unheard=tuple(site.name for site in sites if site.air_gapped),
    )


def _check(file: FleetFile, notes: Findings) -> RingCheck | None:
    check, path = file.rollout.check, ("rollout", "check")
    if check is None:
        return None
    if (check.url is None) == (check.command is None):
        notes.bad_value(path, "it names no way to ask, or two", "write either `url` or `command`")
    if check.url is not None and not _URL.fullmatch(check.url):
        notes.bad_value((*path, "url"), f"`{check.url}` is not an http or https URL")
    timeout_s = notes.quantity(check.timeout, "s", (*path, "timeout"), high=50.0, above=True)
    return RingCheck(url=check.url or "", command=check.command or "", timeout_s=timeout_s)


def _members(
    text: str,
    file: FleetFile,
    sites: tuple[Site, ...],
    taken: set[str],
    path: KeyPath,
    notes: Findings,
) -> tuple[str, ...]:
    written = text.strip()
    label = _LABEL.fullmatch(written)
    if label is not None:
        matching = [site.name for site in sites if site.labels.get(label[1]) == label[2]]
        # Judged by what is written: a site with another fault still has its labels.
        used = [f"{k}={label_text(v)}" for site in file.sites for k, v in site.labels.items()]
        if written not in used:
            notes.contradiction(
                path,
                f"no site has the label `{written}`",
                f"labels in this file: {', '.join(sorted(set(used)))}"
                if used
                else f"add `labels: {{{label[1]}: {label[2]}}}` to a site",
            )
        return tuple(name for name in matching if name not in taken)
    share = _SHARE.fullmatch(written)
    if share is None or not 0 < float(share[1]) <= 100:
        notes.bad_value(path, f"`{text}` is not a ring", "wanted `ring=pilot` or `10 %`")
        return ()
    # Rounded first: 7 % of 100 sites is 7, though 100 * 7 / 100 may land a hair above.
    wanted = math.ceil(round(len(sites) * float(share[1]) / 100, 9))
    rest = [site.name for site in sites if site.name not in taken]
    return tuple(rest[: max(0, wanted - len(taken))])


def _gate(file: FleetFile, notes: Findings) -> Gate:
    gate, path = file.rollout.gate, ("rollout", "gate")
    latency_ms_p95 = errors_ratio = None
    if gate.latency_p95 is not None:
        latency_ms_p95 = notes.quantity(gate.latency_p95, "ms", (*path, "latency_p95"), above=True)
    if gate.errors is not None:
        errors_ratio = notes.quantity(gate.errors, "1", (*path, "errors"), high=1.0)
    return Gate(
        hold_s=notes.quantity(gate.hold, "s", (*path, "hold"), high=30 * 86_400),
        latency_ms_p95=latency_ms_p95,
        errors_ratio=errors_ratio,
        requests_min=gate.requests,
    )
