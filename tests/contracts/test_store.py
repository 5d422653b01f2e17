"""What any store of central must hold; a new engine joins by one more entry in `ENGINES`."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.central.errors import GenerationConflictError
from skerry.central.sqlite_store import SqliteStore
from skerry.central.store import Sealed, Seen, Store
from skerry.schema.api import RegionStatus, Registration
from skerry.schema.desired import Gate
from skerry.schema.drill import DrillKind, DrillRecord
from skerry.schema.fleet import Fleet, Rollout
from skerry.schema.observed import Observed, State, Window
from skerry.schema.records import Envelope, Event, Keep, Outcome, Summary

ENGINES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: SqliteStore(folder / "central.db")
}


@pytest.fixture(params=sorted(ENGINES))
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Open the same store once more, as after a restart."""
    opened: list[Store] = []

    def again() -> Store:
        opened.append(ENGINES[request.param](tmp_path))
        return opened[-1]

    yield again
    for one in opened:
        one.close()


@pytest.fixture
def store(reopen: Callable[[], Store]) -> Store:
    return reopen()


def fleet(name: str = "clinic") -> Fleet:
    return Fleet(
        name=name,
        domain="clinic.example",
        goals={},
        tiers={},
        sites=(),
        models=(),
        data_classes={},
        rules=(),
        rollout=Rollout(rings=(), ring_names=(), gate=Gate(hold_s=1), revert_on_fail=True),
        links=(),
    )


def event(key: str, *, kind: str = "model.swapped", site: str = "oslo", at: int = 5) -> Envelope:
    body = Event(kind=kind, at_unix_ms=at, site=site, node=f"{site}/1", text="x")
    return Envelope(
        key=key, keep=Keep.MUST, kind="event", at_unix_ms=at, body=raw(msgspec.json.encode(body))
    )


def summary(key: str, *, from_unix_ms: int, to_unix_ms: int) -> Envelope:
    body = Summary(
        from_unix_ms=from_unix_ms,
        to_unix_ms=to_unix_ms,
        site="oslo",
        node="oslo/1",
        model="magika",
        version="1",
        data_class="health",
        outcome=Outcome.OK,
        served_site="oslo",
        served_tier="closet",
        reason="local",
        forwarded=False,
        count=3,
        latency_us_sum=900,
        latency_counts={4: 3},
        bytes_in=10,
        bytes_upstream=0,
    )
    return Envelope(
        key=key,
        keep=Keep.HIGH,
        kind="summary",
        at_unix_ms=to_unix_ms,
        body=raw(msgspec.json.encode(body)),
    )


def raw(data: bytes) -> msgspec.Raw:
    return msgspec.Raw(data)


def observed(node: str, generation: int) -> Observed:
    return Observed(
        node=node,
        site="oslo",
        region="region-eu",
        boot="b",
        at_unix_s=1.0,
        generation=generation,
        desired_sha256="",
        in_sync=True,
        state=State.OK,
        reason="",
        models=(),
        window=Window(
            duration_s=0, requests=0, errors=0, local=0, latency_ms_p50=None, latency_ms_p95=None
        ),
    )


def apply(store: Store, expected: int, name: str = "clinic") -> int:
    return store.apply(
        fleet(name),
        expected_generation=expected,
        policy_sha256="p",
        applied_by="ann",
        reason="r",
        at_unix_s=1.0,
    ).generation


def region(heard: float = 1.0, url: str = "https://127.0.0.1:1") -> RegionStatus:
    return RegionStatus(
        region="region-eu", region_url=url, nats_url="tls://127.0.0.1:2", heard_unix_s=heard
    )


def registration(node: str, url: str = "https://127.0.0.1:9") -> Registration:
    site = node.split("/")[0]
    return Registration(
        node=node, site=site, region="region-eu", inference_url=url, joined_unix_s=1.0
    )


def test_a_fresh_store_is_empty_and_says_so(store: Store) -> None:
    assert store.applied() is None
    assert store.rollout() is None
    assert store.sealed() == {}
    assert store.observed() == {}
    assert store.nodes() == store.regions() == store.events() == store.drills() == []
    assert store.summaries(from_unix_ms=0, to_unix_ms=9) == ([], 0, False)


