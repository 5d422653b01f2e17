"""Nodes of a fleet: sized by production's decisions, one less fails, written into the file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from skerry.cli.main import run
from skerry.fleet.load import load_fleet
from skerry.plan import replay as plain
from skerry.plan.assumptions import assumptions
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.fleet import (
    Question,
    part,
    size_tiers,
    sojourns_s,
    tiers_to_size,
    value_s,
    with_nodes,
)
from skerry.plan.capacity.fleet_report import changes, fleet_report
from skerry.plan.capacity.target import parse_target
from skerry.plan.replay import Replayed
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet

CLINIC = Path(__file__).parents[2] / "examples" / "clinic"
SERVICES = {"magika": 0.008, "magika-small": 0.0002}


def trace_of(count: int, *, gap_s: float, data_class: str = "health") -> Trace:
    rng = np.random.default_rng(4)
    arrival_s = np.cumsum(rng.exponential(gap_s, count))
    zeros = np.zeros(count, np.int64)
    return Trace(
        source="test",
        span_s=float(arrival_s[-1]),
        sites=("oslo", "hamburg"),
        models=("magika",),
        data_classes=(data_class,),
        arrival_s=arrival_s,
        site=rng.integers(0, 2, count),
        model=zeros,
        data_class=zeros,
        content_bytes=np.full(count, 8400),
    )


def question(fleet: Fleet, trace: Trace, *targets: str) -> Question:
    return Question(
        fleet=fleet,
        trace=trace,
        services_s=SERVICES,
        targets=tuple(parse_target(text) for text in targets),
        seed=7,
    )


def test_the_least_nodes_keep_the_target_and_one_less_does_not(fleet: Fleet) -> None:
    """Two sites, 8 ms a run, a request every 1.6 ms: 2.5 runs at once at each site."""
    asked = question(fleet, trace_of(4000, gap_s=0.0016), "p99=60ms")
    (found,), sized = size_tiers(asked, ("closet",), range(1, 9), lambda _: None)
    assert found.nodes_least is not None
    assert 3 <= found.nodes_least <= 5
    assert [row.holds for row in found.tried] == [False] * (found.nodes_least - 1) + [True]
    assert {site.nodes for site in sized.fleet.sites if site.tier == "closet"} == {
        found.nodes_least
    }
    # The oracle: the plain replay with these nodes, and with one less.
    for nodes, holds in ((found.nodes_least, True), (found.nodes_least - 1, False)):
        by_hand = plain.replay(
            with_nodes(fleet, "closet", nodes),
            asked.trace,
            services_s=SERVICES,
            destinations=lambda _, origin: frozenset({origin}),
            seed=7,
        )
        assert asked.holds(by_hand) is holds


def test_what_is_missed_though_nobody_waits_is_impossible(fleet: Fleet) -> None:
    asked = question(fleet, trace_of(500, gap_s=0.01), "p50=5ms")
    (found,), _ = size_tiers(asked, ("closet",), range(1, 4), lambda _: None)
    assert (found.nodes_least, found.impossible) == (None, True)
    assert "impossible" in found.reason


def test_too_small_a_range_is_not_called_impossible(fleet: Fleet) -> None:
    asked = question(fleet, trace_of(4000, gap_s=0.0016), "p99=60ms")
    (found,), _ = size_tiers(asked, ("closet",), range(1, 3), lambda _: None)
    assert (found.nodes_least, found.impossible) == (None, False)
    assert "--servers" in found.reason


def test_a_refused_request_is_later_than_any_limit() -> None:
    refused = Replayed(
        latencies_ms=np.full(98, 10.0),
        refused={"queue-full": 2},
        local=98,
        standin=0,
        upstream_bytes=0,
        load={},
        span_s=1.0,
    )
    found = sojourns_s(refused)
    assert value_s(found, "p95") == 0.01
    assert value_s(found, "p99") == value_s(found, "mean") == np.inf


def test_a_part_of_a_trace_starts_at_zero(fleet: Fleet) -> None:
    whole = trace_of(100, gap_s=0.1)
    rest = part(whole, 70, 100)
    assert len(rest) == 30
    assert rest.arrival_s[0] == 0.0
    assert (np.diff(rest.arrival_s) == pytest.approx(np.diff(whole.arrival_s[70:]))) is True


def test_tiers_are_those_where_requests_begin_or_those_asked_for(fleet: Fleet) -> None:
    assert tiers_to_size(fleet, ()) == ("closet",)
    assert tiers_to_size(fleet, ("room", "cloud")) == ("room", "cloud")
    with pytest.raises(CapacityError, match="no tier 'attic'"):
        tiers_to_size(fleet, ("attic",))


def test_advice_is_written_for_the_tier_and_for_sites_with_a_number_of_their_own(
    fleet: Fleet,
) -> None:
    asked = question(fleet, trace_of(4000, gap_s=0.0016), "p99=60ms")
    report = fleet_report(
        asked,
        ("closet",),
        range(1, 9),
        inputs=assumptions("capacity"),
        run=None,
        at_unix_s=1.0,
        unknown=(),
        tell=lambda _: None,
    )
    least = report.figures["tiers"][0].nodes_least  # type: ignore[index]
    assert report.changes == {
        "tiers.closet.nodes": f"{least} x box",
        "sites.oslo.nodes": str(least),
    }
    assert report.changes == changes(fleet, report.figures["tiers"])  # type: ignore[arg-type]
    (advice,) = report.advice
    assert advice.regret is not None
    assert "faster" in advice.flip


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    for file in CLINIC.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    rng = np.random.default_rng(1)
    arrival_s = np.cumsum(rng.exponential(0.0013, 3000))
    rows = [
        f"{at:.5f},{site},magika,health,8400"
        for at, site in zip(arrival_s, rng.choice(["oslo", "bergen"], 3000), strict=True)
    ]
    (tmp_path / "trace.csv").write_text(
        "\n".join(["arrival_s,site,model,data_class,bytes", *rows, ""])
    )
    return tmp_path


def capacity(folder: Path, *words: str) -> int:
    fleet, trace = str(folder / "fleet.yaml"), str(folder / "trace.csv")
    return run(["plan", "capacity", "--fleet", fleet, "--trace", trace, *words])


def test_the_verb_sizes_a_fleet_and_writes_its_file(
    clinic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capacity(clinic, "--target", "p99=80ms", "--servers", "1..9", "--write", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    least = found["tiers"][0]["nodes_least"]
    assert least >= 3
    assert found["changes"]["tiers.closet.nodes"] == f"{least} x intake-pc"
    assert load_fleet(clinic / "fleet.yaml").tiers["closet"].nodes == least
    more = ("--servers", "1..9", "--headroom", "n+1", "--json")
    assert capacity(clinic, "--target", "p99=80ms", *more) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["changes"]["tiers.closet.nodes"] == f"{least + 1} x intake-pc"


def test_measured_times_replace_the_tables_and_errors_are_told(
    clinic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clinic / "run.json").write_text(
        json.dumps(
            {
                "at_unix_s": 1.0,
                "service_ms": {"magika": 2.0},
                "goals": [
                    {
                        "name": "local_ratio",
                        "goal": None,
                        "measured": {
                            "value": 0.5,
                            "low": 0.5,
                            "high": 0.5,
                            "level": "measured",
                            "source": "test",
                            "at_unix_s": 1.0,
                        },
                    }
                ],
            }
        )
    )
    more = ("--from-run", str(clinic / "run.json"), "--json")
    assert capacity(clinic, "--target", "p99=80ms", *more) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tiers"][0]["nodes_least"] < 3
    assert found["service_s"]["magika"] == 0.002
    assert found["prediction_error_ratio"]["local_ratio"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--target", "p99=1s", "--service", "1"),
        ("--target", "p99=1s", "--model", "magika"),
        ("--target", "p99=1s", "--tier", "attic"),
        ("--target", "p99=1s", "--headroom", "lose-site"),
        ("--target", "p99=1s", "--autoscale"),
        ("--target", "p99=1s", "--arrival", "when"),
    ],
)
def test_what_makes_no_sense_for_a_fleet_is_refused(
    clinic: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert capacity(clinic, *words) == 2
    assert "error[E0922]" in capsys.readouterr().err
