"""Does local save energy here: yes, no and unknown, each from a fleet and a trace."""

import json
from pathlib import Path

import numpy as np
import pytest

from skerry.cli.main import run
from skerry.energy.machine_use import Use
from skerry.plan.assumptions import assumptions
from skerry.plan.energy.local import Terms, compared, halves, replayed, spent
from skerry.plan.errors import NothingToPlanError
from skerry.plan.services import services_s
from skerry.plan.trace import story_trace
from skerry.schema.fleet import Fleet, Kind

CLINIC = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


def local(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    line = ["plan", "local", "-f", str(CLINIC), "--requests", "400", "--json"]
    assert run([*line, *words]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_idle_machines_bought_for_a_small_load_save_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = local(capsys)
    assert found["answer"] == "no"
    assert found["difference_wh_per_1k_low"] > 0  # type: ignore[operator]
    (advice,) = found["advice"]  # type: ignore[misc]
    assert advice["choice"] == "answer in the cloud"
    assert advice["regret"]["unseen"] == "the day of seed 8"


def test_machines_that_are_on_anyway_can_save_against_an_empty_cloud(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--machines", "there", "--set", "cloud_fill_ratio=0.01..0.02..0.03"]
    found = local(capsys, *words)
    assert found["answer"] == "yes"
    assert found["difference_wh_per_1k_high"] < 0  # type: ignore[operator]


def test_what_hangs_on_assumptions_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    found = local(capsys, "--machines", "there")
    assert found["answer"] == "unknown"
    assert found["difference_wh_per_1k_low"] < 0 < found["difference_wh_per_1k_high"]  # type: ignore[operator]
    assert found["hangs_on"] == ["network_kwh_per_gb"]
    assert "advice" not in found


def test_cooling_is_in_every_site_s_energy(fleet: Fleet) -> None:
    """Four machines of 10 W idle at a PUE of 1.5, the cloud's one shared and without work."""
    trace = story_trace(fleet, requests=300, seed=7)
    pair = replayed(fleet, trace, services_s=services_s(fleet), seed=7)
    terms = Terms(fill=0.5, network_kwh_per_gb=0.001)
    found = spent(fleet, pair.local, terms, own=Use.DEDICATED, kinds=frozenset(Kind))
    assert found.idle_wh == pytest.approx(4 * 10 * 1.5 * trace.span_s / 3600)


def test_the_break_even_is_where_both_draw_the_same(fleet: Fleet) -> None:
    trace = story_trace(fleet, requests=300, seed=7)
    pair = replayed(fleet, trace, services_s=services_s(fleet), seed=7)
    inputs = assumptions("energy", "network", settings=["cloud_fill_ratio=0.01"])
    found = compared(fleet, [pair], inputs, own=Use.DEDICATED)
    even = found.break_even_per_day(trace.span_s)
    assert even is not None
    share = even / found.local.answered * trace.span_s / 86_400
    work = found.local.machines_wh + found.local.network_wh - found.local.idle_wh
    assert found.local.idle_wh + work * share == pytest.approx(
        found.cloud.wh_per_1k / 1000 * found.local.answered * share
    )


def test_halves_keep_every_request_and_start_at_0(fleet: Fleet) -> None:
    trace = story_trace(fleet, requests=300, seed=7)
    first, second = halves(trace)
    assert len(first) + len(second) == 300
    assert first.span_s == second.span_s == trace.span_s / 2
    assert second.arrival_s.min() >= 0
    assert second.arrival_s.max() <= second.span_s
    assert np.array_equal(np.concatenate([first.model, second.model]), trace.model)
    with pytest.raises(NothingToPlanError, match="one half"):
        halves(story_trace(fleet, requests=1, seed=7))


def test_a_trace_is_judged_on_its_second_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.csv"
    rows = [f"{n * 60},oslo,magika,health,8400" for n in range(200)]
    path.write_text("\n".join(["arrival_s,site,model,data_class,bytes", *rows]))
    found = local(capsys, "--trace", str(path))
    assert found["requests"] == 200
    (advice,) = found["advice"]  # type: ignore[misc]
    assert advice["regret"]["unseen"] == f"the second half of trace {path}"


def test_a_measured_run_shows_the_prediction_s_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = {
        "value": 1000.0,
        "low": 1000.0,
        "high": 1000.0,
        "level": "measured",
        "source": "meter",
        "at_unix_s": 0,
    }
    record = {"name": "energy_wh_per_1k", "goal": None, "measured": figure}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"at_unix_s": 0, "goals": [record]}))
    found = local(capsys, "--from-run", str(path))
    errors = found["prediction_error_ratio"]
    assert isinstance(errors, dict)
    predicted = found["local_wh_per_1k"]
    assert errors["energy_wh_per_1k"] == pytest.approx(predicted / 1000 - 1)  # type: ignore[operator]
