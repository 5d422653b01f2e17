"""How many nodes each site of a fleet needs: a trace replayed through production's decisions.

The trace goes through admission, the stand-in, the ranking of peers and the choice between
two nodes exactly as it does on a fleet (`plan.replay`), compiled. One tier at a time gets
one node more at every site of it, until every target holds; that one less fails is then
known. More nodes need not always help here, as a request that is answered elsewhere is not
counted alike, so the numbers are tried one by one and not bisected.

A refused request is never answered, so it counts as later than any limit.

Units:   seconds in targets, milliseconds in goals.
Errors:  CapacityError, for a tier without nodes or without requests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND
from skerry.fleet.desired import policy_of
from skerry.plan import replay_compiled
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.target import SHARES, Target
from skerry.plan.replay import Replayed
from skerry.plan.trace import Trace, asking_sites
from skerry.schema.fleet import Fleet
from skerry.trust.residency import ResidencyTable

NODES_MAX: Final = 64
CALM: Final = 1e4
"""So many times slower, nobody of a trace waits for anybody."""

Series = NDArray[np.float64]
Tell = Callable[[float], None]


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one number of nodes per site came to; None where a refusal makes it endless."""

    nodes: int
    answered_ratio: float
    local_ratio: float
    sojourn_s_mean: float | None
    sojourn_s_p50: float | None
    sojourn_s_p95: float | None
    sojourn_s_p99: float | None
    holds: bool


