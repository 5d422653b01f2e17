"""Differences: what changes, where, and whether anything is swapped; a summary first."""

from collections.abc import Callable

from skerry.fleet.diff import Op, differences, render_difference
from skerry.schema.fleet import Fleet

Load = Callable[..., Fleet]


def test_nothing_changed_is_one_line(clinic: Fleet) -> None:
    difference = differences(clinic, clinic)
    assert difference.changes == ()
    assert render_difference(difference, hold_s=20.0) == (
        "0 to change, 0 to add, 0 to remove, 25 unchanged"
    )


def test_a_new_version_and_a_larger_feed_read_as_people_say_them(clinic_with: Load) -> None:
    old = clinic_with()
    new = clinic_with(("version: v1 ", "version: v2 "), ("feed: 600 W", "feed: 1.2 kW"))
    text = render_difference(differences(old, new), hold_s=20.0).splitlines()
    assert text[0] == "5 to change, 0 to add, 0 to remove, 20 unchanged"
    assert text[1] == "  ~ model magika   v1 -> v2 on 5 sites  rings: 1, 2, 2"
    assert text[2] == "  ~ site  oslo     feed 600 W -> 1.2 kW  no restart"
    assert text[-2] == "  ~ tier  closet   feed 600 W -> 1.2 kW  no restart"
    assert text[-1] == (
        "First ring: bergen. Reverts by itself if p95 > 50 ms or errors > 0.1 % within 20 s."
    )


def test_a_removed_site_is_listed_by_name_and_a_goal_with_its_unit(clinic_with: Load) -> None:
    old = clinic_with()
    new = clinic_with(("  latency_p95: 50 ms ", "  latency_p95: 40 ms "))
    lines = render_difference(differences(old, new), hold_s=20.0)
    assert "~ goal latency_ms_p95  50 ms -> 40 ms" in lines
    fewer = differences(new, old)
    assert [change.op for change in fewer.changes] == [Op.CHANGE]


def test_over_nothing_everything_is_added(clinic: Fleet) -> None:
    difference = differences(None, clinic)
    assert {change.op for change in difference.changes} == {Op.ADD}
    back = differences(clinic, clinic)
    assert back.unchanged == len(difference.changes)
