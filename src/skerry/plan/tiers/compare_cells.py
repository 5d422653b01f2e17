"""The cells of the four-tier table: each a value, its formula, and the inputs behind it.

    latency  the median over answered requests of the replay (p95 beside it)
    cost     (machines + energy + room) over the span / requests answered in time * 1000
    pue      site energy / IT energy over the span
    scaling  from the decision to a further node that answers
    control  mean of: the machine is yours, it answers without a network, and the facts of
             `tables/control.csv`
    privacy  mean of three shares of the trace: may be answered there by residency, content
             that stays in the building, answered in the jurisdiction it was asked in

Units:   ms, USD per 1,000 requests, ratios 0 to 1, seconds.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

import msgspec

from skerry.base.units import MS_PER_SECOND
from skerry.fleet.links import link_table
from skerry.fleet.place import fallbacks
from skerry.plan.assumptions import Assumptions
from skerry.plan.bill import Bill, cost_usd_per_1k
from skerry.plan.replay import BITS_PER_BYTE
from skerry.plan.tiers.compare_fleet import Setting
from skerry.plan.tiers.trial import Journeys, Level, Trial, answers, bill_of
from skerry.schema.goal import GoalName


class Input(msgspec.Struct, frozen=True):
    """One number behind a cell."""

    name: str
    value: float | None
    unit: str
    source: str


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A cell: its value (None where it cannot be known), and how it came about."""

    value: float | None
    unit: str
    formula: str
    inputs: tuple[Input, ...]


def latency(setting: Setting, trial: Trial, services_s: Mapping[str, float]) -> Explained:
    """Return the typical latency, beside the means of what it is made of."""
    fleet, trace, sent = setting.fleet, trial.trace, trial.sent
    beside, between = fallbacks(fleet), link_table(fleet)
    trip_ms = jitter_ms = sending_ms = 0.0
    for place, name in enumerate(trace.sites):
        here = trace.site == place
        count = int(here.sum())
        server = answers(fleet.site(name), beside[name], setting.level) if count else None
        if server is None or server.name == name:
            continue
        link = between(name, server.name)
        trip_ms += count * link.round_trip_ms
        jitter_ms += count * link.jitter_ms
        bits = float(trace.content_bytes[here].sum()) * BITS_PER_BYTE
        sending_ms += bits / link.bandwidth_bit_per_s * MS_PER_SECOND
    run_ms = sum(
        services_s[name] * MS_PER_SECOND * int((trace.model == place).sum())
        for place, name in enumerate(trace.models)
    )
    mean_ms = float(trial.run.latencies_ms.mean()) if trial.run.answered else None
    at = "tables/compare.csv" if setting.usual else "links of the fleet file, else computed"
    return Explained(
        value=known(trial.latency_ms(50)),
        unit="ms",
        formula="median of: network here + round trip + jitter + sending + wait + run",
        inputs=(
            Input("round trip, mean", trip_ms / sent, "ms", at),
            Input("jitter, mean", jitter_ms / sent, "ms", at),
            Input("sending, mean", sending_ms / sent, "ms", "bytes of the trace over bandwidth"),
            Input("run, mean", run_ms / sent, "ms", "tables/services.csv, or a run's figures"),
            Input("all together, mean", mean_ms, "ms", "replay; the rest of it is waiting"),
            Input("p95", known(trial.latency_ms(95)), "ms", "replay"),
            Input("requests answered", trial.run.answered, "", "replay"),
            Input("requests sent", sent, "", trace.source),
        ),
    )


def cost(setting: Setting, trial: Trial, used: Bill) -> Explained:
    """Return the cost per 1,000 requests that were answered in time."""
    limit_ms = setting.fleet.goals.get(GoalName.LATENCY_MS_P95)
    in_time = trial.in_time(limit_ms)
    limit = "" if limit_ms is None else f" within {limit_ms:g} ms"
    return Explained(
        value=cost_usd_per_1k(used, in_time),
        unit="USD per 1,000",
        formula="(machines + energy + room, link, hands) / requests answered in time * 1000",
        inputs=(
            *(Input(line.name, line.usd, "USD", line.source) for line in used.lines),
            Input("span", trial.run.span_s, "s", trial.trace.source),
            Input(f"requests answered{limit}", in_time, "", "replay"),
        ),
    )


def pue(setting: Setting, trial: Trial) -> Explained:
    """Return site energy over IT energy; several tiers are weighted by their energy."""
    source = "tables/compare.csv" if setting.usual else "fleet file"
    ratios = {tier: setting.fleet.tiers[tier].pue_ratio for tier in setting.tiers}
    energy_wh = {
        tier: bill_of(setting.fleet, (replace(trial, tiers=(tier,)),)).energy_wh
        for tier in setting.tiers
    }
    whole = sum(energy_wh.values())
    work = sum(used / ratios[tier] for tier, used in energy_wh.items())
    return Explained(
        value=whole / work if work else None,
        unit="ratio",
        formula="site energy / IT energy over the span",
        inputs=(
            *(Input(f"PUE of {tier}", ratio, "ratio", source) for tier, ratio in ratios.items()),
            *(
                Input(f"energy of {tier}", used, "Wh", "power curve at the replayed load")
                for tier, used in energy_wh.items()
            ),
        ),
    )


def scaling(setting: Setting, trial: Trial, table: Assumptions) -> Explained:
    """Return how long a further node takes."""
    row = table.row(f"{setting.name}_node_s")
    peak = trial.peak_load(setting.fleet)
    return Explained(
        value=row.value,
        unit="s",
        formula="from the decision to a further node that answers",
        inputs=(
            Input(row.name, row.value, "s", row.source),
            Input("at best", row.low, "s", row.source),
            Input("at worst", row.high, "s", row.source),
            Input("busiest load of what stands", peak, "ratio", "replay"),
        ),
    )


def control(setting: Setting) -> Explained:
    """Return how much is in your hands."""
    tiers = [setting.fleet.tiers[tier] for tier in setting.tiers]
    owned = sum(tier.machine.price_usd > 0 for tier in tiers) / len(tiers)
    local = float(setting.level is Level.LOCAL)
    return _mean_of(
        Input("the machine is yours", owned, "share", "it has a price; a rented one has none"),
        Input("answers without a network", local, "share", "it stands where people ask"),
        *(
            Input(row["fact"].replace("_", " "), float(row[setting.name]), "share", row["source"])
            for row in rows_of("control")
        ),
    )


def privacy(trial: Trial, trip: Journeys) -> Explained:
    """Return how much of the data stays where it belongs."""
    content = int(trial.trace.content_bytes.sum())
    stays = 1.0 if trial.level is Level.LOCAL or not content else 0.0
    allowed, at_home = trip.allowed / trial.sent, trip.at_home / trial.sent
    return _mean_of(
        Input("may be answered there", allowed, "share of requests", "residency, fleet file"),
        Input("stays in the building", stays, "share of bytes", f"{content:,} bytes of content"),
        Input("in its own jurisdiction", at_home, "share of requests", "jurisdictions of sites"),
    )


def _mean_of(*shares: Input) -> Explained:
    values = [one.value for one in shares if one.value is not None]
    return Explained(
        value=sum(values) / len(values),
        unit="ratio",
        formula="mean of the shares below",
        inputs=shares,
    )


def known(value: float) -> float | None:
    """Return a value, or None for the NaN of a figure that does not exist."""
    return None if math.isnan(value) else value


@cache
def rows_of(table: str) -> Sequence[dict[str, str]]:
    """Return the rows of a shipped table of facts."""
    text = files("skerry.plan").joinpath("tables", f"{table}.csv").read_text("utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
