"""Tiers that overflow: the least servers per site of one tier, with the others as they are.

Units:   seconds; round trips and waits of the table in ms, as their columns say.
Errors:  ColumnError, for the tables; TierTableError, for tiers that do not fit together;
         CapacityError, for a tier that is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND
from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity.errors import CapacityError, TierTableError
from skerry.plan.capacity.kernels_overflow import overflow
from skerry.plan.capacity.least import Sized, concurrent_max, load_to_flip, size_by, worst
from skerry.plan.capacity.regret import judged
from skerry.plan.capacity.target import SHARES, Target, counted
from skerry.plan.capacity.trace import Work
from skerry.plan.columns import Number, Text, read_columns
from skerry.schema.plan_report import Advice, Answer, PlanReport, Section, Stack, Table

Series = NDArray[np.float64]
Ints = NDArray[np.int64]

SITES_MAX = 1_000_000
TIERS_MAX = 8
_AROUND = 2
FLIP_STEP = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tiers:
    """The tiers, from where requests begin upwards; all (tiers,)."""

    names: tuple[str, ...]
    sites: Ints
    servers: Ints
    """Per site."""
    round_trip_s: Series
    wait_max_s: Series
    """Whoever would wait longer goes on to the next tier; of the last tier it is not used."""

    def with_servers(self, tier: int, servers: int) -> "Tiers":
        """Return the same with another number of servers at each site of a tier."""
        numbers = self.servers.copy()
        numbers[tier] = servers
        return replace(self, servers=numbers)


class TierRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one number of servers per site came to."""

    servers: int
    served_ratio: dict[str, float]
    wait_s_mean: float
    sojourn_s_mean: float
    sojourn_s_p50: float
    sojourn_s_p95: float
    sojourn_s_p99: float


def read_tiers(path: Path) -> Tiers:
    """Read the table of tiers, the one where requests begin first."""
    whole = Number(low=1, high=SITES_MAX)
    time_ms = Number(low=0, high=1e7)
    read = read_columns(
        path,
        {
            "tier": Text(),
            "sites": whole,
            "servers": whole,
            "round_trip_ms": time_ms,
            "wait_max_ms": Number(low=0, high=1e7, may_be_empty=True),
        },
    )
    empty = np.isnan(read.numbers["wait_max_ms"][:-1])
    if empty.any():
        row = int(empty.argmax())
        raise read.error(row, "wait_max_ms", "an empty cell", "a number, save in the last row")
    for name in ("sites", "servers"):
        broken = read.numbers[name] % 1 != 0
        if broken.any():
            row = int(broken.argmax())
            raise read.error(row, name, f"{read.numbers[name][row]:g}", "a whole number")
    names = tuple(read.texts["tier"])
    sites = read.numbers["sites"].astype(np.int64)
    if len(set(names)) < len(names) or len(names) > TIERS_MAX:
        raise TierTableError(str(path), f"wanted at most {TIERS_MAX} tiers, each named once")
    if (np.diff(sites) > 0).any():
        row = int((np.diff(sites) > 0).argmax()) + 1
        below = int(sites[row - 1])
        raise read.error(row, "sites", str(int(sites[row])), f"at most {below}, as below it")
    return Tiers(
        names=names,
        sites=sites,
        servers=read.numbers["servers"].astype(np.int64),
        round_trip_s=read.numbers["round_trip_ms"] / MS_PER_SECOND,
        wait_max_s=np.nan_to_num(read.numbers["wait_max_ms"], nan=np.inf) / MS_PER_SECOND,
    )


def run(work: Work, site: Ints, tiers: Tiers) -> tuple[Series, Ints, float]:
    """Return every sojourn, the tier that served it, and the mean wait."""
    sojourn_s, served_by = np.empty(len(work)), np.empty(len(work), np.int64)
    waited_s = overflow(
        work.arrival_s,
        work.service_s,
        site,
        tiers.sites,
        tiers.servers,
        tiers.round_trip_s,
        tiers.wait_max_s,
        sojourn_s,
        served_by,
    )
    return sojourn_s, served_by, waited_s / len(work)


def row_of(work: Work, site: Ints, tiers: Tiers, tier: int) -> TierRow:
    """Return the figures with the tiers as they are; `tier` is the one that is sized."""
    sojourn_s, served_by, wait_s = run(work, site, tiers)
    shares = np.bincount(served_by, minlength=len(tiers.names)) / len(work)
    p50, p95, p99 = np.quantile(sojourn_s, list(SHARES.values()))
    return TierRow(
        servers=int(tiers.servers[tier]),
        served_ratio=dict(zip(tiers.names, shares.tolist(), strict=True)),
        wait_s_mean=wait_s,
        sojourn_s_mean=float(sojourn_s.mean()),
        sojourn_s_p50=float(p50),
        sojourn_s_p95=float(p95),
        sojourn_s_p99=float(p99),
    )


