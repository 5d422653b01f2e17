"""Traces: sampled as set, a timeline in order, in a file that is whole at any time and bounded."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from skerry.schema.oip_errors import OipError, UnsupportedError
from skerry.serve import tracing
from skerry.serve.tracing import Tracing


def traced(kept: Tracing, model: str, times: int, start_s: float = 1.0) -> int:
    """How many of so many requests were traced."""
    found = 0
    for _ in range(times):
        trace = kept.begin(model, start_s)
        if trace is not None:
            found += 1
            trace.at("COMPUTE_START", start_s + 0.25)
            trace.at("COMPUTE_END", start_s + 0.5)
            kept.end(trace, "2", start_s + 1)
    return found


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    made = Tracing(tmp_path / "trace.json")
    yield made
    made.close()


ON = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1"}


def test_nothing_is_traced_until_it_is_asked_for(kept: Tracing, tmp_path: Path) -> None:
    assert not kept.on
    assert traced(kept, "m", 5) == 0
    assert not (tmp_path / "trace.json").exists()


def test_a_trace_tells_a_request_s_times_in_nanoseconds(kept: Tracing, tmp_path: Path) -> None:
    kept.change(ON)
    assert kept.on
    traced(kept, "m", 2)
    first, second = json.loads((tmp_path / "trace.json").read_text())
    assert (first["id"], second["id"]) == (1, 2)
    assert (first["model_name"], first["model_version"]) == ("m", 2)
    assert first["timestamps"] == [
        {"name": "REQUEST_START", "ns": 1_000_000_000},
        {"name": "COMPUTE_START", "ns": 1_250_000_000},
        {"name": "COMPUTE_END", "ns": 1_500_000_000},
        {"name": "REQUEST_END", "ns": 2_000_000_000},
    ]


def test_rate_and_count_hold_for_each_model(kept: Tracing) -> None:
    kept.change({**ON, "trace_rate": 3, "trace_count": "2"})
    assert traced(kept, "m", 5) == 1
    assert traced(kept, "m", 20) == 1
    assert traced(kept, "other", 20) == 2


def test_a_model_s_own_settings_win_and_go_back_when_taken_away(kept: Tracing) -> None:
    kept.change({"trace_rate": "5"})
    kept.change(ON, "m")
    assert (traced(kept, "m", 3), traced(kept, "other", 3)) == (3, 0)
    kept.change({"trace_level": None, "trace_rate": []}, "m")
    assert kept.settings("m") == kept.settings()
    assert kept.settings()["trace_rate"] == "5"
    assert not kept.on


def test_a_full_file_ends_tracing_and_stays_whole(
    kept: Tracing,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tracing, "FILE_BYTES_MAX", 1000)
    kept.change(ON)
    with caplog.at_level(logging.WARNING):
        traced(kept, "m", 50)
    path = tmp_path / "trace.json"
    assert 500 < path.stat().st_size <= 1000
    assert json.loads(path.read_text())
    assert kept.settings()["trace_level"] == ["OFF"]
    assert not kept.on
    assert caplog.messages == ["the trace file has reached 1000 bytes, tracing stops"]


def test_a_file_that_cannot_be_written_ends_tracing(tmp_path: Path) -> None:
    kept = Tracing(tmp_path / "nobody" / "trace.json")
    kept.change(ON)
    assert traced(kept, "m", 3) == 1
    assert not kept.on


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"trace_rate": "0"}, "trace_rate is '0', wanted 1 to"),
        ({"trace_rate": "x"}, "trace_rate is 'x'"),
        ({"trace_count": -2}, "trace_count is -2"),
        ({"log_frequency": "10"}, "log_frequency is '10', wanted 0 to 0"),
        ({"nobody": "1"}, "trace setting is 'nobody'"),
    ],
)
def test_a_value_that_cannot_be_is_named_and_nothing_changes(
    kept: Tracing, wrong: Any, error: str
) -> None:
    before = kept.settings()
    with pytest.raises(OipError, match=error):
        kept.change({**ON, **wrong})
    assert kept.settings() == before


def test_tensors_other_modes_and_files_of_a_client_are_not_offered(kept: Tracing) -> None:
    for wrong in (
        {"trace_level": ["TENSORS"]},
        {"trace_mode": "opentelemetry"},
        {"trace_file": "/etc/passwd"},
    ):
        with pytest.raises(UnsupportedError):
            kept.change(wrong)
    with pytest.raises(UnsupportedError, match="started with --trace-file"):
        Tracing().change(ON)
