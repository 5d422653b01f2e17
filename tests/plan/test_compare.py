"""The four-tier table: every cell from stated facts, flags where it differs from what is usual."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from skerry.cli.main import run
from skerry.fleet.load import load_fleet
from skerry.plan.assumptions import assumptions
from skerry.plan.services import services_s
from skerry.plan.tiers.compare import Row, compare, flip_of, ranked, runner_up, usual
from skerry.plan.tiers.compare_report import compare_report
from skerry.plan.tiers.trial import Level, answers, halves, place_from
from skerry.plan.trace import Trace, story_trace
from skerry.schema.fleet import Fleet, Kind
from skerry.schema.fleet_edit import with_values
from skerry.schema.goal import GoalName
from skerry.schema.policy import Residency, Stays

CLINIC = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


def rows_of(fleet: Fleet, trace: Trace, *settings: str) -> dict[str, Row]:
    table = assumptions("compare", settings=settings)
    rows = compare(fleet, trace, table, services_s=services_s(fleet), seed=7)
    return {row.name: row for row in rows}


@pytest.fixture(scope="module")
def clinic() -> Fleet:
    return load_fleet(CLINIC)


@pytest.fixture(scope="module")
def trace(clinic: Fleet) -> Trace:
    return story_trace(clinic, requests=1500, seed=7)


@pytest.fixture(scope="module")
def rows(clinic: Fleet, trace: Trace) -> dict[str, Row]:
    return rows_of(clinic, trace)


def test_latency_is_made_of_its_parts(clinic: Fleet, rows: dict[str, Row]) -> None:
    """Nobody waits at this load, so the mean is the sum of the means, within the jitter's luck."""
    for row in rows.values():
        parts = {one.name: one.value for one in row.cells["latency"].inputs}
        whole = parts.pop("all together, mean")
        named = [parts[f"{name}, mean"] for name in ("round trip", "jitter", "sending", "run")]
        assert whole == pytest.approx(sum(float(one or 0) for one in named) + 0.3, rel=0.03)
    assert rows["edge"].cells["latency"].inputs[0].value == 0
    assert (rows["hyperscale"].cells["latency"].value or 0) > 40


def test_cost_by_hand(clinic: Fleet, rows: dict[str, Row]) -> None:
    """Edge: 4 machines of 550 USD over 5 years, 3 closets at 40 USD a month, for the span."""
    row = rows["edge"]
    months = row.trial.run.span_s / (365.25 * 86_400 / 12)
    machines, energy, room = (line.usd for line in row.bill.lines)
    assert machines == pytest.approx(4 * 550 / 60 * months)
    assert room == pytest.approx(3 * 40 * months)
    in_time = int((row.trial.run.latencies_ms <= 50).sum())
    assert row.cost_usd_per_1k == pytest.approx((machines + energy + room) / in_time * 1000)


def test_pue_is_the_files_and_the_usual_one_where_the_file_has_no_such_tier(
    rows: dict[str, Row],
) -> None:
    values = {name: row.cells["pue"].value for name, row in rows.items()}
    assert values == pytest.approx(
        {"hyperscale": 1.15, "regional": 1.3, "edge": 1.1, "onprem": 1.8}
    )
    assert [row.setting.usual for row in rows.values()] == [False, False, False, True]


def test_privacy_asks_the_production_rules(clinic: Fleet, trace: Trace) -> None:
    free = msgspec.structs.replace(
        clinic, data_classes=dict.fromkeys(clinic.data_classes, Residency(stays=Stays.ANYWHERE))
    )
    before, after = rows_of(clinic, trace), rows_of(free, trace)
    health = trace.data_classes.index("health")
    share = float((trace.data_class != health).mean())
    regional = before["regional"]
    assert regional.journeys.allowed / regional.trial.sent == pytest.approx(share)
    assert regional.journeys.barred == ("health",)
    assert after["hyperscale"].journeys.allowed == len(trace)
    assert before["edge"].cells["privacy"].value == 1
    german = np.isin(trace.site, [trace.sites.index("hamburg")])
    assert regional.journeys.at_home == int(german.sum())


