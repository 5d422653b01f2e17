"""Capacity: the least servers of real and made-up traces, checked by brute force."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.cli.main import run
from skerry.plan.assumptions import assumptions, shipped
from skerry.plan.capacity.check import dispersion, formulas, scv, servers_by_formula
from skerry.plan.capacity.errors import CapacityError, TargetError
from skerry.plan.capacity.expression import Expression
from skerry.plan.capacity.inputs import BOUNDS
from skerry.plan.capacity.least import (
    Simulator,
    concurrent_max,
    load_to_flip,
    parse_range,
    size,
    too_much,
)
from skerry.plan.capacity.regret import judged
from skerry.plan.capacity.target import Target, parse_target
from skerry.plan.capacity.trace import Source, Work, read_work
from skerry.plan.errors import ColumnError

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan" / "capacity" / "requests.csv"
SERVICE = "0.05+0.0002*context_tokens+0.02*generated_tokens"


def work_of(arrival_s: list[float], service_s: list[float]) -> Work:
    return Work(source="test", arrival_s=np.array(arrival_s), service_s=np.array(service_s))


@pytest.fixture(scope="module")
def hour(shared: Path) -> Simulator:
    path = shared / "llm-request-trace" / "azure_llm_2023_conv.csv"
    return Simulator.of(read_work(Source(trace=path), Expression(SERVICE))[0])


def test_an_hour_of_a_language_model_waits_as_published(hour: Simulator) -> None:
    assert len(hour.work) == 19_366
    assert hour.work.load_erlang == pytest.approx(24.906, rel=1e-3)
    for servers, wait, p50, p95, p99 in (
        (30, 0.47231, 3.3754, 10.9375, 13.9582),
        (40, 0.00612, 2.8535, 9.3312, 12.2668),
    ):
        found = hour.figures(servers)
        assert found.wait_s_mean == pytest.approx(wait, rel=1e-3)
        assert found.sojourn_s_p50 == pytest.approx(p50, rel=1e-3)
        assert found.sojourn_s_p95 == pytest.approx(p95, rel=1e-3)
        assert found.sojourn_s_p99 == pytest.approx(p99, rel=1e-3)


def test_an_hour_of_a_language_model_is_sized_as_published(hour: Simulator) -> None:
    assert size(hour, parse_target("p99=15s")).servers_least == 30
    assert size(hour, parse_target("p99=20s")).servers_least == 28
    short = size(hour, parse_target("p95=5s"))
    assert short.impossible
    assert short.servers_least is None
    assert "service alone" in short.reason


def test_formulas_size_this_hour_too_small_and_say_so(hour: Simulator) -> None:
    check = formulas(hour, 30)
    assert not check.agrees
    assert check.arrival_dispersion is not None
    assert check.arrival_dispersion > 5
    assert "do not size by formula" in check.verdict
    assert servers_by_formula(hour.work, parse_target("p99=15s")) == 27


def test_formulas_agree_where_arrivals_are_poisson() -> None:
    rng = np.random.default_rng(3)
    count = 400_000
    arrival_s = np.cumsum(rng.exponential(1 / 7.0, count))
    simulator = Simulator.of(
        Work(source="test", arrival_s=arrival_s, service_s=rng.exponential(1.0, count))
    )
    check = formulas(simulator, 10)
    assert check.agrees
    assert "they agree" in check.verdict
    assert (check.arrival_scv, check.service_scv) == pytest.approx((1, 1), abs=0.02)
    target = parse_target("p99=4.8s")
    assert servers_by_formula(simulator.work, target) == size(simulator, target).servers_least


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=40),
    st.lists(st.floats(0.01, 9), min_size=40, max_size=40),
    st.sampled_from(["mean", "p50", "p95", "p99"]),
    st.floats(0.05, 12),
)
def test_the_least_is_the_least_of_all_that_brute_force_tries(
    gap: list[float], service: list[float], metric: str, limit_s: float
) -> None:
    work = work_of(np.cumsum(gap).tolist(), service[: len(gap)])
    simulator, target = Simulator.of(work), Target(metric=metric, limit_s=limit_s)
    found = size(simulator, target)
    holding = [c for c in range(1, 42) if target.holds(simulator.sojourns_s(c))]
    assert found.servers_least == (holding[0] if holding else None)
    assert found.impossible == (not holding)
    if found.value_s_one_less is not None:
        assert found.value_s_one_less > limit_s >= found.value_s


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=40),
    st.lists(st.floats(0.01, 9), min_size=40, max_size=40),
)
def test_nobody_waits_with_as_many_servers_as_are_ever_busy(
    gap: list[float], service: list[float]
) -> None:
    work = work_of(np.cumsum(gap).tolist(), service[: len(gap)])
    simulator, enough = Simulator.of(work), concurrent_max(work)
    assert not simulator.waits_s(enough).any()
    assert enough == 1 or simulator.waits_s(enough - 1).any()


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=40),
    st.lists(st.floats(0.01, 9), min_size=40, max_size=40),
    st.integers(1, 5),
    st.floats(1, 5),
)
def test_more_load_never_waits_less(
    gap: list[float], service: list[float], servers: int, factor: float
) -> None:
    work = work_of(np.cumsum(gap).tolist(), service[: len(gap)])
    calm = Simulator.of(work).waits_s(servers)
    busy = Simulator.of(work.faster(factor)).waits_s(servers)
    assert (busy >= calm - 1e-9).all()


def test_the_load_that_flips_the_advice_flips_it() -> None:
    work, _ = read_work(Source(trace=EXAMPLE), Expression(SERVICE))
    target = parse_target("p99=15s")
    assert size(Simulator.of(work), target).servers_least == 32
    more = load_to_flip(lambda share: too_much(work, [target], 32, share))
    assert more is not None
    assert 0 < more < 0.1
    flipped = size(Simulator.of(work.faster(1 + more)), target).servers_least
    assert flipped is not None
    assert flipped > 32
    kept = size(Simulator.of(work.faster(1 + more - 0.001)), target).servers_least
    assert kept == 32


def test_a_choice_that_no_load_turns_round_has_no_flip() -> None:
    assert load_to_flip(lambda _: False) is None


def test_regret_counts_what_hindsight_would_have_taken() -> None:
    inputs = assumptions("capacity", settings=["shortfall_cost_ratio=3", "judged_ratio=0.25"])

    def needs(first: int, last: int) -> list[int | None]:
        return [10, 4, None] if first == 0 else [8, 6, 5]

    (spare, _), (short, _), (none, why) = judged(
        4000, needs, what="servers", inputs=inputs, things=3
    )
    assert spare is not None
    assert (spare.chosen, spare.best, spare.ratio) == ("10 servers", "8 servers", 0.25)
    assert short is not None  # 4 and two missing ones at 3 each, where 6 would have done
    assert (short.chosen_cost, short.best_cost) == (10.0, 6.0)
    assert short.unseen == "the last 1000 of 4000 requests"
    assert none is None
    assert "no number" in why
    assert judged(300, needs, what="servers", inputs=inputs, things=3)[2][0] is None


def test_counts_of_a_steady_clock_and_of_bursts() -> None:
    assert dispersion(np.arange(1000.0), 10.0) == 0.0
    assert dispersion(np.repeat(np.arange(0, 1000.0, 100), 100), 10.0) > 50
    assert scv(np.ones(5)) == scv(np.array([])) == 0.0


@pytest.mark.parametrize(
    ("text", "metric", "limit_s"),
    [("p99=15s", "p99", 15), ("mean=200ms", "mean", 0.2), (" p50 <= 2 min ", "p50", 120)],
)
def test_a_target_is_a_metric_and_a_duration(text: str, metric: str, limit_s: float) -> None:
    assert parse_target(text) == Target(metric=metric, limit_s=limit_s)


@pytest.mark.parametrize(
    "text", ["", "p99", "p99=", "p99=15", "p98=1s", "p99=0s", "p99=1kW", "=1s"]
)
def test_what_is_not_a_target_is_refused(text: str) -> None:
    with pytest.raises(TargetError):
        parse_target(text)


def test_a_range_of_servers_is_bounded() -> None:
    assert parse_range("3..5") == range(3, 6)
    assert parse_range("7") == range(7, 8)
    for text in ("0..3", "5..3", "a..b", "1..", "1..5000", "1..2..3", "-1"):
        with pytest.raises(CapacityError):
            parse_range(text)


def trace(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ("arrival_s,n\n0,1\n2,1\n1,1\n", ":4: column arrival_s: 1 after 2"),
        ("arrival_s,n\n-1,1\n", ":2: column arrival_s: '-1'"),
        ("arrival_s,n\n0,1\nnan,1\n", ":3: column arrival_s: 'nan'"),
        ("arrival_s,n\n0,1\n1,\n", ":3: column n: an empty cell"),
        ("arrival_s,n\n0,1\n1,x\n", ":3: column n: 'x'"),
        ("arrival_s,n\n0,1\n1,-1\n", ":3: the service time n is -1 s"),
        ("arrival_s,n\n0,1\n1,0\n", ":3: the service time n is 0 s"),
        ("arrival_s,n\n", "no row"),
        ("", "an empty file"),
        ("arrival_s,m\n0,1\n", "column n: the file has arrival_s, m"),
        ("time,n\n0,1\n", "column arrival_s: the file has time, n"),
        ("arrival_s,n\n2024-01-01T00:00:00Z,1\n5,1\n", ":3: column arrival_s: '5'"),
        ("arrival_s,n\n2024-01-01T00:00:00,1\n", "without an offset"),
    ],
)
def test_a_bad_trace_is_named_by_row_and_column(tmp_path: Path, rows: str, place: str) -> None:
    with pytest.raises(ColumnError) as caught:
        read_work(Source(trace=trace(tmp_path, rows)), Expression("n"))
    assert place in str(caught.value)


def test_timestamps_are_seconds_from_the_first(tmp_path: Path) -> None:
    rows = "at,n\n2024-01-01T00:00:00Z,1\n2024-01-01T01:00:01.5+01:00,1\n"
    work, _ = read_work(Source(trace=trace(tmp_path, rows), arrival="at"), Expression("n"))
    assert work.arrival_s.tolist() == [0.0, 1.5]
    assert work.start_unix_s == 1_704_067_200
    rows = "at,n\n2023-11-16 18:15:46.6805900,1\n2023-11-16 18:15:50.9951690,1\n"
    work, _ = read_work(
        Source(trace=trace(tmp_path, rows), arrival="at", zone="UTC"), Expression("2")
    )
    assert work.arrival_s == pytest.approx([0, 4.314579], abs=1e-6)


def test_parquet_and_json_are_read_as_csv_is(tmp_path: Path) -> None:
    import polars

    frame = polars.read_csv(EXAMPLE)
    at = polars.datetime(2026, 1, 1, time_zone="UTC") + polars.duration(
        microseconds=(polars.col("arrival_s") * 1e6).round().cast(int)
    )
    frame.with_columns(at=at).write_parquet(tmp_path / "trace.parquet")
    (tmp_path / "trace.json").write_text(json.dumps(frame.to_dicts()))
    wanted, _ = read_work(Source(trace=EXAMPLE), Expression(SERVICE))
    for name, arrival in (("parquet", "arrival_s"), ("parquet", "at"), ("json", "arrival_s")):
        source = Source(trace=tmp_path / f"trace.{name}", arrival=arrival)
        found, _ = read_work(source, Expression(SERVICE))
        assert found.arrival_s == pytest.approx(wanted.arrival_s, abs=1e-6)
        assert (found.service_s == wanted.service_s).all()
        assert (found.start_unix_s is not None) == (arrival == "at")


def capacity(*words: str) -> int:
    return run(["plan", "capacity", "--trace", str(EXAMPLE), "--service", SERVICE, *words])


def test_json_has_every_figure_at_the_top(capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity("--target", "p99=15s", "--servers", "31..32", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["servers_least"] == 32
    assert [row["servers"] for row in found["servers"]] == [31, 32]
    assert found["servers"][0]["sojourn_s_p99"] > 15 >= found["servers"][1]["sojourn_s_p99"]
    assert found["targets"][0]["value_s_one_less"] > 15
    assert found["answer"] == "yes"
    assert found["advice"][0]["regret"]["unit"] == "server costs"


def test_the_table_and_the_page_answer_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert capacity("--target", "p99=15s", "--target", "p95=5s", "--report", str(page)) == 0
    out, err = capsys.readouterr()
    assert out.startswith("no: 4,000 requests")
    assert "p95=5s is impossible" in out
    assert "it wins if the same requests come" in err
    assert "<svg" in page.read_text()


def test_nothing_asked_and_a_bad_target_end_with_exit_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert capacity() == 2
    assert "error[E0922]" in capsys.readouterr().err
    assert capacity("--target", "p97=1s") == 2
    assert "error[E0921]" in capsys.readouterr().err


def test_a_run_s_service_time_stands_in_for_the_expression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    p95 = {"value": 500, "low": 500, "high": 500, "level": "measured", "source": "test"}
    goal = {"name": "latency_ms_p95", "goal": None, "measured": {**p95, "at_unix_s": 1}}
    document = {"at_unix_s": 1, "service_ms": {"magika": 250}, "goals": [goal]}
    path.write_text(json.dumps(document))
    words = ["plan", "capacity", "--trace", str(EXAMPLE), "--from-run", str(path), "--json"]
    assert run([*words, "--model", "magika", "--target", "p99=1s"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["service_s_mean"] == 0.25
    assert found["prediction_error_ratio"]["latency_ms_p95"] == pytest.approx(
        found["goals"][0]["predicted"]["value"] / 500 - 1
    )
    for wrong in (["--model", "none"], ["--service", "1", "--model", "magika"]):
        assert run([*words, *wrong, "--target", "p99=1s"]) == 2
    assert run(["plan", "capacity", "--trace", str(EXAMPLE), "--target", "p99=1s"]) == 2
    assert run(["plan", "capacity", "--trace", str(EXAMPLE), "--service", "1", "--write"]) == 2


def console(page: Path) -> list[list[str]]:
    """Return the commands of a page's console blocks."""
    text = page.read_text().replace("\\\n", " ")
    return [shlex.split(line[2:]) for line in text.splitlines() if line.startswith("$ skerry")]


