"""The clinic's shape as a resolved fleet: two sites, a region, a cloud, one model and its
stand-in, and one class that never leaves its site."""

import os
from pathlib import Path

import pytest

from skerry.schema.desired import Gate
from skerry.schema.fleet import Fleet, Kind, Link, Machine, Model, Rollout, Site, Tier
from skerry.schema.goal import GoalName
from skerry.schema.policy import Residency, Stays

BOX = Machine(
    name="box", idle_w=10.0, busy_w=30.0, price_usd=600.0, life_years=5.0, source="stated"
)
ROWS = (
    ("oslo", "closet", Kind.EDGE, "region-eu", "NO", 2),
    ("hamburg", "closet", Kind.EDGE, "region-eu", "DE", 1),
    ("region-eu", "room", Kind.REGIONAL, "region-eu", "DE", 1),
    ("cloud", "cloud", Kind.CLOUD, "cloud", "IE", 1),
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


@pytest.fixture
def fleet() -> Fleet:
    return clinic()


def clinic() -> Fleet:
    sites = tuple(
        Site(
            name=name,
            tier=tier_name,
            kind=kind,
            region=region,
            latitude_deg=55.0,
            longitude_deg=10.0,
            jurisdiction=jurisdiction,
            grid_zone=jurisdiction,
            grid_g_per_kwh=100.0,
            grid_source="stated",
            nodes=nodes,
            feed_w=1000.0,
        )
        for name, tier_name, kind, region, jurisdiction, nodes in ROWS
    )
    links = tuple(
        Link(
            a=a,
            b=b,
            round_trip_ms=round_trip_ms,
            jitter_ms=0.5,
            bandwidth_bit_per_s=20e6,
            stated=True,
        )
        for a, b, round_trip_ms in (
            ("oslo", "hamburg", 25.0),
            ("oslo", "region-eu", 20.0),
            ("hamburg", "region-eu", 8.0),
            ("oslo", "cloud", 80.0),
            ("hamburg", "cloud", 70.0),
        )
    )
    everywhere = ("closet", "room", "cloud")
    return Fleet(
        name="clinic",
        domain="clinic.example",
        goals={
            GoalName.LATENCY_MS_P95: 50.0,
            GoalName.LOCAL_RATIO: 0.95,
            GoalName.UPSTREAM_BYTES_PER_1K: 1000.0,
        },
        tiers={
            "closet": tier("closet", Kind.EDGE),
            "room": tier("room", Kind.REGIONAL),
            "cloud": tier("cloud", Kind.CLOUD),
        },
        sites=sites,
        models=(
            Model(
                name="magika",
                version=1,
                manifest_sha256="",
                standin="magika-small",
                tiers=everywhere,
                data_classes=("health", "public"),
            ),
            Model(
                name="magika-small",
                version=1,
                manifest_sha256="",
                standin=None,
                tiers=("closet",),
                data_classes=("health", "public"),
            ),
        ),
        data_classes={
            "health": Residency(stays=Stays.SITE),
            "public": Residency(stays=Stays.ANYWHERE),
        },
        rules=(),
        rollout=Rollout(
            rings=(("oslo",), ("hamburg",)),
            ring_names=("first", "rest"),
            gate=Gate(hold_s=1.0),
            revert_on_fail=True,
        ),
        links=links,
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real input that no clone carries: folders of data beside the checkout."""
    folder = Path(os.environ.get("SKERRY_SHARED", "../shared")) / "data"
    if not folder.is_dir():
        pytest.skip("needs shared data")
    return folder


@pytest.fixture(scope="session")
def any_fleet() -> Fleet:
    """The same fleet for properties: examples share it, and never change it."""
    return clinic()
