"""The compiled replay: the plain one's figures to the last bit, on random fleets and traces."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.plan import replay, replay_compiled
from skerry.plan.errors import NothingToPlanError
from skerry.plan.replay import Replayed
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet

SITES = ("oslo", "hamburg", "region-eu", "cloud")


def destinations(data_class: str, origin: str) -> frozenset[str]:
    return {
        "health": frozenset({origin}),
        "public": frozenset(SITES),
        "nowhere": frozenset(),
        "away": frozenset(SITES) - {origin},
    }[data_class]


def trace_of(count: int, seed: int, gap_s: float) -> Trace:
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(gap_s, count)) if gap_s else np.zeros(count)
    return Trace(
        source="test",
        span_s=max(1.0, float(arrival_s[-1])),
        sites=("hamburg", "oslo"),
        models=("magika-small", "magika"),
        data_classes=("public", "health", "nowhere", "away"),
        arrival_s=arrival_s,
        site=rng.integers(0, 2, count),
        model=rng.choice(2, count, p=[0.2, 0.8]),
        data_class=rng.choice(4, count, p=[0.6, 0.2, 0.05, 0.15]),
        content_bytes=rng.integers(0, 100_000, count),
    )


def same(one: Replayed, other: Replayed) -> None:
    assert (one.latencies_ms == other.latencies_ms).all()
    assert one.refused == other.refused
    assert (one.local, one.standin, one.upstream_bytes) == (
        other.local,
        other.standin,
        other.upstream_bytes,
    )
    assert list(one.load) == list(other.load)
    assert all((one.load[site] == other.load[site]).all() for site in one.load)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(
    st.tuples(*[st.integers(0, 5)] * 4),
    st.integers(1, 600),
    st.sampled_from([0.0, 0.001, 0.01, 0.1]),
    st.sampled_from([0.002, 0.008, 0.5, 9.9, 11.0]),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_a_random_replay_is_the_plain_one_to_the_last_bit(
    fleet: Fleet,
    nodes: tuple[int, ...],
    count: int,
    gap_s: float,
    service_s: float,
    seed: int,
    everywhere: bool,
) -> None:
    sites = tuple(
        msgspec.structs.replace(site, nodes=own)
        for site, own in zip(fleet.sites, nodes, strict=True)
    )
    models = fleet.models
    if not everywhere:  # the clinic's model runs in region and cloud only, its stand-in on site
        models = (msgspec.structs.replace(models[0], tiers=("room", "cloud")), models[1])
    changed = msgspec.structs.replace(fleet, sites=sites, models=models)
    trace = trace_of(count, seed, gap_s)
    given_: dict[str, Any] = {
        "services_s": {"magika": service_s, "magika-small": 0.0002},
        "seed": seed,
    }
    plain = replay.replay(changed, trace, destinations=destinations, **given_)
    same(replay_compiled.replay(changed, trace, destinations=destinations, **given_), plain)
    if nodes[3]:
        alone = replay.replay_cloud_only(changed, trace, **given_)
        same(replay_compiled.replay_cloud_only(changed, trace, **given_), alone)
    else:
        with pytest.raises(NothingToPlanError, match="no cloud site"):
            replay_compiled.replay_cloud_only(changed, trace, **given_)


def test_progress_is_told_to_the_end(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_compiled, "BLOCK", 40)
    told: list[float] = []
    replay_compiled.replay(
        fleet,
        trace_of(100, 1, 0.01),
        services_s={"magika": 0.008, "magika-small": 0.0002},
        destinations=destinations,
        seed=1,
        tell=told.append,
    )
    assert told == [0.4, 0.8, 1.0]