def test_every_command_of_the_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLE.parent)
    commands = console(EXAMPLE.parent / "README.md")
    assert len(commands) == 5
    for words in commands:
        assert run(words[1:]) == 0, words
    first = capsys.readouterr().out.splitlines()[0]
    how_to = EXAMPLE.parents[3] / "docs" / "how-to" / "size-capacity.md"
    assert first in how_to.read_text()


def test_headroom_hours_and_autoscaling_are_in_one_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("--headroom", "lose-site", "--sites", "4", "--profile", "hourly", "--autoscale")
    short = ("--set", "site_repair_s=120")
    assert capacity("--target", "p99=15s", *words, *short, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["headroom"]["servers"] == 43
    assert found["advice"][0]["choice"] == "43 servers"
    assert [row["servers"] for row in found["profile"]["hours"]] == [32]
    assert found["autoscaled"]["used_ratio"] is not None
    names = {row["name"] for row in found["assumptions"]}
    assert {"site_repair_s", "startup_s", "shortfall_cost_ratio"} <= names
    assert capacity("--target", "p99=15s", *words, *short) == 0
    out = capsys.readouterr().out
    assert "When servers fail: lose-site" in out
    assert "Servers by the hour" in out
    assert capacity("--servers", "3", "--autoscale") == 2
    assert capacity("--target", "p99=15s", "--headroom", "lose-site") == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("rows", "least"), [("0,1\n", 1), ("0,1\n0,2\n0,3\n", 3)])
