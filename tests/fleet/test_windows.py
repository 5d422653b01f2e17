"""Maintenance windows: in each site's own time, over midnight, through summer time."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.fleet.windows import describe_opening, opens_unix_s, read_span
from skerry.schema.fleet import Span


def at(text: str) -> float:
    """Unix seconds of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def span(text: str, *, outside: bool = False) -> Span:
    found = read_span(text)
    assert found is not None
    return Span(
        begins_minute=found.begins_minute,
        ends_minute=found.ends_minute,
        zone=found.zone or "UTC",
        outside=outside,
    )


def test_a_span_holds_from_its_beginning_to_before_its_end() -> None:
    window = span("08:00-20:00")
    for text, opens in (
        ("2026-03-02 07:59", "2026-03-02 08:00"),
        ("2026-03-02 08:00", "2026-03-02 08:00"),
        ("2026-03-02 19:59", "2026-03-02 19:59"),
        ("2026-03-02 20:00", "2026-03-03 08:00"),
    ):
        assert opens_unix_s(window, at(text)) == at(opens)


def test_outside_of_hours_is_the_rest_of_the_sites_own_day() -> None:
    """Oslo is an hour ahead of UTC in winter, two in summer."""
    hours = span("08:00-20:00 Europe/Oslo", outside=True)
    assert opens_unix_s(hours, at("2026-01-05 12:00")) == at("2026-01-05 19:00")
    assert opens_unix_s(hours, at("2026-07-06 12:00")) == at("2026-07-06 18:00")
    assert opens_unix_s(hours, at("2026-07-06 18:30")) == at("2026-07-06 18:30")


def test_a_night_goes_on_past_midnight() -> None:
    night = span("22:00-05:00")
    assert opens_unix_s(night, at("2026-03-02 23:30")) == at("2026-03-02 23:30")
    assert opens_unix_s(night, at("2026-03-03 04:59")) == at("2026-03-03 04:59")
    assert opens_unix_s(night, at("2026-03-03 05:00")) == at("2026-03-03 22:00")


def test_open_until_midnight_opens_outside_at_midnight() -> None:
    hours = span("06:00-24:00", outside=True)
    assert opens_unix_s(hours, at("2026-03-02 12:00")) == at("2026-03-03 00:00")


def test_a_zone_that_is_not_known_here_never_opens_and_says_so() -> None:
    window = Span(begins_minute=0, ends_minute=60, zone="Mars/Olympus")
    opens = opens_unix_s(window, at("2026-03-02 00:30"))
    assert opens > at("2200-01-01")
    assert describe_opening(window, opens).endswith("Mars/Olympus is not known here")


def test_an_opening_is_told_in_the_sites_own_time() -> None:
    window = span("22:00-05:00 Europe/Oslo")
    told = describe_opening(window, opens_unix_s(window, at("2026-07-06 12:00")))
    assert told == "its window opens at Mon 22:00 Europe/Oslo"


@pytest.mark.parametrize("text", ["8-20", "08:00-25:00", "08:00-20:00Z", "", "24:00-08:00"])
def test_what_is_no_span_is_none(text: str) -> None:
    assert read_span(text) is None


minutes = st.integers(0, 1439)


@given(
    minutes,
    minutes,
    st.booleans(),
    st.sampled_from(["UTC", "Europe/Oslo", "America/New_York", "Asia/Kathmandu"]),
    st.floats(at("2026-01-01"), at("2027-01-01")),
)
def test_a_window_that_is_ever_open_opens_within_a_day_and_is_open_then(
    begins: int, ends: int, outside: bool, zone: str, now: float
) -> None:
    window = Span(begins_minute=begins, ends_minute=ends, zone=zone, outside=outside)
    if begins == ends:
        return
    opens = opens_unix_s(window, now)
    assert now <= opens <= now + 25 * 3600
    local = datetime.fromtimestamp(opens, ZoneInfo(zone))
    # The hour that summer time skips does not exist; what opens in it opens right after.
    if local.utcoffset() == datetime.fromtimestamp(now, ZoneInfo(zone)).utcoffset():
        assert opens_unix_s(window, opens) == opens
