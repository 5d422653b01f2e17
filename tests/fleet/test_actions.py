"""A node's next actions: they converge, repeat nothing, and never go back in time."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from skerry.fleet.actions import Action, Do, OnDisk, Step, actions_towards, after, forget, giving_up
from skerry.schema.desired import Desired, DesiredModel, Gate
from skerry.schema.observed import Observed, ObservedModel, State, Window

HOLD_S = 20.0


def desired(generation: int, *models: tuple[str, int]) -> Desired:
    return Desired(
        generation=generation,
        fleet="clinic",
        domain="clinic.example",
        region="region-eu",
        site="oslo",
        tier="closet",
        jurisdiction="NO",
        models=tuple(
            DesiredModel(name=name, version=version, manifest_sha256=f"{name}-{version}")
            for name, version in models
        ),
        policy_sha256="p",
        tier_order=("closet",),
        peers=(),
        gate=Gate(hold_s=HOLD_S, latency_ms_p95=50.0, errors_ratio=0.01, requests_min=20),
    )


def seen(
    at_unix_s: float = 0.0,
    *,
    requests: int = 100,
    errors: int = 0,
    p95: float = 10.0,
    broken: str = "",
) -> Observed:
    return Observed(
        node="oslo/1",
        site="oslo",
        region="region-eu",
        boot="b",
        at_unix_s=at_unix_s,
        generation=0,
        desired_sha256="",
        in_sync=False,
        state=State.OK,
        reason="",
        models=(ObservedModel(name=broken or "a", version=1, ready=not broken, reason="crashed"),),
        window=Window(
            duration_s=10.0,
            requests=requests,
            errors=errors,
            local=requests,
            latency_ms_p50=5.0,
            latency_ms_p95=p95,
        ),
    )


def carry_out(disk: OnDisk, wanted: Desired, report: Observed) -> tuple[OnDisk, list[Action]]:
    actions = list(actions_towards(wanted, report, disk))
    for action in actions:
        disk = after(disk, action, wanted, report.at_unix_s)
    return disk, actions


def settled(*documents: Desired) -> OnDisk:
    """Run each document to its commit, one after the other."""
    disk = OnDisk()
    for number, document in enumerate(documents):
        disk, _ = carry_out(disk, document, seen(number * 1000.0))
        disk, _ = carry_out(disk, document, seen(number * 1000.0 + HOLD_S + 1))
    return disk


def test_a_new_model_is_prepared_whole_before_anything_is_swapped() -> None:
    actions = actions_towards(desired(1, ("a", 1), ("b", 1)), seen(), OnDisk())
    assert [action.do for action in actions] == [
        *(Do.FETCH, Do.STAGE) * 2,
        Do.SWAP,
    ]


def test_a_crash_between_two_steps_goes_on_where_it_stopped() -> None:
    disk = OnDisk(models={"a-1": Step.FETCHED})
    actions = actions_towards(desired(1, ("a", 1)), seen(), disk)
    assert [action.do for action in actions] == [Do.STAGE, Do.SWAP]


def test_a_good_trial_is_committed_and_old_bytes_are_dropped_only_then() -> None:
    disk = settled(desired(1, ("a", 1)))
    disk, actions = carry_out(disk, desired(2, ("a", 2)), seen(2000.0))
    assert Do.DROP not in [action.do for action in actions]
    assert actions_towards(desired(2, ("a", 2)), seen(2000.0 + HOLD_S - 1), disk) == ()
    disk, actions = carry_out(disk, desired(2, ("a", 2)), seen(2000.0 + HOLD_S))
    assert [action.do for action in actions] == [Do.COMMIT, Do.DROP]
    assert disk.generation == 2
    assert set(disk.models) == {"a-2"}


def test_a_bad_trial_is_reverted_before_its_hold_is_over_and_not_tried_again() -> None:
    disk = settled(desired(1, ("a", 1)))
    bad = desired(2, ("a", 2))
    disk, _ = carry_out(disk, bad, seen(2000.0))
    disk, actions = carry_out(disk, bad, seen(2001.0, errors=50))
    assert [action.do for action in actions] == [Do.REVERT]
    assert "errors 50.00% > 1.00% (50 of 100)" in actions[0].reason
    assert (disk.serving, disk.gave_up, disk.generation) == ({"a": "a-1"}, 2, 1)
    assert actions_towards(bad, seen(3000.0), disk) == ()
    assert [a.do for a in actions_towards(desired(3, ("a", 3)), seen(3000.0), disk)][-1] is Do.SWAP


def test_a_model_that_stops_answering_on_trial_is_reverted() -> None:
    disk = settled(desired(1, ("a", 1)))
    disk, _ = carry_out(disk, desired(2, ("a", 2)), seen(2000.0))
    actions = actions_towards(desired(2, ("a", 2)), seen(2001.0, broken="a"), disk)
    assert [(action.do, action.reason) for action in actions] == [(Do.REVERT, "a: crashed")]


def test_a_quiet_node_waits_long_and_is_then_committed() -> None:
    disk = settled(desired(1, ("a", 1)))
    wanted = desired(2, ("a", 2))
    disk, _ = carry_out(disk, wanted, seen(2000.0))
    assert actions_towards(wanted, seen(2000.0 + HOLD_S + 60, requests=0), disk) == ()
    late = actions_towards(wanted, seen(2000.0 + HOLD_S + 121, requests=0), disk)
    assert late[0].do is Do.COMMIT
    assert late[0].reason == "nothing spoke against it in 141 s; 0 of 20 requests"


def test_a_change_of_peers_alone_touches_no_model() -> None:
    disk = settled(desired(1, ("a", 1)))
    actions = actions_towards(desired(2, ("a", 1)), seen(), disk)
    assert [action.do for action in actions] == [Do.COMMIT]


def test_the_first_generation_is_committed_at_once_for_there_is_nothing_to_go_back_to() -> None:
    wanted = desired(1, ("a", 1))
    disk, _ = carry_out(OnDisk(), wanted, seen(0.0, requests=0))
    disk, actions = carry_out(disk, wanted, seen(0.1, requests=0))
    assert [action.do for action in actions] == [Do.COMMIT]
    assert "nothing to go back to" in actions[0].reason
    assert (disk.generation, disk.trial) == (1, 0)


def test_new_peers_in_the_middle_of_a_trial_do_not_end_it() -> None:
    """The same bytes under a newer generation are still unproven."""
    disk = settled(desired(1, ("a", 1)))
    disk, _ = carry_out(disk, desired(2, ("a", 2)), seen(2000.0))
    disk, actions = carry_out(disk, desired(3, ("a", 2)), seen(2001.0))
    assert [action.do for action in actions] == [Do.SWAP]
    assert (disk.trial, disk.committed) == (3, {"a": "a-1"})


def test_a_version_that_was_lost_is_fetched_again_without_a_trial() -> None:
    wanted = desired(1, ("a", 1), ("b", 1))
    disk = forget(settled(wanted), "a-1")
    disk, actions = carry_out(disk, wanted, seen(5000.0))
    assert [action.do for action in actions] == [Do.FETCH, Do.STAGE, Do.SWAP]
    assert (disk.trial, disk.serving) == (0, {"a": "a-1", "b": "b-1"})
    assert actions_towards(wanted, seen(5001.0), disk) == ()


def test_a_trial_that_lost_its_files_gets_them_back_and_is_still_judged() -> None:
    wanted = desired(2, ("a", 2))
    disk, _ = carry_out(settled(desired(1, ("a", 1))), wanted, seen(2000.0))
    disk, _ = carry_out(forget(disk, "a-2"), wanted, seen(2001.0))
    assert (disk.serving, disk.trial, disk.trial_at_unix_s) == ({"a": "a-2"}, 2, 2000.0)
    disk, actions = carry_out(disk, wanted, seen(2002.0, errors=50))
    assert [action.do for action in actions] == [Do.REVERT]
    assert disk.serving == {"a": "a-1"}


def test_a_revert_that_was_cut_short_is_finished_whatever_the_window_says_now() -> None:
    wanted = desired(2, ("a", 2))
    disk, _ = carry_out(settled(desired(1, ("a", 1))), wanted, seen(2000.0))
    half = giving_up(disk, 2, "p95")
    actions = actions_towards(wanted, seen(9000.0), half)
    assert [(action.do, action.generation, action.reason) for action in actions] == [
        (Do.REVERT, 2, "p95")
    ]


def test_a_generation_that_would_not_load_is_remembered_as_given_up_before_its_swap() -> None:
    wanted = desired(2, ("a", 2))
    half = giving_up(settled(desired(1, ("a", 1))), 2, "would not load")
    disk, actions = carry_out(half, wanted, seen(9000.0))
    assert [action.do for action in actions] == [Do.REVERT]
    assert (disk.trial, disk.gave_up, disk.serving) == (0, 2, {"a": "a-1"})


def test_bytes_that_a_crash_left_behind_are_dropped_later() -> None:
    wanted = desired(1, ("a", 1))
    disk = settled(wanted)
    left = msgspec.structs.replace(disk, models={**disk.models, "a-0": Step.STAGED})
    actions = actions_towards(wanted, seen(), left)
    assert [(action.do, action.manifest_sha256) for action in actions] == [(Do.DROP, "a-0")]


model_sets = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 3)), max_size=3, unique_by=lambda m: m[0]
).map(tuple)
steps = st.dictionaries(
    st.sampled_from([f"{n}-{v}" for n in "abc" for v in (1, 2, 3)]), st.sampled_from(Step)
)
disks = st.builds(
    OnDisk,
    generation=st.integers(0, 5),
    models=steps,
    gave_up=st.integers(0, 5),
    trial=st.just(0),
)


@given(disks, model_sets, st.integers(1, 9))
def test_every_disk_converges_and_then_nothing_is_left_to_do(
    disk: OnDisk, models: tuple[tuple[str, int], ...], generation: int
) -> None:
    wanted = desired(generation, *models)
    start = disk
    for turn in range(4):
        disk, _ = carry_out(disk, wanted, seen(turn * (HOLD_S + 1)))
    assert actions_towards(wanted, seen(1e6), disk) == ()
    if generation >= start.generation and generation > start.gave_up:
        assert disk.generation == generation
        assert disk.serving == {model.name: model.manifest_sha256 for model in wanted.models}
        assert all(disk.models[digest] is Step.STAGED for digest in disk.serving.values())


@given(disks, model_sets, st.integers(1, 9))
def test_an_older_generation_never_wins(
    disk: OnDisk, models: tuple[tuple[str, int], ...], generation: int
) -> None:
    if generation < max(disk.generation, disk.gave_up):
        assert actions_towards(desired(generation, *models), seen(), disk) == ()


@given(disks, model_sets, model_sets, st.booleans())
def test_whatever_happens_on_trial_the_node_serves_the_old_or_the_new_and_nothing_else(
    disk: OnDisk, old: tuple[tuple[str, int], ...], new: tuple[tuple[str, int], ...], good: bool
) -> None:
    first, second = desired(11, *old), desired(12, *new)
    for turn in range(3):
        disk, _ = carry_out(disk, first, seen(turn * 100.0))
    served_old = disk.serving
    for turn in range(3):
        report = seen(1000.0 + turn * 100.0, errors=0 if good else 100)
        disk, _ = carry_out(disk, second, report)
        wanted = {model.name: model.manifest_sha256 for model in second.models}
        assert disk.serving in (served_old, wanted)
        assert all(disk.models[digest] is Step.STAGED for digest in disk.serving.values())


def test_what_is_on_disk_survives_writing() -> None:
    disk = settled(desired(1, ("a", 1)))
    assert msgspec.json.decode(msgspec.json.encode(disk), type=OnDisk) == disk
