"""Is it worth it: the answer follows the money, and unknown is an answer of its own."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.cli.main import run
from skerry.fleet.load import load_fleet
from skerry.fleet.tables import machine_types
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.worth.answer import TABLE, weigh, worth
from skerry.plan.worth.cloud_bill import Kind
from skerry.plan.worth.costs import Inputs, costs
from skerry.plan.worth.demand import Demand, demand_of
from skerry.plan.worth.ranges import how_to_measure
from skerry.plan.worth.usage import Usage, read_usage
from skerry.schema.goal import GoalName
from skerry.schema.plan_report import Answer, PlanReport

EXAMPLES = Path(__file__).parents[2] / "examples"
MONTHS = 30.4375


def bill(tmp_path: Path, *rows: tuple[str, str, str, float], name: str = "bill.csv") -> Path:
    """Write a FOCUS bill of (month, service, category, USD)."""
    lines = ["BillingCurrency,EffectiveCost,ChargePeriodStart,ChargePeriodEnd,ServiceName"]
    lines[0] += ",ServiceCategory"
    for month, service, category, usd in rows:
        begins = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
        ends = (begins + timedelta(days=31)).replace(day=1)
        lines.append(f"USD,{usd},{begins.isoformat()},{ends.isoformat()},{service},{category}")
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def of_compute(tmp_path: Path, usd: float) -> PlanReport:
    return worth(bill(tmp_path, ("2026-01", "Amazon EC2", "Compute", usd)))


def test_a_large_bill_says_yes_a_small_one_no_and_between_them_nobody_knows(
    tmp_path: Path,
) -> None:
    answers = [of_compute(tmp_path, usd).answer for usd in (40_000, 900, 100)]
    assert answers == [Answer.YES, Answer.UNKNOWN, Answer.NO]


def test_an_unknown_straddles_zero_and_says_what_to_measure(tmp_path: Path) -> None:
    report = of_compute(tmp_path, 900)
    low, high = (report.figures[f"saving_usd_per_month_{end}"] for end in ("low", "high"))
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low < 0 < high
    names = [one.name for one in _matter(report)]
    assert len(names) == 3
    assert all(name in report.lead for name in names)
    assert all(one.measure for one in _matter(report))


def _matter(report: PlanReport) -> list[object]:
    found = report.figures["inputs_that_matter"]
    assert isinstance(found, tuple)
    return list(found)


def test_a_bill_without_compute_has_nothing_that_could_move(tmp_path: Path) -> None:
    report = worth(bill(tmp_path, ("2026-01", "Amazon S3", "Storage", 5000.0)))
    assert report.answer is Answer.NO
    assert any("nothing could move" in note for note in report.notes)


@pytest.mark.parametrize("usd", [100, 900, 40_000])
def test_the_flip_flips_when_it_is_applied(tmp_path: Path, usd: float) -> None:
    """The break-even load, a little beyond it, makes the other way the cheaper one."""
    report = of_compute(tmp_path, usd)
    advice = report.advice[0]
    load = report.figures["break_even_load_ratio"]
    assert isinstance(load, float)
    assert f"{load:.3g} times" in advice.flip
    beyond = load * (0.9 if "falls below" in advice.flip else 1.1)
    again = of_compute(tmp_path, usd * beyond)
    assert again.advice[0].choice == advice.runner_up


def test_the_regret_is_judged_on_months_that_the_choice_did_not_see(tmp_path: Path) -> None:
    fell = [("2026-01", 40_000.0), ("2026-02", 40_000.0), ("2026-03", 50.0), ("2026-04", 50.0)]
    rows = [(month, "Amazon EC2", "Compute", usd) for month, usd in fell]
    judged = worth(bill(tmp_path, *rows)).advice[0].regret
    assert judged is not None
    assert (judged.chosen, judged.best) == ("own sites", "the cloud")
    assert judged.ratio > 0
    assert "2026-03 to 2026-04" in judged.unseen


def one_draw(table: Assumptions, **changed: float) -> Inputs:
    return {name: np.full((1, 1), changed.get(name, table[name])) for name in table}


def test_a_case_by_hand() -> None:
    """One request a second of 60 ms each, peak 5: 0.06 and 0.3 vCPU, two mini PCs.

    At no cost of capital, 550 USD a machine over its 5 years that are the horizon, sold for
    a tenth: 2 * 550 * 0.9 / 60 = 16.5 USD a month; 24 h * 60 USD / 60 months = 24.
    """
    table = assumptions(TABLE)
    demand = Demand(span_s=1e6, requests_per_s=1.0, took_s=0.1, sent_bytes=1024.0, peak_ratio=5.0)
    found = costs(demand, one_draw(table, cost_of_capital_ratio=0.0))
    own = {name: float(usd[0]) for name, usd in found.own.items()}
    assert found.nodes.tolist() == [2]
    assert own["machines"] == pytest.approx(16.5)
    assert own["set-up"] == pytest.approx(24.0)
    assert own["people"] == pytest.approx(120.0)
    assert own["room and link"] == pytest.approx(60.0)
    assert own["visits"] == pytest.approx(2 * 0.3 / 12 * 250)
    load = 0.06 / 6 / 2
    power_w = 2 * (8 + 37 * (2 * load - load**1.4))
    assert own["energy"] == pytest.approx(power_w * 1.5 * 730.5 / 1000 * 0.2)
    cloud = {name: float(usd[0]) for name, usd in found.cloud.items()}
    assert cloud["compute"] == pytest.approx(2 * 0.0425 * 730.5)
    assert cloud["egress"] == 0  # 2.5 GB are under the first step
    assert own["stays in the cloud"] == pytest.approx(0.05 * cloud["compute"])
    assert found.upfront_usd.tolist() == [1100 + 24 * 60]


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 1e5), st.floats(1.0, 10.0), st.integers(0, 10**6))
def test_more_load_never_costs_less_on_either_side(rate: float, more: float, seed: int) -> None:
    table = assumptions(TABLE)
    rng = np.random.default_rng(seed)
    drawn = {name: rng.uniform(table.row(name).low, table.row(name).high) for name in table}
    few, many = (
        costs(
            Demand(span_s=1e6, requests_per_s=one, took_s=0.05, sent_bytes=1e4, peak_ratio=3.0),
            one_draw(table, **drawn),
        )
        for one in (rate, rate * more)
    )
    assert many.cloud_usd[0] >= few.cloud_usd[0] * (1 - 1e-12)
    assert many.own_usd[0] >= few.own_usd[0] * (1 - 1e-12)


def test_parts_add_up_and_the_stack_shows_them(tmp_path: Path) -> None:
    table = assumptions(TABLE)
    path = bill(tmp_path, ("2026-01", "Amazon EC2", "Compute", 900.0))
    found = weigh(read_usage(path), table, seed=7)
    parts = sum(float(one[0]) for one in found.values.own.values())
    assert parts == pytest.approx(float(found.values.own_usd[0]))
    assert found.saving_usd.low <= found.saving_usd.value <= found.saving_usd.high


def test_every_input_says_how_to_measure_it_and_machines_are_those_of_the_fleet() -> None:
    table = assumptions(TABLE)
    assert set(how_to_measure()) == set(table)
    for name, kind in (("node", "mini-pc"), ("accelerator", "l4-server")):
        machine = machine_types()[kind]
        stated = [table[f"{name}_{field}"] for field in ("idle_w", "busy_w", "price_usd")]
        assert stated == [machine.idle_w, machine.busy_w, machine.price_usd]


def log(tmp_path: Path, times_s: list[float], took_s: float = 0.05) -> Path:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    path = tmp_path / "access.log"
    lines = [
        f'10.0.0.9 - - [{start + timedelta(seconds=at):%d/%b/%Y:%H:%M:%S} +0000] "GET / HTTP/1.1"'
        f' 200 1000 "-" "curl" {took_s:.3f}'
        for at in times_s
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rate_and_peak_of_a_log(tmp_path: Path) -> None:
    """Ten minutes at one request in 10 s, with one minute of sixty."""
    path = log(tmp_path, [*range(0, 600, 10), *range(300, 360)])
    demand = demand_of(read_usage(path))
    assert demand.requests_per_s == pytest.approx(120 / (590 * 120 / 119))
    assert demand.peak_ratio == pytest.approx(66 / (120 / (590 / 60)))
    assert demand.took_s == pytest.approx(0.05)


def test_one_request_gives_no_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worth", str(log(tmp_path, [5.0]))]) == 3
    assert "error[E0942]" in capsys.readouterr().err


def test_a_trace_of_a_language_model_is_weighed_on_accelerators(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    rows = [f"{at},400,100" for at in range(0, 600, 2)]
    path.write_text("\n".join(["arrival_s,context_tokens,generated_tokens", *rows]))
    usage = read_usage(path)
    table = assumptions(TABLE)
    found = costs(demand_of(usage), one_draw(table))
    assert found.own["machines"][0] > 200  # two servers of 12,000 USD
    assert "accelerators" in found.cloud


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("arrival_s\n1\n0\n", "trace.csv:3: column arrival_s"),
        ("arrival_s\n-1\n", "trace.csv:2: column arrival_s"),
        ("arrival_s\nnan\n", "trace.csv:2: column arrival_s"),
        ("when,what\n1,2\n", "the columns 'when, what'"),
        ("", "an empty file"),
    ],
)
def test_a_bad_trace_is_refused_by_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, what: str
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    assert run(["worth", str(path)]) == 3
    assert what in capsys.readouterr().err


def test_a_run_replaces_the_service_time_and_its_errors_are_printed(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s\n" + "\n".join(str(at) for at in range(0, 6000, 2)))
    before = worth(path)
    cost = next(one for one in before.goals if one.name is GoalName.COST_USD_PER_1K)
    assert cost.predicted is not None
    measured = {
        "value": cost.predicted.value / 2, "low": 0, "high": 1, "level": "measured",
        "source": "run", "at_unix_s": 0,
    }  # fmt: skip
    figures = {
        "at_unix_s": 0,
        "service_ms": {"m": 8.0},
        "goals": [{"name": "cost_usd_per_1k", "goal": None, "measured": measured}],
    }
    (tmp_path / "run.json").write_text(json.dumps(figures))
    from skerry.plan.from_run import read_run

    after = worth(path, run=read_run(tmp_path / "run.json"))
    assert after.prediction_error_ratio["cost_usd_per_1k"] == pytest.approx(1.0, abs=0.1)
    assert not any(one.name == "service_ms" for one in after.assumptions)  # it has no range now


def test_the_cost_to_beat_goes_into_the_fleet_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text((EXAMPLES / "clinic" / "fleet.yaml").read_text())
    path = log(tmp_path, [float(at) for at in range(0, 6000, 5)])
    assert run(["worth", str(path), "-f", str(fleet), "--write", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    wanted = float(printed["changes"]["goals.cost_per_1k"].split()[0])
    assert load_fleet(fleet).goals[GoalName.COST_USD_PER_1K] == pytest.approx(wanted)
    assert printed["written_lines"]


def test_the_same_seed_gives_the_same_answer_and_a_setting_is_heard(tmp_path: Path) -> None:
    path = bill(tmp_path, ("2026-01", "Amazon EC2", "Compute", 900.0))
    assert worth(path).figures == worth(path).figures
    assert worth(path, seed=8).figures != worth(path).figures
    cheap = worth(path, settings=("ops_hours_per_month=0", "site_usd_per_month=0"))
    assert cheap.answer is Answer.YES


def test_a_bill_names_no_requests(tmp_path: Path) -> None:
    usage = Usage(path="x", recognised="", bill=None)
    assert usage.requests is None
    report = of_compute(tmp_path, 900)
    assert report.goals == ()
    assert Kind.COMPUTE in (report.figures["billed_usd_per_month"] or {})  # type: ignore[operator]


def test_a_packed_table_is_told_to_be_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bill.csv.gz"
    path.write_bytes(b"\x1f\x8b")
    assert run(["worth", str(path)]) == 3
    assert "gunzip -k bill.csv.gz" in capsys.readouterr().err


def test_the_whole_language_model_trace(shared: Path) -> None:
    """An hour of 19,366 requests: 24.9 answers under way on average, and one accelerator in use.

    24.906 is the offered load that 0.05 + 0.0002 context + 0.02 generated tokens give; the
    0.05 s of each request is no token's time.
    """
    path = shared / "llm-request-trace" / "azure_llm_2023_conv.csv"
    table = assumptions(TABLE)
    usage = read_usage(path)
    demand = demand_of(usage)
    tokens_s = demand.context_tokens * 0.0002 + demand.generated_tokens * 0.02
    # A rate here counts the gap after the last request too.
    offered = demand.requests_per_s * (0.05 + tokens_s)
    assert offered == pytest.approx(24.906, rel=1e-3)
    assert len(usage.requests or ()) == 19_366
    # 24.6 answers over 64 streams, times the peak, over 0.6: one server, and one that is spare.
    assert demand.peak_ratio * tokens_s * demand.requests_per_s / 64 / 0.6 < 1
    assert costs(demand, one_draw(table)).nodes.tolist() == [2]


def test_measured_work_takes_the_place_of_a_logs_durations(tmp_path: Path) -> None:
    """Durations of 2 s hold waits; the run says that 8 ms of them are work."""
    from skerry.schema.run_figures import RunFigures

    path = log(tmp_path, [float(at) for at in range(3000)], took_s=2.0)
    before = worth(path)
    after = worth(path, run=RunFigures(at_unix_s=0, service_ms={"m": 8.0}))
    ours, theirs = after.figures["own_usd_per_month"], before.figures["own_usd_per_month"]
    assert isinstance(ours, float)
    assert isinstance(theirs, float)
    assert ours < theirs
    assert any("take the place" in note for note in after.notes)
