"""The replay: production decisions on a simulated clock, each request exactly once."""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.plan.errors import NothingToPlanError
from skerry.plan.replay import replay, replay_cloud_only
from skerry.plan.trace import Trace, story_trace
from skerry.route import decide
from skerry.schema.fleet import Fleet

SERVICES = {"magika": 0.008, "magika-small": 0.0002}
EVERYWHERE = frozenset({"oslo", "hamburg", "region-eu", "cloud"})


def destinations(data_class: str, origin: str) -> frozenset[str]:
    return frozenset({origin}) if data_class == "health" else EVERYWHERE


def burst(
    count: int, *, gap_s: float = 0.0, data_class: str = "health", site: str = "hamburg"
) -> Trace:
    """Requests of one class at one site, equally spaced."""
    zeros = np.zeros(count, dtype=np.int64)
    return Trace(
        source="test",
        span_s=max(1.0, count * gap_s),
        sites=(site,),
        models=("magika",),
        data_classes=(data_class,),
        arrival_s=np.arange(count) * gap_s,
        site=zeros,
        model=zeros,
        data_class=zeros,
        content_bytes=np.full(count, 8400),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(1, 3000), st.floats(0, 0.02), st.sampled_from(["health", "public"]))
def test_every_request_is_answered_or_refused_once(
    fleet: Fleet, count: int, gap_s: float, data_class: str
) -> None:
    trace = burst(count, gap_s=gap_s, data_class=data_class)
    run = replay(fleet, trace, services_s=SERVICES, destinations=destinations, seed=1)
    assert run.answered + sum(run.refused.values()) == count
    assert 0 <= run.local <= run.answered
    assert all((load >= 0).all() and (load <= 1).all() for load in run.load.values())


def test_a_calm_day_is_answered_on_the_spot(fleet: Fleet) -> None:
    trace = story_trace(fleet, requests=1000, seed=1)
    run = replay(fleet, trace, services_s=SERVICES, destinations=destinations, seed=1)
    assert (run.answered, run.local, run.upstream_bytes) == (1000, 1000, 0)
    # One run of 8 ms and a LAN of 0.3 ms; hardly anyone waits.
    assert np.median(run.latencies_ms) == pytest.approx(8.3, abs=0.3)


def test_a_class_that_may_not_leave_is_refused_rather_than_sent(fleet: Fleet) -> None:
    """20,000 at once: the queue holds 64 runs, the stand-in shares it, nobody else may answer."""
    run = replay(fleet, burst(20_000), services_s=SERVICES, destinations=destinations, seed=1)
    assert run.refused.get("queue-full", 0) > 0
    assert run.upstream_bytes == 0
    assert run.local == run.answered
    assert run.load["region-eu"].max() == run.load["cloud"].max() == 0


def test_a_class_that_may_travel_spills_to_the_region_and_then_to_the_cloud(fleet: Fleet) -> None:
    trace = burst(190, data_class="public")
    run = replay(fleet, trace, services_s=SERVICES, destinations=destinations, seed=1)
    assert run.answered == 190
    spilled = run.answered - run.local
    assert run.upstream_bytes == spilled * 8400 > 0
    assert run.load["region-eu"].max() > 0
    assert run.load["cloud"].max() > 0
    assert run.load["oslo"].max() == 0  # sites beside it are not asked


def test_the_stand_in_answers_before_anything_leaves(fleet: Fleet) -> None:
    """A run of 20 s cannot meet the deadline of 10 s; the stand-in's 0.2 ms can."""
    slow = {**SERVICES, "magika": 20.0}
    trace = burst(50, gap_s=1.0, data_class="public")
    run = replay(fleet, trace, services_s=slow, destinations=destinations, seed=1)
    assert (run.answered, run.standin, run.upstream_bytes) == (50, 50, 0)


def test_a_queue_makes_the_second_wait_for_the_first(fleet: Fleet) -> None:
    run = replay(fleet, burst(2), services_s=SERVICES, destinations=destinations, seed=1)
    first, second = run.latencies_ms
    assert second > first + 4.0


def test_the_cloud_alone_pays_the_link_for_every_request(fleet: Fleet) -> None:
    """hamburg to cloud: 70 ms round trip, and 8,400 bytes at 20 Mbit/s take 3.36 ms."""
    run = replay_cloud_only(fleet, burst(200, gap_s=0.1), services_s=SERVICES, seed=1)
    assert (run.answered, run.local) == (200, 0)
    assert run.upstream_bytes == 200 * 8400
    assert run.latencies_ms.min() > 70 + 3.36
    assert np.median(run.latencies_ms) == pytest.approx(70 + 3.36 + 8 + 0.3, abs=1.0)


def test_a_fleet_without_a_cloud_has_no_cloud_to_compare_with(fleet: Fleet) -> None:
    alone = msgspec.structs.replace(fleet, sites=fleet.sites[:3])
    with pytest.raises(NothingToPlanError, match="no cloud site"):
        replay_cloud_only(alone, burst(1), services_s=SERVICES, seed=1)


def test_the_same_seed_gives_the_same_replay(fleet: Fleet) -> None:
    trace = story_trace(fleet, requests=800, seed=5)
    one, same, other = (
        replay(fleet, trace, services_s=SERVICES, destinations=destinations, seed=seed)
        for seed in (1, 1, 2)
    )
    assert (one.latencies_ms == same.latencies_ms).all()
    assert not (one.latencies_ms == other.latencies_ms).all()


def test_a_site_of_several_nodes_shares_what_spills_to_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the router does: of two drawn nodes the less loaded one. The other way round is worse."""
    sites = tuple(
        msgspec.structs.replace(site, nodes=4) if site.name == "region-eu" else site
        for site in fleet.sites
    )
    wide = msgspec.structs.replace(fleet, sites=sites)
    trace = burst(3000, gap_s=0.002, data_class="public")
    right = replay(wide, trace, services_s=SERVICES, destinations=destinations, seed=1)
    monkeypatch.setattr(decide, "is_lighter", lambda a, _, b, __: a > b)
    wrong = replay(wide, trace, services_s=SERVICES, destinations=destinations, seed=1)
    assert np.mean(right.latencies_ms) < np.mean(wrong.latencies_ms)
