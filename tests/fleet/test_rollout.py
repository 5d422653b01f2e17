"""Staged rollouts: a bad release never passes its first ring, and silence is no consent."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from skerry.fleet.rollout import (
    REACH_S,
    SILENT_S,
    NextStep,
    Progress,
    Verdict,
    advanced,
    begin,
    next_step,
)
from skerry.schema.desired import Gate
from skerry.schema.fleet import Rollout
from skerry.schema.observed import Observed, ObservedModel, State, Window

GATE = Gate(hold_s=20.0, latency_ms_p95=50.0, errors_ratio=0.01, requests_min=20)
ROLLOUT = Rollout(
    rings=(("bergen",), ("oslo", "hamburg")),
    ring_names=("ring=pilot", "100 %"),
    gate=GATE,
    revert_on_fail=True,
)
NODES = {"bergen": ("bergen/1",), "oslo": ("oslo/1", "oslo/2"), "hamburg": ("hamburg/1",)}
START = 1000.0


def report(node: str, at: float, **changes: object) -> Observed:
    good = Observed(
        node=node,
        site=node.split("/")[0],
        region="region-eu",
        boot="b",
        at_unix_s=at,
        generation=2,
        desired_sha256="",
        in_sync=True,
        state=State.OK,
        reason="",
        models=(ObservedModel(name="a", version=2, ready=True),),
        window=window(),
    )
    return msgspec.structs.replace(good, **changes)


def window(requests: int = 100, errors: int = 0, p95: float = 10.0) -> Window:
    return Window(
        duration_s=20.0,
        requests=requests,
        errors=errors,
        local=requests,
        latency_ms_p50=5.0,
        latency_ms_p95=p95,
    )


def pilot(after_s: float, **changes: object) -> NextStep:
    now = START + after_s
    seen = {"bergen/1": report("bergen/1", now, **changes)}
    return next_step(ROLLOUT, begin(ROLLOUT, 2, 1, START), NODES, seen, now)


def test_a_good_pilot_holds_and_then_releases_the_next_ring() -> None:
    assert pilot(19.0).verdict is Verdict.HOLD
    step = pilot(20.0)
    assert (step.verdict, step.sites, step.ring) == (Verdict.ADVANCE, ("oslo", "hamburg"), 1)


def test_a_broken_limit_takes_the_ring_back_at_once_with_value_and_limit() -> None:
    step = pilot(1.0, window=window(p95=80.0))
    assert (step.verdict, step.sites) == (Verdict.REVERT, ("bergen",))
    assert step.reason == "bergen/1: p95 80.0 ms > 50 ms over 100 answers"
    assert pilot(1.0, window=window(errors=5)).verdict is Verdict.REVERT


def test_a_node_that_went_back_by_itself_takes_the_ring_back() -> None:
    step = pilot(5.0, generation=1, reverted_generation=2, reverted_reason="p95")
    assert (step.verdict, step.reason) == (Verdict.REVERT, "bergen/1: reverted by itself: p95")


def test_an_earlier_revert_of_another_generation_does_not_count() -> None:
    assert pilot(20.0, reverted_generation=1).verdict is Verdict.ADVANCE


def test_a_node_that_is_down_or_not_ready_fails_the_ring() -> None:
    assert pilot(5.0, state=State.DOWN, reason="worker gone").verdict is Verdict.REVERT
    broken = (ObservedModel(name="a", version=2, ready=False, reason="no answer"),)
    assert "a is not ready: no answer" in pilot(5.0, models=broken).reason


def test_the_first_ring_waits_for_real_requests_however_long() -> None:
    step = pilot(10_000.0, window=window(requests=3))
    assert (step.verdict, step.reason) == (Verdict.HOLD, "3 of 20 requests to judge the ring by")


def test_the_first_generation_of_a_fleet_waits_for_no_requests() -> None:
    """Nothing served before it, so nobody can have asked."""
    now = START + 20.0
    seen = {"bergen/1": report("bergen/1", now, window=window(requests=0))}
    step = next_step(ROLLOUT, begin(ROLLOUT, 2, 0, START), NODES, seen, now)
    assert step.verdict is Verdict.ADVANCE


def test_a_later_ring_may_be_quiet() -> None:
    now = START + 100.0
    seen = {
        node: report(node, now, window=window(requests=0)) for nodes in NODES.values()
        for node in nodes
    }  # fmt: skip
    progress = advanced(begin(ROLLOUT, 2, 1, START), START + 50.0)
    assert next_step(ROLLOUT, progress, NODES, seen, now).verdict is Verdict.DONE


def test_silence_holds_first_and_fails_after_the_deadline() -> None:
    progress = begin(ROLLOUT, 2, 1, START)
    late = START + GATE.hold_s + REACH_S
    assert next_step(ROLLOUT, progress, NODES, {}, late).verdict is Verdict.HOLD
    step = next_step(ROLLOUT, progress, NODES, {}, late + 1)
    assert (step.verdict, step.reason) == (Verdict.REVERT, "bergen/1: never reported")


def test_a_node_that_falls_silent_on_the_way_is_waited_for_then_failed() -> None:
    progress = begin(ROLLOUT, 2, 1, START)
    seen = {"bergen/1": report("bergen/1", START + 5)}
    soon = next_step(ROLLOUT, progress, NODES, seen, START + 5 + SILENT_S + 1)
    assert soon.verdict is Verdict.HOLD
    late = next_step(ROLLOUT, progress, NODES, seen, START + GATE.hold_s + REACH_S + 1)
    assert (late.verdict, "silent for" in late.reason) == (Verdict.REVERT, True)


def test_a_node_that_refuses_the_release_fails_the_ring_with_its_own_words() -> None:
    step = pilot(GATE.hold_s + REACH_S + 1, generation=1, refusal="target expired")
    assert step.reason == "bergen/1: did not reach generation 2: target expired"


def test_an_earlier_ring_stays_watched() -> None:
    now = START + 60.0
    seen = {node: report(node, now) for nodes in NODES.values() for node in nodes}
    seen["bergen/1"] = report("bergen/1", now, window=window(errors=50))
    progress = advanced(begin(ROLLOUT, 2, 1, START), START + 30.0)
    step = next_step(ROLLOUT, progress, NODES, seen, now)
    assert (step.verdict, step.sites) == (Verdict.REVERT, ("bergen", "oslo", "hamburg"))


def test_with_on_fail_hold_a_person_decides() -> None:
    held = msgspec.structs.replace(ROLLOUT, revert_on_fail=False)
    now = START + 1.0
    seen = {"bergen/1": report("bergen/1", now, window=window(errors=50))}
    step = next_step(held, begin(held, 2, 1, START), NODES, seen, now)
    assert step.verdict is Verdict.HOLD
    assert step.reason.startswith("held for a person: bergen/1: errors")


bad_changes = st.sampled_from(
    [
        {"window": window(errors=50)},
        {"window": window(p95=51.0)},
        {"reverted_generation": 2},
        {"state": State.DOWN},
        {"models": (ObservedModel(name="a", version=2, ready=False),)},
        {"generation": 1},
        {"in_sync": False},
        None,
    ]
)


@given(bad_changes, st.lists(st.floats(0.1, 100.0), min_size=1, max_size=30))
def test_a_bad_release_never_passes_its_first_ring(
    change: dict[str, object] | None, waits: list[float]
) -> None:
    """Whatever is wrong with the pilot, and whenever central looks, no other site gets it."""
    progress, now = begin(ROLLOUT, 2, 1, START), START
    last: NextStep | None = None
    for wait in [*waits, 1000.0]:
        now += wait
        seen = {} if change is None else {"bergen/1": report("bergen/1", now, **change)}
        last = next_step(ROLLOUT, progress, NODES, seen, now)
        assert last.verdict in (Verdict.HOLD, Verdict.REVERT)
        if last.verdict is Verdict.REVERT:
            assert last.sites == ("bergen",)
    assert last is not None
    assert last.verdict is Verdict.REVERT


@given(st.lists(st.floats(0.1, 100.0), max_size=60))
def test_a_good_release_reaches_every_ring_in_order(waits: list[float]) -> None:
    progress: Progress = begin(ROLLOUT, 2, 1, START)
    now, rings = START, []
    for wait in [*waits, 100.0, 100.0]:
        now += wait
        seen = {node: report(node, now) for nodes in NODES.values() for node in nodes}
        step = next_step(ROLLOUT, progress, NODES, seen, now)
        if step.verdict is Verdict.DONE:
            break
        if step.verdict is Verdict.ADVANCE:
            assert now - progress.ring_at_unix_s >= GATE.hold_s
            rings.append(step.ring)
            progress = advanced(progress, now)
    assert step.verdict is Verdict.DONE
    assert rings == [1]