def test_generations_rise_and_never_repeat_not_even_after_a_restart(
    reopen: Callable[[], Store],
) -> None:
    first = reopen()
    given_out = [first.next_generation(), apply(first, 0), first.next_generation()]
    first.close()
    second = reopen()
    given_out.append(second.next_generation())
    assert given_out == sorted(set(given_out))


def test_applying_on_top_of_another_generation_is_refused_and_changes_nothing(
    store: Store,
) -> None:
    newest = apply(store, 0)
    with pytest.raises(GenerationConflictError, match=f"at generation {newest}, wanted 0"):
        apply(store, 0, name="other")
    kept = store.applied()
    assert kept is not None
    assert kept.fleet.name == "clinic"
    assert apply(store, newest) > newest
    assert store.applied(newest) == kept


def test_of_many_who_apply_at_once_exactly_one_wins(store: Store) -> None:
    outcomes: list[bool] = []

    def one() -> None:
        try:
            apply(store, 0)
            outcomes.append(True)
        except GenerationConflictError:
            outcomes.append(False)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_what_was_written_is_there_after_a_restart(reopen: Callable[[], Store]) -> None:
    first = reopen()
    apply(first, 0)
    sealed = Sealed(site="oslo", generation=4, applied_generation=1, document=b"{}", at_unix_s=1.0)
    first.put_sealed(sealed)
    first.put_registry(region(), [registration("oslo/1")])
    first.put_observed([Seen(observed=observed("oslo/1", 4), received_unix_s=7.0)])
    first.add_records([event("k1")])
    first.put_rollout(1, b'{"phase":"running"}')
    first.close()
    second = reopen()
    assert second.applied() is not None
    assert second.sealed() == {"oslo": sealed}
    assert [one.node for one in second.nodes()] == ["oslo/1"]
    assert second.regions() == [region()]
    assert second.observed()["oslo/1"].received_unix_s == 7.0
    assert [one.key for one in second.events()] == ["k1"]
    assert second.rollout() == b'{"phase":"running"}'


def test_an_older_desired_document_never_replaces_a_newer_one(store: Store) -> None:
    newer, older = (
        Sealed(site="oslo", generation=n, applied_generation=n, document=b"", at_unix_s=0.0)
        for n in (9, 8)
    )
    store.put_sealed(newer)
    store.put_sealed(older)
    assert store.sealed() == {"oslo": newer}


def test_an_older_report_never_replaces_a_newer_one(store: Store) -> None:
    store.put_observed([Seen(observed=observed("oslo/1", 2), received_unix_s=20.0)])
    store.put_observed([Seen(observed=observed("oslo/1", 1), received_unix_s=10.0)])
    assert store.observed()["oslo/1"].observed.generation == 2


def test_a_registry_is_replaced_whole_and_says_whether_it_changed(store: Store) -> None:
    both = [registration("oslo/1"), registration("oslo/2")]
    assert store.put_registry(region(), both)
    assert not store.put_registry(region(heard=2.0), both)
    assert store.put_registry(region(heard=3.0), [registration("oslo/1", "https://127.0.0.1:8")])
    assert [one.inference_url for one in store.nodes()] == ["https://127.0.0.1:8"]
    assert store.put_registry(region(url="https://127.0.0.1:7"), store.nodes())
    assert store.regions()[0].region_url == "https://127.0.0.1:7"


def test_one_region_never_touches_the_nodes_of_another(store: Store) -> None:
    store.put_registry(region(), [registration("oslo/1")])
    other = msgspec.structs.replace(region(), region="cloud")
    in_other = msgspec.structs.replace(registration("cloud/1"), region="cloud")
    store.put_registry(other, [in_other])
    store.put_registry(other, [])
    assert [one.node for one in store.nodes()] == ["oslo/1"]


def test_a_record_counts_once_however_often_it_comes(store: Store) -> None:
    assert store.add_records([event("a"), event("b"), event("a")]) == 2
    assert store.add_records([event("b"), event("c")]) == 1
    assert store.record_count() == 3


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=st.lists(st.lists(st.integers(0, 30), max_size=10), max_size=6))
def test_every_key_is_kept_once_in_any_order_of_batches(
    store: Store, batches: list[list[int]]
) -> None:
    before = {one.key for one in store.events(limit=1000)}
    added = sum(store.add_records([event(f"k{n}") for n in batch]) for batch in batches)
    after = [one.key for one in store.events(limit=1000)]
    assert len(after) == len(set(after)) == len(before) + added
    assert set(after) == before | {f"k{n}" for batch in batches for n in batch}


