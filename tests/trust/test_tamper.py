"""Tamper: a reading counts when it is steady, an episode is one alarm, and silence is an event."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema.tamper import Reaction, TamperPolicy, TamperWord
from skerry.trust.tamper import CALM_S, Order, Watch, orders, watched

PERIOD_S, DEBOUNCE_S = 0.2, 0.3
Seen = list[tuple[float, TamperWord]]


def seen(readings: list[bool | None], *, step_s: float = PERIOD_S) -> tuple[Watch, Seen]:
    """Feed readings, one per step, and return the state and what came out when."""
    watch, found = Watch(heard_s=0.0), []
    for number, reading in enumerate(readings, start=1):
        now_s = number * step_s
        watch, words = watched(watch, reading, now_s, period_s=PERIOD_S, debounce_s=DEBOUNCE_S)
        found += [(round(now_s, 3), word) for word in words]
    return watch, found


def test_a_lid_that_stays_open_is_said_once_within_half_a_second() -> None:
    watch, found = seen([False, False, True, True, True, True, True])
    assert found == [(1.0, TamperWord.LID_OPEN)]  # open from 0.6 s on, steady for 0.3 s
    assert watch.trouble is TamperWord.LID_OPEN


def test_one_reading_alone_is_no_event() -> None:
    assert seen([False, True, False, False, False])[1] == []


def test_a_lid_that_is_open_at_the_first_reading_is_said() -> None:
    """It was opened while nobody watched."""
    assert seen([True, True, True])[1] == [(0.6, TamperWord.LID_OPEN)]


def test_shut_again_is_said_too() -> None:
    words = [word for _, word in seen([True] * 4 + [False] * 4)[1]]
    assert words == [TamperWord.LID_OPEN, TamperWord.LID_SHUT]


def test_silence_for_three_periods_is_an_event_and_its_end_one_more() -> None:
    _, found = seen([False, None, None, None, None, None, *[False] * 60])
    assert found == [(0.8, TamperWord.SENSOR_SILENT), (11.4, TamperWord.SENSOR_BACK)]


def test_a_lid_opened_right_after_a_silence_is_noticed_before_the_sensor_counts_as_back() -> None:
    words = [word for _, word in seen([None] * 5 + [True] * 4)[1]]
    assert words == [TamperWord.SENSOR_SILENT, TamperWord.LID_OPEN]


def test_a_contact_that_flaps_at_one_kilohertz_for_a_minute_is_one_alarm() -> None:
    _, found = seen([number % 2 == 0 for number in range(60_000)], step_s=0.001)
    assert [word for _, word in found] == [TamperWord.SENSOR_FLAPPING]


def test_a_flapping_lid_that_stays_open_in_the_end_is_open() -> None:
    watch, found = seen([number % 2 == 0 for number in range(20)] + [True] * 60)
    assert [word for _, word in found] == [
        TamperWord.SENSOR_FLAPPING,
        TamperWord.LID_OPEN,
        TamperWord.SENSOR_BACK,
    ]
    assert watch.trouble is TamperWord.LID_OPEN


@given(st.lists(st.sampled_from((True, False, None)), max_size=400), st.floats(0.001, 1.0))
def test_whatever_a_sensor_does_its_events_are_few_and_in_turn(
    readings: list[bool | None], step_s: float
) -> None:
    """A few per ten seconds: nothing that is done to a contact floods the line upstream."""
    watch, found = seen(readings, step_s=step_s)
    duration_s = len(readings) * step_s
    assert len(found) <= 12 + 12 * duration_s / CALM_S
    lids = [word for _, word in found if word in (TamperWord.LID_OPEN, TamperWord.LID_SHUT)]
    assert all(one is not other for one, other in pairwise(lids))
    assert watch.open == bool(lids and lids[-1] is TamperWord.LID_OPEN)


ALL = {"lid": TamperWord.LID_OPEN, "gpio": TamperWord.SENSOR_SILENT}


def test_outside_a_window_the_hardest_reaction_comes_first() -> None:
    assert orders(ALL, TamperPolicy(), in_window=False, done=()) == (
        Order("lid", TamperWord.LID_OPEN, Reaction.ZERO),
        Order("gpio", TamperWord.SENSOR_SILENT, Reaction.QUARANTINE),
    )


def test_inside_a_window_nothing_is_done_and_after_it_everything() -> None:
    assert orders(ALL, TamperPolicy(), in_window=True, done=()) == ()
    assert len(orders(ALL, TamperPolicy(), in_window=False, done=())) == 2


def test_what_was_done_is_not_done_again() -> None:
    done = {("lid", TamperWord.LID_OPEN)}
    (order,) = orders(ALL, TamperPolicy(), in_window=False, done=done)
    assert order.sensor == "gpio"


@pytest.mark.parametrize("reaction", list(Reaction))
def test_a_fleet_says_how_hard_a_node_reacts(reaction: Reaction) -> None:
    policy = TamperPolicy(on_open=reaction, on_lost=reaction)
    assert {order.reaction for order in orders(ALL, policy, in_window=False, done=())} == {reaction}
