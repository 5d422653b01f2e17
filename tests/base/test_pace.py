"""A pace: too late, too long a gap, too low a rate; and nothing else is too slow."""

from skerry.base.pace import Pace, PaceLimits

LIMITS = PaceLimits(deadline_s=60, gap_s=10, rate_min_bytes_per_s=100, window_s=5)


def test_a_fast_transfer_is_never_too_slow() -> None:
    pace = Pace(LIMITS, 0)
    assert not any(pace.too_slow(100, second) for second in range(1, 61))


def test_each_bound_has_its_own_words() -> None:
    assert Pace(LIMITS, 0).too_slow(10**6, 61) == "not done within 60 s"
    assert Pace(LIMITS, 0).too_slow(10**6, 11).startswith("no bytes for 11.0 s")
    assert Pace(LIMITS, 0).too_slow(10, 5) == "only 2 bytes per second, wanted 100"


def test_a_burst_does_not_pay_for_a_later_trickle() -> None:
    pace = Pace(LIMITS, 0)
    assert not pace.too_slow(10**6, 5)
    assert not pace.too_slow(1, 9)
    assert "only" in pace.too_slow(1, 10)
