"""Ejection: who stands out of its like is kept away, never too many, and comes back by a probe."""

from random import Random

import pytest

from skerry.route import decide
from skerry.route.choose import Candidate
from skerry.route.health import Health
from skerry.route.outliers import eject_outliers
from skerry.schema.desired import Peer

NOW_S = 100.0


def candidate(number: int, tier: str = "closet", round_trip_ms: float = 1.0) -> Candidate:
    peer = Peer(
        node=f"oslo/{number}",
        site="oslo",
        region="r",
        tier=tier,
        url=f"https://{number}",
        round_trip_ms=round_trip_ms,
    )
    return Candidate(peer, Health(round_trip_ms / 1000))


def answer(one: Candidate, latency_s: float, times: int = 20) -> None:
    for _ in range(times):
        one.health.answered("m", latency_s, NOW_S)


def judge(candidates: list[Candidate], now_s: float = NOW_S, ratio_max: float = 0.5) -> list[str]:
    gone = eject_outliers(candidates, now_s=now_s, ratio_max=ratio_max, rng=Random(1))
    return [one.peer.node for one in gone]


def test_a_node_that_lags_behind_its_like_is_ejected() -> None:
    like = [candidate(number) for number in range(4)]
    for one in like:
        answer(one, 0.010)
    assert judge(like) == []
    answer(like[2], 0.200)
    assert judge(like) == ["oslo/2"]
    assert like[2].health.phase("m", NOW_S) == decide.OPEN
    assert judge(like) == [], "it is judged afresh when it is back"


def test_a_far_node_is_not_slow_because_its_link_is_long() -> None:
    like = [candidate(1), candidate(2), candidate(3, round_trip_ms=150.0)]
    for one in like:
        answer(one, one.health.round_trip_s + 0.010)
    assert judge(like) == []


def test_a_node_of_another_tier_is_nothing_to_compare_with() -> None:
    like = [candidate(1), candidate(2, tier="cloud")]
    answer(like[0], 0.010)
    answer(like[1], 0.500)
    assert judge(like) == []


def test_a_node_that_fails_far_more_often_is_ejected() -> None:
    like = [candidate(number) for number in range(3)]
    rng = Random(3)
    for one in like:
        answer(one, 0.010)
    for _ in range(20):
        like[1].health.model_failed("m", NOW_S, rng)
        like[1].health.answered("m", 0.010, NOW_S)
    assert judge(like) == ["oslo/1"]


@pytest.mark.parametrize(("ratio_max", "most"), [(0.0, 0), (0.3, 1), (1.0, 2)])
def test_never_more_than_the_share_and_never_all(ratio_max: float, most: int) -> None:
    like = [candidate(number) for number in range(5)]
    for one in like[:3]:
        answer(one, 0.010)
    for one in like[3:]:
        answer(one, 1.0)
    assert len(judge(like, ratio_max=ratio_max)) == most


def test_each_ejection_in_a_row_lasts_longer_and_a_good_time_ends_the_row() -> None:
    like = [candidate(1), candidate(2)]
    now_s, lasted = NOW_S, []
    for _ in range(3):
        for one, latency_s in zip(like, (0.01, 0.5), strict=True):
            for _ in range(20):
                one.health.answered("m", latency_s, now_s)
        assert judge(like, now_s) == ["oslo/2"]
        lasted.append(like[1].health.ejected_until_s - now_s)
        now_s = like[1].health.ejected_until_s + 1
        assert decide.probe_due(like[1].health.link, now_s)
    assert 0.75 * decide.EJECT_S_MIN <= lasted[0] <= 1.25 * decide.EJECT_S_MIN
    assert lasted[0] * 1.2 < lasted[1] < lasted[2] / 1.2
    answer(like[1], 0.01)
    judge(like, now_s + 2 * decide.EJECT_S_MAX)
    assert like[1].health.ejections == 0
