"""Tiers that overflow: equal to queues kept by hand, and sized by the verb."""

import heapq
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.cli.main import run
from skerry.plan.capacity.errors import TierTableError
from skerry.plan.capacity.kernels_fifo import Series, waits_s
from skerry.plan.capacity.target import Target
from skerry.plan.capacity.tiers import Ints, Tiers, read_tiers, size_tier
from skerry.plan.capacity.tiers import run as run_tiers
from skerry.plan.capacity.trace import Work
from skerry.plan.errors import ColumnError

TABLE = (
    "tier,sites,servers,round_trip_ms,wait_max_ms\nedge,10,2,1,0\nregion,2,3,20,50\ncloud,1,9,80,\n"
)


def tiers_of(sites: list[int], servers: list[int], wait_max_s: list[float]) -> Tiers:
    count = len(sites)
    return Tiers(
        names=tuple("abc"[:count]),
        sites=np.array(sites),
        servers=np.array(servers),
        round_trip_s=np.array([0.0, 0.02, 0.08][:count]),
        wait_max_s=np.array(wait_max_s),
    )


def by_hand(work: Work, site: Ints, tiers: Tiers) -> tuple[list[float], list[int]]:
    free = [
        [[-np.inf] * int(servers) for _ in range(sites)]
        for sites, servers in zip(tiers.sites, tiers.servers, strict=True)
    ]
    sojourns, served = [], []
    for at, service, own in zip(work.arrival_s, work.service_s, site, strict=True):
        for t in range(len(tiers.names)):
            queue = free[t][own * tiers.sites[t] // tiers.sites[0]]
            here = at + tiers.round_trip_s[t] / 2
            wait = max(queue[0] - here, 0.0)
            if wait > tiers.wait_max_s[t] and t < len(tiers.names) - 1:
                continue
            heapq.heapreplace(queue, here + wait + service)
            sojourns.append(tiers.round_trip_s[t] + wait + service)
            served.append(t)
            break
    return sojourns, served


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 200),
    st.tuples(st.integers(4, 9), st.integers(2, 4), st.integers(1, 2)),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6)),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.integers(0, 2**31),
)
def test_who_serves_and_how_long_it_takes_is_what_queues_by_hand_say(
    count: int, sites: tuple[int, ...], servers: tuple[int, ...], wait_s: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    work = Work(
        source="test",
        arrival_s=np.cumsum(rng.exponential(0.05, count)),
        service_s=rng.exponential(1.0, count),
    )
    site = rng.integers(0, sites[0], count)
    tiers = tiers_of(list(sites), list(servers), [wait_s, wait_s / 2, 0.0])
    sojourns, served = by_hand(work, site, tiers)
    found_s, found_by, _ = run_tiers(work, site, tiers)
    assert found_s.tolist() == sojourns
    assert found_by.tolist() == served


def test_one_tier_with_one_site_is_the_plain_queue() -> None:
    rng = np.random.default_rng(1)
    arrival_s, service_s = np.cumsum(rng.exponential(0.4, 500)), rng.exponential(1.0, 500)
    work = Work(source="test", arrival_s=arrival_s, service_s=service_s)
    tiers = tiers_of([1], [3], [0.0])
    found_s, _, wait_s = run_tiers(work, np.zeros(500, np.int64), tiers)
    waits: Series = waits_s(arrival_s, service_s, 3)
    assert found_s == pytest.approx(waits + service_s)
    assert wait_s == pytest.approx(waits.mean())


@pytest.mark.parametrize("tier", [0, 1])
def test_the_least_servers_of_a_tier_hold_and_one_less_does_not(tier: int) -> None:
    rng = np.random.default_rng(5)
    work = Work(
        source="test",
        arrival_s=np.cumsum(rng.exponential(0.01, 8000)),
        service_s=rng.exponential(0.3, 8000),
    )
    site = rng.integers(0, 10, 8000)
    tiers, target = tiers_of([10, 2], [2, 4], [0.0, 0.0]), Target(metric="p99", limit_s=1.6)
    found = size_tier(work, site, tiers, tier, target)
    assert found.servers_least is not None
    assert found.servers_least > 1
    for servers, holds in ((found.servers_least, True), (found.servers_least - 1, False)):
        assert target.holds(run_tiers(work, site, tiers.with_servers(tier, servers))[0]) is holds


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "tiers.csv").write_text(TABLE)
    rng = np.random.default_rng(6)
    at = np.cumsum(rng.exponential(0.05, 2000))
    rows = [
        f"{t:.4f},{s},{w:.4f}"
        for t, s, w in zip(
            at, rng.integers(0, 10, 2000), rng.exponential(1.0, 2000) + 0.01, strict=True
        )
    ]
    (tmp_path / "trace.csv").write_text("\n".join(["arrival_s,site,work_s", *rows, ""]))
    return tmp_path


def overflow(folder: Path, *words: str) -> int:
    given_ = ("--trace", str(folder / "trace.csv"), "--service", "work_s")
    return run(["plan", "capacity", *given_, "--tiers", str(folder / "tiers.csv"), *words])


def test_the_verb_sizes_one_tier_and_says_who_serves(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert overflow(files, "--site", "site", "--target", "p99=5s", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tier"] == "edge"
    assert found["servers_least"] >= 1
    assert found["advice"][0]["regret"]["unit"] == "server costs"
    for row in found["servers"]:
        assert sum(row["served_ratio"].values()) == pytest.approx(1)
    assert overflow(files, "--site", "site", "--tier", "region", "--servers", "1..3") == 0
    assert "at each region site" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "p99=5s"), "site of each request"),
        (("--target", "p99=5s", "--site", "site", "--tier", "attic"), "no tier 'attic'"),
        (("--target", "p99=5s", "--site", "site", "--headroom", "n+1"), "one plain queue"),
    ],
)
def test_what_tiers_need_is_asked_for(
    files: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert overflow(files, *words) == 2
    assert said in capsys.readouterr().err


def test_a_site_that_no_tier_has_is_named_by_row(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "trace.csv").write_text("arrival_s,site,work_s\n0,3,1\n1,10,1\n")
    assert overflow(files, "--site", "site", "--target", "p99=5s") == 3
    assert ":3: column site: '10', wanted a number from 0 to 9" in capsys.readouterr().err
    (files / "trace.csv").write_text("arrival_s,site,work_s\n0,3,1\n1,2.5,1\n")
    assert overflow(files, "--site", "site", "--target", "p99=5s") == 3
    assert ":3: column site: 2.5, wanted a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("region,2,3", "region,20,3", ":3: column sites: 20, wanted at most 10"),
        ("edge,10,2", "edge,10,2.5", ":2: column servers: 2.5, wanted a whole number"),
        ("edge,10,2", "edge,10,0", ":2: column servers: '0'"),
        ("20,50", "20,", ":3: column wait_max_ms: an empty cell"),
    ],
)
def test_a_bad_table_of_tiers_is_named_by_row(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "tiers.csv"
    path.write_text(TABLE.replace(old, new))
    with pytest.raises(ColumnError) as caught:
        read_tiers(path)
    assert said in str(caught.value)
    path.write_text(TABLE.replace("region", "edge"))
    with pytest.raises(TierTableError):
        read_tiers(path)
