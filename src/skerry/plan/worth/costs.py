"""The same demand, paid for in the cloud and on sites of one's own, month by month.

Both are cash flows over the same months, at the same cost of capital; their level monthly
costs are compared. An input may be a number or a column of draws, so that a tornado, a
break-even scan and a Monte Carlo run are one evaluation each.

    saving = cloud * (1 - what stays there) - own sites

Units:   USD a month; vCPU and accelerators that are busy.
Shapes:  inputs are (draws, 1); results (draws,).
Source:  `cash_flow` and `egress`; every price and ratio is a row of `tables/worth.csv`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND, SECONDS_PER_HOUR, WH_PER_KWH
from skerry.energy.power_curve import PowerCurve
from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.energy.site_energy import BEND_STATED
from skerry.plan.finance.cash_flow import CashFlow, Row, RowKind, Series, monthly, once
from skerry.plan.finance.egress import egress_usd
from skerry.plan.worth.cloud_bill import Kind
from skerry.plan.worth.demand import Demand

HORIZON_MONTHS: Final = 60
HOURS_PER_MONTH: Final = SECONDS_PER_MONTH / SECONDS_PER_HOUR
MONTHS_PER_YEAR: Final = 12
GB: Final = 1024**3
"""Bytes of a GB as clouds bill it."""
PROVIDER: Final = "aws"
STAYS: Final = "stays in the cloud"

Inputs = Mapping[str, Series]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Costs:
    """Level monthly costs, and what they are made of; each array is (draws,)."""

    cloud: dict[str, Series]
    own: dict[str, Series]
    upfront_usd: Series
    own_energy_wh: Series
    """Of a month."""
    nodes: Series
    kept_ratio: Series
    """Share of the cloud's cost that stays."""

    @property
    def cloud_usd(self) -> Series:
        """What the cloud costs a month today."""
        return np.asarray(sum(self.cloud.values()))

    @property
    def own_usd(self) -> Series:
        """What own sites cost a month, with what stays in the cloud."""
        return np.asarray(sum(self.own.values()))

    @property
    def saving_usd(self) -> Series:
        """What own sites save a month; negative where they cost more."""
        return self.cloud_usd - self.own_usd

    @property
    def own_alone_usd(self) -> Series:
        """What own sites cost a month without what stays in the cloud."""
        return self.own_usd - self.own[STAYS]

    @property
    def own_running_usd(self) -> Series:
        """What own sites cost a month once they stand."""
        return self.own_usd - self.own["machines"] - self.own["set-up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What is busy on average and at the peak, (draws, 1)."""

    vcpus: Series
    accelerators: Series
    peak_ratio: Series


def costs(demand: Demand, inputs: Inputs) -> Costs:
    """Return what both ways cost, for every draw of the inputs."""
    work = _work(demand, inputs)
    cloud = _cloud(demand, work, inputs)
    kept = inputs["cloud_kept_ratio"]
    cloud_usd: Series = np.asarray(sum(cloud.values()))
    machines = [
        _Machines.of(work.vcpus, work.peak_ratio, inputs, "node", inputs["node_vcpus"]),
        _Machines.of(work.accelerators, work.peak_ratio, inputs, "accelerator", np.ones_like(kept)),
    ]
    watts = sum(one.power_w for one in machines) * inputs["pue_ratio"]
    energy_wh = np.asarray(watts * HOURS_PER_MONTH)
    nodes = np.asarray(sum(one.count for one in machines))
    sites = inputs["site_count"]
    hour = inputs["staff_usd_per_hour"]
    power = energy_wh / WH_PER_KWH * inputs["energy_usd_per_kwh"]
    visits = nodes * inputs["visits_per_node_year"] / MONTHS_PER_YEAR * inputs["visit_usd"]
    price = np.asarray(sum(one.price_usd for one in machines))
    stated = "tables/worth.csv"
    rows = (
        _bought("machines", price, inputs["life_years"], inputs["resale_ratio"]),
        Row(
            name="set-up",
            kind=RowKind.STAFF,
            usd=once(sites * inputs["setup_hours"] * hour),
            source=stated,
        ),
        Row(name="energy", kind=RowKind.POWER, usd=monthly(power), source=stated),
        Row(
            name="room and link",
            kind=RowKind.FACILITY,
            usd=monthly(sites * inputs["site_usd_per_month"]),
            source=stated,
        ),
        Row(
            name="people",
            kind=RowKind.STAFF,
            usd=monthly(sites * inputs["ops_hours_per_month"] * hour),
            source=stated,
        ),
        Row(name="visits", kind=RowKind.TRUCK_ROLLS, usd=monthly(visits), source=stated),
        Row(name=STAYS, kind=RowKind.RENT, usd=monthly(cloud_usd * kept), source=""),
    )
    flow = CashFlow(rows, HORIZON_MONTHS)
    own = flow.monthly_by_row(inputs["cost_of_capital_ratio"])
    return Costs(
        cloud={name: np.asarray(usd)[:, 0] for name, usd in cloud.items()},
        own={name: np.asarray(usd) for name, usd in own.items()},
        upfront_usd=(price + sites * inputs["setup_hours"] * hour)[:, 0],
        own_energy_wh=energy_wh[:, 0],
        nodes=nodes[:, 0],
        kept_ratio=kept[:, 0],
    )


def _work(demand: Demand, inputs: Inputs) -> _Work:
    none = np.zeros_like(inputs["traffic_ratio"])
    if demand.billed_usd is not None:
        paid = {
            kind: demand.billed_usd[kind] * inputs["movable_ratio"] / HOURS_PER_MONTH
            for kind in (Kind.COMPUTE, Kind.ACCELERATOR)
        }
        used = inputs["bill_used_ratio"] * inputs["traffic_ratio"]
        return _Work(
            vcpus=paid[Kind.COMPUTE] / inputs["cloud_usd_per_vcpu_hour"] * used,
            accelerators=paid[Kind.ACCELERATOR] / inputs["cloud_usd_per_accelerator_hour"] * used,
            peak_ratio=inputs["bill_peak_ratio"],
        )
    rate = demand.requests_per_s * inputs["traffic_ratio"]
    peak = none + demand.peak_ratio
    if demand.on_accelerators:
        ms = (
            demand.context_tokens * inputs["context_token_ms"]
            + demand.generated_tokens * inputs["generated_token_ms"]
        )
        streams = rate * ms / MS_PER_SECOND / inputs["streams_per_accelerator"]
        return _Work(vcpus=none, accelerators=streams, peak_ratio=peak)
    if math.isnan(demand.took_s):
        service_s = inputs["service_ms"] / MS_PER_SECOND
    else:
        service_s = demand.took_s * (none + 1 if demand.took_is_work else inputs["busy_ratio"])
    return _Work(vcpus=rate * service_s, accelerators=none, peak_ratio=peak)


def _cloud(demand: Demand, work: _Work, inputs: Inputs) -> dict[str, Series]:
    """Return what the cloud asks a month for what could move."""
    if demand.billed_usd is not None:
        ratio = inputs["traffic_ratio"] * inputs["movable_ratio"]
        return {str(kind): demand.billed_usd[kind] * ratio for kind in Kind if kind != Kind.OTHER}
    peaks = 1 + (work.peak_ratio - 1) * inputs["cloud_peak_paid_ratio"]
    target = inputs["target_utilisation_ratio"]
    vcpus = np.maximum(work.vcpus * peaks / target, inputs["cloud_vcpus_least"])
    accelerators = np.maximum(work.accelerators * peaks / target, 1.0)
    sent = 0.0 if math.isnan(demand.sent_bytes) else demand.sent_bytes
    gb = demand.requests_per_s * sent * SECONDS_PER_MONTH / GB * inputs["traffic_ratio"]
    if demand.on_accelerators:
        rent = {
            "accelerators": accelerators
            * inputs["cloud_usd_per_accelerator_hour"]
            * HOURS_PER_MONTH
        }
    else:
        rent = {"compute": vcpus * inputs["cloud_usd_per_vcpu_hour"] * HOURS_PER_MONTH}
    return {**rent, "egress": egress_usd(gb, PROVIDER)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machines:
    """How many machines of one type, one of them spare, at which load; all (draws, 1)."""

    count: Series
    price_usd: Series
    power_w: Series

    @classmethod
    def of(
        cls, busy: Series, peak_ratio: Series, inputs: Inputs, name: str, each: Series
    ) -> "_Machines":
        """Size for the busiest minute at the wanted utilisation, and one more per site."""
        needed = np.ceil(busy * peak_ratio / inputs["target_utilisation_ratio"] / each)
        needed = np.where(busy > 0, np.maximum(needed, inputs["site_count"]), 0.0)
        count = np.where(busy > 0, needed + inputs["site_count"], 0.0)
        load = np.clip(busy / each / np.maximum(count, 1.0), 0.0, 1.0)
        idle, full = inputs[f"{name}_idle_w"], inputs[f"{name}_busy_w"]
        # The curve from 0 to 1, stretched to each draw's ratings.
        shape = PowerCurve(idle_w=0.0, busy_w=1.0, bend=BEND_STATED).power_w(load)
        return cls(
            count=count,
            price_usd=count * inputs[f"{name}_price_usd"],
            power_w=count * (idle + (full - idle) * shape),
        )


def _bought(name: str, price: Series, life_years: Series, resale: Series) -> Row:
    """Buy machines in month 0 and again at the end of each life; sell the old ones.

    What the horizon leaves of a life is sold too, for a value that falls evenly from the
    price to the resale value.
    """
    life = np.maximum(np.round(life_years * MONTHS_PER_YEAR), 1.0)

    def paid(months: NDArray[np.float64]) -> NDArray[np.float64]:
        age = np.mod(months, life)
        bought = (age == 0) & (months < HORIZON_MONTHS)
        sold = (age == 0) & (months > 0)
        worth = np.where(age == 0, resale, 1 - (1 - resale) * age / life)
        ends = (months == HORIZON_MONTHS) & ~sold
        return np.asarray(price * (bought - resale * sold - worth * ends))

    return Row(name=name, kind=RowKind.HARDWARE, usd=paid, source="tables/worth.csv")