def test_flags_stand_where_a_figure_is_out_of_its_usual_range(rows: dict[str, Row]) -> None:
    words = {f"{one.tier}.{one.figure}": one.word for one in usual(tuple(rows.values()))}
    assert words["edge.pue_ratio"] == "below"  # 1.1, usual 1.5 to 2.5
    assert words["onprem.pue_ratio"] == "agrees"
    assert words["edge.latency_ms_p50"] == "agrees"
    ranges = {(one.tier, one.figure): (one.low, one.high) for one in usual(tuple(rows.values()))}
    assert ranges["hyperscale", "latency_ms_p50"] == (50, 200)
    assert ranges["regional", "latency_ms_p50"] == (20, 80)
    assert ranges["edge", "pue_ratio"] == (1.5, 2.5)
    assert ranges["onprem", "pue_ratio"] == (1.6, 3.0)


def test_a_file_of_one_tier_gets_the_others_from_usual_figures(fleet: Fleet) -> None:
    """A fleet of on-prem rooms alone: three rows are usual, and a setting changes one of them."""
    sites = tuple(
        msgspec.structs.replace(site, kind=Kind.ONPREM, region="oslo")
        for site in fleet.sites
        if site.name in ("oslo", "hamburg")
    )
    tiers = {"closet": msgspec.structs.replace(fleet.tiers["closet"], kind=Kind.ONPREM)}
    lone = msgspec.structs.replace(fleet, sites=sites, tiers=tiers, links=())
    trace = story_trace(lone, requests=200, seed=1)
    rows = rows_of(lone, trace, "regional_round_trip_ms=60")
    assert {name for name, row in rows.items() if row.setting.usual} == {
        "hyperscale",
        "regional",
        "edge",
    }
    assert all(row.trial.answered_ratio == 1 for row in rows.values())
    assert (rows["regional"].cells["latency"].value or 0) > 60


def flipped(tmp_path: Path, values: dict[str, str]) -> Fleet:
    """Apply a flip as a user would: to the file's text."""
    path = tmp_path / "fleet.yaml"
    path.write_text(with_values(CLINIC.read_text(), values))
    return load_fleet(path)


@pytest.mark.parametrize("onprem_usd", [150.0, 0.0])
def test_the_flip_flips_when_it_is_applied_to_the_file(
    tmp_path: Path, clinic: Fleet, trace: Trace, onprem_usd: float
) -> None:
    setting = f"onprem_usd_per_month={onprem_usd}"
    rows = tuple(rows_of(clinic, trace, setting).values())
    flip = flip_of(clinic, rows)
    assert flip is not None
    after = tuple(rows_of(flipped(tmp_path, flip.values), trace, setting).values())
    assert ranked(after)[0].name == runner_up(rows) != ranked(rows)[0].name


@pytest.mark.parametrize("onprem_usd", [150.0, 0.0])
def test_a_price_a_cent_nearer_than_the_flip_does_not_flip(
    tmp_path: Path, clinic: Fleet, trace: Trace, onprem_usd: float
) -> None:
    setting = f"onprem_usd_per_month={onprem_usd}"
    rows = tuple(rows_of(clinic, trace, setting).values())
    flip = flip_of(clinic, rows)
    assert flip is not None
    ((path, text),) = flip.values.items()
    tier = path.split(".")[1]
    usd = float(text.removesuffix(" USD"))
    nearer = usd + (0.01 if usd < clinic.tiers[tier].usd_per_month else -0.01)
    after = rows_of(flipped(tmp_path, {path: f"{nearer:.2f} USD"}), trace, setting)
    assert ranked(tuple(after.values()))[0].name == ranked(rows)[0].name


def test_where_one_tier_alone_may_the_flip_frees_the_next(
    tmp_path: Path, clinic: Fleet, trace: Trace
) -> None:
    """With on-prem out of the table, the cloud is next: data must travel, and the goal give."""
    rows = tuple(row for name, row in rows_of(clinic, trace).items() if name != "onprem")
    assert [row.name for row in ranked(rows)] == ["edge"]
    flip = flip_of(clinic, rows)
    assert flip is not None
    assert "data may go anywhere" in flip.text
    after = rows_of(flipped(tmp_path, flip.values), trace)
    kept = tuple(row for name, row in after.items() if name != "onprem")
    assert ranked(kept)[0].name == runner_up(rows)


