"""When an end is near: people get a sixth of a life, what renews itself has a quarter left."""

from hypothesis import given
from hypothesis import strategies as st

from skerry.base.units import SECONDS_PER_DAY
from skerry.schema.expiry import Ending, Expiry, alarms, ending, left_text

NOW = 1_800_000_000.0
DAY = SECONDS_PER_DAY


def one(left_s: float, life_s: float, *, itself: bool = False, name: str = "root") -> Expiry:
    return Expiry(
        kind="role", name=name, ends_unix_s=NOW + left_s, life_s=life_s, renews_itself=itself
    )


def test_a_year_long_role_is_near_two_months_before_its_end() -> None:
    assert ending(one(62 * DAY, 365 * DAY), NOW) is Ending.FAR
    assert ending(one(60 * DAY, 365 * DAY), NOW) is Ending.SOON
    assert ending(one(-1, 365 * DAY), NOW) is Ending.ENDED


def test_a_root_of_ten_years_is_near_for_90_days_and_not_for_20_months() -> None:
    assert ending(one(91 * DAY, 3650 * DAY), NOW) is Ending.FAR
    assert ending(one(89 * DAY, 3650 * DAY), NOW) is Ending.SOON


def test_what_renews_itself_is_late_with_a_quarter_left() -> None:
    assert ending(one(1000, 3600, itself=True), NOW) is Ending.FAR
    assert ending(one(800, 3600, itself=True), NOW) is Ending.LATE


def test_what_never_ends_is_never_near() -> None:
    never = Expiry(kind="login", name="NATS operator", ends_unix_s=0)
    assert ending(never, NOW) is Ending.FAR
    assert left_text(never, NOW) == "never ends"


def test_alarms_come_nearest_first_and_say_how_long() -> None:
    found = alarms(
        [one(50 * DAY, 365 * DAY), one(-3 * 3600, DAY, name="timestamp"), one(1e9, 2e9)], NOW
    )
    assert [(a.word, a.what, a.text) for a in found] == [
        ("ENDED", "role timestamp", "ended 3 h ago"),
        ("ENDS_SOON", "role root", "50 d left"),
    ]


@given(st.floats(-1e9, 1e9), st.floats(1, 1e9), st.booleans())
def test_less_time_left_is_never_less_urgent(left_s: float, life_s: float, itself: bool) -> None:
    order = [Ending.FAR, Ending.SOON, Ending.LATE, Ending.ENDED]
    now = ending(one(left_s, life_s, itself=itself), NOW)
    later = ending(one(left_s, life_s, itself=itself), NOW + 1000)
    assert order.index(later) >= order.index(now)