class TierSized(msgspec.Struct, frozen=True, kw_only=True):
    """One tier: the nodes each of its sites needs, and what was tried; None where none helps."""

    tier: str
    sites: int
    nodes_now: int
    nodes_least: int | None
    impossible: bool
    reason: str
    tried: tuple[NodeRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A fleet, what comes to it, how long its models run, and what is asked of it."""

    fleet: Fleet
    trace: Trace
    services_s: Mapping[str, float]
    targets: tuple[Target, ...]
    seed: int

    def with_nodes(self, tier: str, nodes: int) -> "Question":
        """Return the same with so many nodes at every site of a tier."""
        return replace(self, fleet=with_nodes(self.fleet, tier, nodes))

    def faster(self, factor: float) -> "Question":
        """Return the same with requests coming `factor` times as fast."""
        return self.of(faster(self.trace, factor))

    def of(self, trace: Trace) -> "Question":
        """Return the same question about another trace."""
        return replace(self, trace=trace)

    def run(self) -> Replayed:
        """Replay the trace on the fleet as it is here."""
        destinations = ResidencyTable(policy_of(self.fleet, generation=0)).destinations
        return replay_compiled.replay(
            self.fleet,
            self.trace,
            services_s=self.services_s,
            destinations=destinations,
            seed=self.seed,
        )

    def holds(self, run: Replayed) -> bool:
        """Tell whether a run keeps every target."""
        found = sojourns_s(run)
        return all(value_s(found, target.metric) <= target.limit_s for target in self.targets)


def with_nodes(fleet: Fleet, tier: str, nodes: int) -> Fleet:
    """Return a fleet with so many nodes at every site of a tier."""
    change = msgspec.structs.replace
    return change(
        fleet,
        tiers={**fleet.tiers, tier: change(fleet.tiers[tier], nodes=nodes)},
        sites=tuple(
            change(site, nodes=nodes) if site.tier == tier else site for site in fleet.sites
        ),
    )


def faster(trace: Trace, factor: float) -> Trace:
    """Return a trace whose requests come `factor` times as fast."""
    return replace(trace, arrival_s=trace.arrival_s / factor, span_s=trace.span_s / factor)


def part(trace: Trace, first: int, last: int) -> Trace:
    """Return the requests from `first` up to, not including, `last`, as a trace."""
    begins_s = float(trace.arrival_s[first])
    arrival_s = trace.arrival_s[first:last] - begins_s
    return replace(
        trace,
        span_s=max(float(arrival_s[-1]), 1.0),
        arrival_s=arrival_s,
        site=trace.site[first:last],
        model=trace.model[first:last],
        data_class=trace.data_class[first:last],
        content_bytes=trace.content_bytes[first:last],
    )


def sojourns_s(run: Replayed) -> Series:
    """Return every request's time to its answer; infinite where it was refused."""
    refused = sum(run.refused.values())
    return np.concatenate([run.latencies_ms / MS_PER_SECOND, np.full(refused, np.inf)])


def value_s(found_s: Series, metric: str) -> float:
    """Return a target's figure over answers, of which some may be infinitely late."""
    if metric == "mean":
        return float(found_s.mean())
    # Between a number and infinity nothing can be interpolated: the rank decides.
    return float(np.quantile(found_s, SHARES[metric], method="inverted_cdf"))


def tiers_to_size(fleet: Fleet, names: Sequence[str]) -> tuple[str, ...]:
    """Return the tiers asked for; by default those of the sites where people are."""
    for name in names:
        if name not in fleet.tiers:
            raise CapacityError(f"there is no tier {name!r}", f"tiers: {', '.join(fleet.tiers)}")
        if not any(site.tier == name for site in fleet.sites):
            raise CapacityError(f"no site is of the tier {name!r}")
    return tuple(names) or tuple(dict.fromkeys(site.tier for site in asking_sites(fleet)))


def size_tiers(
    question: Question, tiers: Sequence[str], counts: range, tell: Tell
) -> tuple[list[TierSized], Question]:
    """Size tiers one after the other; return what was found, and the fleet sized so."""
    sized = []
    for index, tier in enumerate(tiers):

        def told(share: float, index: int = index) -> None:
            tell((index + share) / len(tiers))

        found = _size(question, tier, counts, told)
        sized.append(found)
        if found.nodes_least is not None:
            question = question.with_nodes(tier, found.nodes_least)
    return sized, question


def _size(question: Question, tier: str, counts: range, tell: Tell) -> TierSized:
    tried: list[NodeRow] = []
    least = None
    for count in counts:
        run = question.with_nodes(tier, count).run()
        tried.append(_row(count, run, holds=question.holds(run)))
        tell(len(tried) / len(counts))
        if tried[-1].holds:
            least = count
            break
    calm = least is None and not _holds_in_calm(question.with_nodes(tier, counts[-1]))
    return TierSized(
        tier=tier,
        sites=sum(site.tier == tier for site in question.fleet.sites),
        nodes_now=question.fleet.tiers[tier].nodes,
        nodes_least=least,
        impossible=calm,
        reason=_reason(tried, least, calm=calm),
        tried=tuple(tried),
    )


def _holds_in_calm(question: Question) -> bool:
    """Tell whether the targets hold where nobody waits for anybody."""
    calm = question.faster(1 / CALM)
    return calm.holds(calm.run())


def _row(nodes: int, run: Replayed, *, holds: bool) -> NodeRow:
    found = sojourns_s(run)
    values = {name: value_s(found, name) for name in ("mean", *SHARES)}
    finite = {name: v if np.isfinite(v) else None for name, v in values.items()}
    return NodeRow(
        nodes=nodes,
        answered_ratio=run.answered / len(found),
        local_ratio=run.local / run.answered if run.answered else 0.0,
        sojourn_s_mean=finite["mean"],
        sojourn_s_p50=finite["p50"],
        sojourn_s_p95=finite["p95"],
        sojourn_s_p99=finite["p99"],
        holds=holds,
    )


def _reason(tried: Sequence[NodeRow], least: int | None, *, calm: bool) -> str:
    if calm:
        return "impossible with any number of nodes: a target is missed though nobody waits"
    if least is None:
        return f"{tried[-1].nodes} nodes a site are not enough; try more with --servers"
    if least == 1:
        return "one a site keeps every target"
    if len(tried) == 1:
        return f"{least} a site keep every target; fewer were not asked for"
    fewer = tried[-2].nodes
    return f"{least} a site keep every target; {fewer} {'does' if fewer == 1 else 'do'} not"