def test_halves_share_a_trace(trace: Trace) -> None:
    first, second = halves(trace)
    assert len(first) + len(second) == len(trace)
    assert first.span_s + second.span_s == pytest.approx(trace.span_s)
    assert second.arrival_s[0] >= 0
    assert second.arrival_s[-1] <= second.span_s


def test_a_model_is_placed_with_the_fallbacks_that_some_class_may_use(
    clinic: Fleet, trace: Trace
) -> None:
    assert place_from(clinic, trace, "magika", Level.LOCAL) == ("closet", "room", "cloud")
    assert place_from(clinic, trace, "magika", Level.CLOUD) == ("cloud",)
    stays = msgspec.structs.replace(
        clinic, data_classes=dict.fromkeys(clinic.data_classes, Residency(stays=Stays.SITE))
    )
    assert place_from(stays, trace, "magika", Level.LOCAL) == ("closet",)
    oslo = clinic.site("oslo")
    assert answers(oslo, (), Level.CLOUD) is None


def test_explain_shows_the_inputs_of_a_cell(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["plan", "compare", "-f", str(CLINIC), "--requests", "300", "--explain"]
    assert run([*ask, "edge.cost"]) == 0
    out = capsys.readouterr().out
    assert "edge.cost = " in out
    assert "machines" in out
    assert "hyperscale" not in out
    assert run([*ask, "edge.colour"]) == 2
    assert "there is no cell 'edge.colour'" in capsys.readouterr().err


def test_json_has_every_cell_with_its_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "compare", "-f", str(CLINIC), "--requests", "300", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["tiers"]) == {"hyperscale", "regional", "edge", "onprem"}
    for tier in found["tiers"].values():
        assert {"latency_ms_p50", "cost_usd_per_1k", "pue_ratio", "scaling_s"} <= set(tier)
        assert all(cell["inputs"] and cell["formula"] for cell in tier["cells"].values())
    assert "edge.pue_ratio" in found["disagreements"]
    assert found["advice"][0]["regret"]["ratio"] >= 0


def test_write_places_the_models_on_the_advised_tier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copy(CLINIC, tmp_path / "fleet.yaml"))
    text = path.read_text().replace("place: [closet, room, cloud]", "place: [room, cloud]")
    path.write_text(text)
    assert run(["plan", "compare", "-f", str(path), "--requests", "300", "--write"]) == 0
    assert "+    place: [closet, room, cloud]" in capsys.readouterr().err
    assert load_fleet(path).models[0].tiers == ("closet", "room", "cloud")


def test_a_run_replaces_service_times_and_shows_its_errors(clinic: Fleet, trace: Trace) -> None:
    from skerry.schema.goal import Figure, GoalRecord
    from skerry.schema.goal import Level as Strength
    from skerry.schema.run_figures import RunFigures

    p95 = Figure(value=20.0, low=19, high=21, level=Strength.MEASURED, source="run", at_unix_s=0)
    goal = GoalRecord(name=GoalName.LATENCY_MS_P95, goal=None, measured=p95)
    figures = RunFigures(at_unix_s=0, service_ms={"magika": 15.0}, goals=(goal,))
    report = compare_report(clinic, trace, run=figures)
    assert abs(report.prediction_error_ratio["latency_ms_p95"]) < 0.5
    tiers = report.figures["tiers"]
    assert isinstance(tiers, dict)
    assert tiers["edge"]["latency_ms_p50"] > 14


def test_a_dearer_tier_needs_a_price_beside_the_rule(
    tmp_path: Path, clinic: Fleet, trace: Trace
) -> None:
    """The room may not have health data and costs more: to free it alone flips nothing."""
    kept = ("edge", "regional")
    rows = tuple(row for name, row in rows_of(clinic, trace).items() if name in kept)
    flip = flip_of(clinic, rows)
    assert flip is not None
    assert "health data may go anywhere" in flip.text
    assert any(path.startswith("tiers.") for path in flip.values)
    after = rows_of(flipped(tmp_path, flip.values), trace)
    assert ranked(tuple(after[name] for name in kept))[0].name == "regional"