def test_requests_that_come_at_once_are_sized_without_a_rate(
    tmp_path: Path, rows: str, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trace(tmp_path, f"arrival_s,n\n{rows}")
    words = ["plan", "capacity", "--trace", str(path), "--service", "n", "--target", "p99=3s"]
    assert run([*words, "--headroom", "n+1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["load_erlang"] is None
    assert found["servers_least"] == least
    assert "at once" in " ".join(found["notes"])
    assert run([*words, "--autoscale"]) == run([*words, "--profile", "hourly"]) == 2
    assert "no time for servers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--autoscale", "--set", "decide_every_s=0"), "decide_every_s is 0, wanted 0.1"),
        (("--autoscale", "--set", "decide_window_s=-1"), "decide_window_s is -1"),
        (("--headroom", "lose-node", "--set", "node_repair_s=0"), "node_repair_s is 0"),
        (("--set", "judged_ratio=1"), "judged_ratio is 1"),
        (("--set", "startup=1"), "is not an input of this plan"),
    ],
)
def test_assumptions_that_no_simulation_can_take_are_refused(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capacity("--target", "p99=15s", *words) == 2
    assert said in capsys.readouterr().err


def test_every_assumption_of_capacity_is_bounded() -> None:
    rows = shipped("capacity")
    assert {row.name for row in rows} == set(BOUNDS)
    for row in rows:
        low, high = BOUNDS[row.name]
        assert low <= row.low <= row.high <= high
