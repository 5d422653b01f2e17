"""A small fleet with everything a proof reads, and summaries of what it served."""

from collections.abc import Callable

import pytest

from skerry.schema.desired import Gate
from skerry.schema.fleet import Fleet, Kind, Link, Machine, Model, Rollout, Site, Tier
from skerry.schema.goal import GoalName
from skerry.schema.policy import Residency, Stays
from skerry.schema.records import Outcome, Summary

BOX = Machine(
    name="box", idle_w=10.0, busy_w=30.0, price_usd=600.0, life_years=5.0, source="stated"
)


def tier(name: str, kind: Kind) -> Tier:
    return Tier(
        name=name,
        kind=kind,
        nodes=1,
        machine=BOX,
        feed_w=1000.0,
        ups_s=600.0,
        uplink_bit_per_s=20e6,
        pue_ratio=1.5,
        energy_usd_per_kwh=0.2,
        usd_per_month=10.0,
    )


def site(name: str, kind: Kind, region: str, jurisdiction: str, grid: float) -> Site:
    return Site(
        name=name,
        tier=kind.value,
        kind=kind,
        region=region,
        latitude_deg=59.9,
        longitude_deg=10.7,
        jurisdiction=jurisdiction,
        grid_zone=jurisdiction,
        grid_g_per_kwh=grid,
        grid_source="stated",
        nodes=1,
        feed_w=1000.0,
    )


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(
        name="clinic",
        domain="clinic.example",
        goals={
            GoalName.LATENCY_MS_P95: 50.0,
            GoalName.LOCAL_RATIO: 0.95,
            GoalName.COST_USD_PER_1K: 1.0,
        },
        tiers={kind.value: tier(kind.value, kind) for kind in Kind},
        sites=(
            site("oslo", Kind.EDGE, "region-eu", "NO", 30.0),
            site("region-eu", Kind.REGIONAL, "region-eu", "DE", 380.0),
        ),
        models=(
            Model(
                name="magika",
                version=1,
                manifest_sha256="",
                standin=None,
                tiers=("edge", "regional"),
                data_classes=("health",),
            ),
        ),
        data_classes={"health": Residency(stays=Stays.SITE)},
        rules=(),
        rollout=Rollout(
            rings=(("oslo",),),
            ring_names=("all",),
            gate=Gate(hold_s=1.0),
            revert_on_fail=True,
        ),
        links=(
            Link(
                a="oslo",
                b="region-eu",
                round_trip_ms=20.0,
                jitter_ms=1.0,
                bandwidth_bit_per_s=20e6,
                stated=True,
            ),
        ),
    )


@pytest.fixture
def summary() -> Callable[..., Summary]:
    """Make a summary of local answers; any field can be given instead."""

    def make(**given: object) -> Summary:
        fields: dict[str, object] = {
            "from_unix_ms": 0,
            "to_unix_ms": 1000,
            "site": "oslo",
            "node": "oslo/1",
            "model": "magika",
            "version": "1",
            "data_class": "health",
            "outcome": Outcome.OK,
            "served_site": "oslo",
            "served_tier": "edge",
            "reason": "local",
            "forwarded": False,
            "count": 100,
            "latency_us_sum": 300_000,
            "latency_counts": {20: 100},
            "bytes_in": 1000,
            "bytes_upstream": 0,
        }
        return Summary(**{**fields, **given})  # type: ignore[arg-type]

    return make
