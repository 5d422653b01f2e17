"""Grading: a drill passes when every promise was kept, and each one broken alone fails it."""

from typing import Any

import msgspec
import pytest

from skerry.proof.drills import ClientOutcome, DrillSeen, grade
from skerry.schema.drill import DrillKind, DrillRecord


def outcome(
    latency_ms: float = 5.0, *, client: str = "a", ok: bool = True, local: bool = True
) -> ClientOutcome:
    return ClientOutcome(client=client, latency_ms=latency_ms, ok=ok, local=local)


CALM = tuple(outcome(5.0 + i % 7, client="ab"[i % 2]) for i in range(400))
HEALTHY = tuple(5.0 + i % 7 for i in range(400))  # p95 11, p99 11
GOOD: dict[str, Any] = {
    "target": "oslo",
    "started_unix_s": 0.0,
    "duration_s": 10.0,
    "outcomes": CALM,
    "healthy_ms": HEALTHY,
    "lost": 0,
    "twice": 0,
    "leaked": 0,
    "reverted": True,
    "rings_reached": 1,
    "refused": True,
    "changed": 0,
    "first_answer_s": 1.2,
    "others_alive": 0,
    "followed": 6,
    "nodes": 6,
}


def seen(kind: DrillKind, **broken: Any) -> DrillSeen:
    return DrillSeen(kind=kind, **{**GOOD, **broken})


def broken_names(record: DrillRecord) -> list[str]:
    return [promise.name for promise in record.promises if not promise.kept]


@pytest.mark.parametrize("kind", list(DrillKind))
def test_a_drill_in_which_all_went_well_passes(kind: DrillKind) -> None:
    record = grade(seen(kind))
    assert record.passed
    assert broken_names(record) == []
    assert (record.requests, record.failed) == (400, 0)


ALWAYS: list[tuple[dict[str, Any], str]] = [
    ({"outcomes": (*CALM, outcome(5.0, ok=False))}, "failed"),
    ({"lost": 1}, "lost"),
    ({"lost": None}, "lost"),
    ({"twice": 1}, "twice"),
    ({"twice": None}, "twice"),
    ({"leaked": 1}, "leaked"),
    ({"leaked": None}, "leaked"),
]


@pytest.mark.parametrize("kind", [kind for kind in DrillKind if kind is not DrillKind.WAN_CUT])
@pytest.mark.parametrize(("change", "promise"), ALWAYS)
def test_each_general_promise_broken_alone_fails_any_drill(
    kind: DrillKind, change: dict[str, Any], promise: str
) -> None:
    record = grade(seen(kind, **change))
    assert not record.passed
    assert broken_names(record) == [promise]


SLOW_ONE = tuple(outcome(500.0) if i == 7 else one for i, one in enumerate(CALM))
SLOW_TWO = tuple(outcome(500.0) if i in (8, 10) else one for i, one in enumerate(CALM))
SLOW_TAIL = tuple(
    outcome(30.0, client=f"c{i}") if i % 50 == 0 else one for i, one in enumerate(CALM)
)


@pytest.mark.parametrize(
    ("kind", "change", "promise"),
    [
        (DrillKind.WAN_CUT, {"outcomes": (*CALM, outcome(local=False))}, "answered locally"),
        (DrillKind.BLACK_HOLE, {"outcomes": SLOW_TWO}, "slow requests of the worst client"),
        (
            DrillKind.BLACK_HOLE,
            {
                "outcomes": tuple(
                    outcome(40.0, client=f"c{i}") if i % 50 == 0 else one
                    for i, one in enumerate(CALM)
                )
            },
            "p99 added",
        ),
        (
            DrillKind.NODE_KILL,
            {"outcomes": tuple(outcome(60.0 if i % 10 == 0 else 5.0) for i in range(400))},
            "p95 of all requests",
        ),
        (DrillKind.BAD_RELEASE, {"reverted": False}, "reverted with no human"),
        (DrillKind.BAD_RELEASE, {"reverted": None}, "reverted with no human"),
        (DrillKind.BAD_RELEASE, {"rings_reached": 2}, "rings reached"),
        (DrillKind.FORGED_UPDATE, {"refused": False}, "refused by name"),
        (DrillKind.FORGED_UPDATE, {"changed": 1}, "things changed"),
        (DrillKind.COLD_START, {"first_answer_s": 3.1}, "first answer"),
        (DrillKind.COLD_START, {"first_answer_s": None}, "first answer"),
        (DrillKind.COLD_START, {"others_alive": 1}, "others alive"),
        (DrillKind.LOSE_CENTRAL, {"followed": 5}, "nodes that follow the restored central"),
        (
            DrillKind.LOSE_CENTRAL,
            {"nodes": None, "followed": None},
            "nodes that follow the restored central",
        ),
    ],
)
def test_each_promise_of_its_own_broken_alone_fails_the_drill(
    kind: DrillKind, change: dict[str, Any], promise: str
) -> None:
    record = grade(seen(kind, **change))
    assert not record.passed
    assert broken_names(record) == [promise]


def test_one_slow_request_of_a_client_is_what_a_hedge_costs() -> None:
    assert grade(seen(DrillKind.BLACK_HOLE, outcomes=SLOW_ONE)).passed


def test_a_tail_that_doubles_is_within_the_promise_of_a_black_hole() -> None:
    """Healthy p95 is 11 ms, so 22 ms may be added to the healthy p99 of 11 ms."""
    record = grade(seen(DrillKind.BLACK_HOLE, outcomes=SLOW_TAIL))
    assert record.passed
    added = next(promise for promise in record.promises if promise.name == "p99 added")
    assert (added.limit, added.seen) == (22.0, 19.0)


@pytest.mark.parametrize("kind", list(DrillKind))
def test_a_drill_without_traffic_proves_nothing(kind: DrillKind) -> None:
    record = grade(seen(kind, outcomes=()))
    assert not record.passed
    assert "requests sent" in broken_names(record)
    assert record.latency_ms_p95 is None


def test_a_black_hole_without_a_healthy_spell_cannot_pass() -> None:
    assert not grade(seen(DrillKind.BLACK_HOLE, healthy_ms=())).passed


def test_the_record_survives_json() -> None:
    record = grade(seen(DrillKind.NODE_KILL))
    assert msgspec.json.decode(msgspec.json.encode(record), type=DrillRecord) == record