def size_tier(work: Work, site: Ints, tiers: Tiers, tier: int, target: Target) -> Sized:
    """Return the least servers per site of one tier that keep a target."""
    enough = _enough(work, site * tiers.sites[tier] // tiers.sites[0])

    def sojourns_s(servers: int) -> Series:
        return run(work, site, tiers.with_servers(tier, servers))[0]

    alone = f"a wait-free {tiers.names[tier]} with the other tiers as they are"
    return size_by(target, sojourns_s, sojourns_s(enough), enough, alone=alone)


def _enough(work: Work, own: Ints) -> int:
    """Return servers per site with which nobody waits, if each site serves all its requests."""
    order = np.argsort(own, kind="stable")
    edges = np.flatnonzero(np.diff(own[order])) + 1
    return max(
        concurrent_max(
            Work(source="", arrival_s=work.arrival_s[rows], service_s=work.service_s[rows])
        )
        for rows in np.split(order, edges)
    )


def tier_of(tiers: Tiers, name: str | None) -> int:
    """Return the place of the tier to size: the first, or the one that is named."""
    if name is None:
        return 0
    if name not in tiers.names:
        raise CapacityError(f"there is no tier {name!r}", f"tiers: {', '.join(tiers.names)}")
    return tiers.names.index(name)


def tiers_report(
    work: Work,
    site: Ints,
    tiers: Tiers,
    tier: int,
    targets: Sequence[Target],
    servers: range | None,
    inputs: Assumptions,
) -> PlanReport:
    """Return the least servers per site of one tier, and who serves how much."""
    sized = [size_tier(work, site, tiers, tier, target) for target in targets]
    chosen = worst(sized)
    around = range(max(1, (chosen or 1) - _AROUND), (chosen or 0) + _AROUND + 1)
    shown = servers or (around if chosen is not None else range(0))
    rows = [row_of(work, site, tiers.with_servers(tier, count), tier) for count in shown]
    name = tiers.names[tier]
    words = [
        f"{one.target} is impossible with the other tiers as they are"
        if one.impossible
        else f"{one.target} needs {one.servers_least} at each {name} site"
        for one in sized
    ] or [f"{rows[0].servers} at each {name} site, p99 {rows[0].sojourn_s_p99:.4g} s"]
    return PlanReport(
        verb="capacity",
        question=f"How many servers does each {name} site need?",
        lead=f"{len(work):,} requests, {work.load_erlang:.4g} erlang: {'; '.join(words)}",
        answer=(
            Answer.NONE
            if not sized
            else Answer.NO
            if any(one.impossible for one in sized)
            else Answer.YES
        ),
        figures={
            "requests": len(work),
            "load_erlang": work.load_erlang,
            "tier": name,
            "servers_least": chosen,
            "targets": sized,
            "servers": rows,
        },
        advice=_advice(work, site, tiers, tier, targets, sized, inputs),
        assumptions=inputs.used(),
        sections=(
            Section(
                title=f"Servers at each {name} site",
                text="A request that would wait too long at a tier goes on to the next one.",
                blocks=(_table(rows, tiers, name), _stack(rows, tiers)),
            ),
        ),
    )


def _advice(
    work: Work,
    site: Ints,
    tiers: Tiers,
    tier: int,
    targets: Sequence[Target],
    sized: Sequence[Sized],
    inputs: Assumptions,
) -> tuple[Advice, ...]:
    chosen = worst(sized)
    if chosen is None:
        return ()
    kept = [target for target, one in zip(targets, sized, strict=True) if not one.impossible]
    advised = tiers.with_servers(tier, chosen)

    def needs(first: int, last: int) -> list[int | None]:
        part = work.part(first, last, "a part")
        own = site[first:last]
        return [worst(size_tier(part, own, tiers, tier, target) for target in kept)]

    def fails(more: float) -> bool:
        sojourn_s = run(work.faster(1 + more), site, advised)[0]
        return not all(target.holds(sojourn_s) for target in kept)

    ((regret, why),) = judged(len(work), needs, what="servers a site", inputs=inputs)
    flip = load_to_flip(fails, step=FLIP_STEP)
    return (
        Advice(
            choice=f"{counted(chosen, 'server')} at each {tiers.names[tier]} site",
            reason=next(one.reason for one in sized if one.servers_least == chosen),
            runner_up=counted(chosen + 1, "server"),
            flip="" if flip is None else f"the same requests come {flip:.1%} faster",
            regret=regret,
            no_regret=why,
        ),
    )


def _table(rows: Sequence[TierRow], tiers: Tiers, name: str) -> Table:
    return Table(
        title=f"Servers at each {name} site",
        heads=("servers", *tiers.names, "mean wait s", "mean s", "p50 s", "p95 s", "p99 s"),
        rows=tuple(
            (
                row.servers,
                *row.served_ratio.values(),
                row.wait_s_mean,
                row.sojourn_s_mean,
                row.sojourn_s_p50,
                row.sojourn_s_p95,
                row.sojourn_s_p99,
            )
            for row in rows
        ),
    )


def _stack(rows: Sequence[TierRow], tiers: Tiers) -> Stack:
    return Stack(
        title="Who serves",
        unit="share of requests",
        parts=tiers.names,
        rows=tuple((str(row.servers), tuple(row.served_ratio.values())) for row in rows),
    )