def test_events_come_in_order_of_arrival_and_pages_join_up(store: Store) -> None:
    store.add_records([event(f"k{n}", at=100 - n) for n in range(7)])
    keys: list[str] = []
    after = 0
    while page := store.events(after=after, limit=3):
        keys += [one.key for one in page]
        after = page[-1].n
    assert keys == [f"k{n}" for n in range(7)]


def test_events_are_found_by_site_and_by_dotted_kind(store: Store) -> None:
    store.add_records(
        [
            event("a", kind="model.swapped"),
            event("b", kind="model.refused", site="bergen"),
            event("c", kind="modelling"),
        ]
    )
    assert [one.key for one in store.events(kind="model")] == ["a", "b"]
    assert [one.key for one in store.events(kind="model.swapped")] == ["a"]
    assert [one.key for one in store.events(site="bergen")] == ["b"]
    assert store.events(kind="%") == []


def test_summaries_are_those_that_overlap_the_span(store: Store) -> None:
    store.add_records(
        [summary(f"s{n}", from_unix_ms=n * 1000, to_unix_ms=n * 1000 + 999) for n in range(10)]
    )
    found, last, more = store.summaries(from_unix_ms=2500, to_unix_ms=5000)
    assert [one.from_unix_ms for one in found] == [2000, 3000, 4000, 5000]
    assert not more
    head, last, more = store.summaries(from_unix_ms=2500, to_unix_ms=5000, limit=3)
    assert more
    tail, _, more = store.summaries(from_unix_ms=2500, to_unix_ms=5000, after=last, limit=3)
    assert head + tail == found
    assert not more


def test_a_body_that_is_not_what_its_kind_says_breaks_no_page(store: Store) -> None:
    bad = msgspec.structs.replace(event("bad"), body=raw(b'{"kind": 7}'))
    assert store.add_records([bad, event("good")]) == 2
    assert [one.key for one in store.events()] == ["good"]
    assert store.record_count() == 2


def test_the_rollout_of_the_highest_generation_is_the_one(store: Store) -> None:
    store.put_rollout(2, b"two")
    store.put_rollout(1, b"one")
    assert store.rollout() == b"two"
    store.put_rollout(2, b"two again")
    assert store.rollout() == b"two again"


def test_drills_come_newest_first(store: Store) -> None:
    for target in ("oslo", "bergen"):
        store.add_drill(
            DrillRecord(
                kind=DrillKind.WAN_CUT,
                target=target,
                started_unix_s=1.0,
                duration_s=1.0,
                requests=1,
                failed=0,
                lost=0,
                twice=0,
                leaked=0,
                latency_ms_p50=None,
                latency_ms_p95=None,
                latency_ms_p99=None,
                promises=(),
                passed=True,
            )
        )
    assert [one.target for one in store.drills()] == ["bergen", "oslo"]
    assert [one.target for one in store.drills(limit=1)] == ["bergen"]


def test_custody_entries_are_kept_in_order_each_once(reopen: Callable[[], Store]) -> None:
    store = reopen()
    assert store.add_custody("SN-1", 0, "oslo", b"a")
    assert store.add_custody("SN-1", 1, "oslo/1", b"b")
    assert store.add_custody("SN-1", 1, "oslo/1", b"b")  # it came again
    assert not store.add_custody("SN-1", 1, "oslo/1", b"another")
    assert not store.add_custody("SN-1", 3, "oslo/1", b"d")  # entry 2 is missing
    assert store.add_custody("SN-0", 0, "oslo/1", b"z")
    again = reopen()
    assert again.custody("SN-1") == [b"a", b"b"]
    assert again.custody("SN-9") == []
    assert again.custody_machines() == ["SN-0", "SN-1"]
    assert again.custody_at("oslo/1") == [b"b", b"z"]
    assert again.custody_at("oslo/1", limit=1) == [b"z"]
