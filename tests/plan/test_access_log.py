"""Access logs: the formats people have, and every line that nobody can read."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.plan.worth.access_log import LINE_BYTES_MAX, Requests, read_log
from skerry.plan.worth.errors import LogError

COMMON = '10.0.0.9 - frank [02/Mar/2026:13:55:36 +0100] "GET /v2/models HTTP/1.1" 200 512'
AT_S = 1772456136.0


def read(tmp_path: Path, *lines: str, name: str = "access.log", **options: str) -> Requests:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return read_log(path, **options)


@pytest.mark.parametrize(
    ("line", "took_s", "sent"),
    [
        (COMMON, np.nan, 512.0),
        (COMMON.replace("200 512", "304 -"), np.nan, np.nan),
        (COMMON + ' "https://a.example/?q=\\"x\\"" "curl/8 (x; \\"y\\")"', np.nan, 512.0),
        (COMMON + ' "-" "curl/8" 0.123', 0.123, 512.0),
        (COMMON + ' "-" "curl/8" "-" rt=0.250 uct="0.001"', 0.25, 512.0),
        (COMMON + ' "-" "curl/8" 5123', np.nan, 512.0),
        (COMMON.replace("GET /v2/models HTTP/1.1", "\\x16\\x03\\x01"), np.nan, 512.0),
    ],
)
def test_lines_of_common_servers(tmp_path: Path, line: str, took_s: float, sent: float) -> None:
    found = read(tmp_path, line)
    assert found.at_s.tolist() == [AT_S]
    assert np.array_equal(found.took_s, [took_s], equal_nan=True)
    assert np.array_equal(found.sent_bytes, [sent], equal_nan=True)
    assert "Common or Combined" in found.recognised


def test_a_last_field_without_a_unit_is_left_alone_until_its_unit_is_given(tmp_path: Path) -> None:
    line = COMMON + ' "-" "curl/8" 5123'
    assert "--request-time" in read(tmp_path, line).notes[0]
    assert read(tmp_path, line, took_unit="us").took_s.tolist() == [0.005123]


@pytest.mark.parametrize(
    "fields",
    [
        {"time": "2026-03-02T12:55:36Z", "request_time": 0.5, "body_bytes_sent": 7},
        {"time_local": "02/Mar/2026:13:55:36 +0100", "request_time": "0.5", "bytes_sent": "7"},
        {"ts": AT_S, "duration_ms": 500, "size": 7, "request": {"uri": "/x"}},
        {"@timestamp": "2026-03-02T13:55:36.000+01:00", "latency_ms": 500.0, "bytes": 7},
        {"timestamp": AT_S * 1000, "duration_ns": 5e8, "response_size": 7},
    ],
)
def test_json_lines(tmp_path: Path, fields: dict[str, object]) -> None:
    found = read(tmp_path, json.dumps(fields))
    assert (found.at_s[0], found.took_s[0], found.sent_bytes[0]) == (AT_S, 0.5, 7.0)


def test_packed_logs_and_unsorted_lines(tmp_path: Path) -> None:
    later = COMMON.replace("13:55", "13:56")
    path = tmp_path / "access.log"
    path.write_bytes(gzip.compress(f"{later}\n{COMMON}\n".encode()))
    assert read_log(path).at_s.tolist() == [AT_S, AT_S + 60]


def test_only_the_paths_asked_for(tmp_path: Path) -> None:
    found = read(tmp_path, COMMON, COMMON.replace("/v2/models", "/logo.png"), path_prefix="/v2/")
    assert len(found) == 1
    assert found.notes == ("1 requests to other paths were left out",)
    with pytest.raises(LogError, match="no request to '/v3/'"):
        read(tmp_path, COMMON, path_prefix="/v3/")


BAD = [
    "nonsense",
    COMMON.replace("02/Mar", "31/Feb"),
    COMMON.replace("Mar", "Mrz"),
    COMMON.replace("2026", "1026"),
    COMMON.replace("13:55:36", "13:55:99"),
    COMMON.replace("+0100", "+9900"),
    COMMON.replace('"GET', "GET"),
    COMMON.replace(" 200 ", " OK "),
    COMMON + "x" * LINE_BYTES_MAX,
    '{"time": "2026-03-02T12:55:36"}',
    '{"time": "soon"}',
    '{"time": true}',
    '{"request_time": 1}',
    '{"ts": 1e300}',
    '{"ts": "nan"}',
    '{"ts": 1772456136, "request_time": -1}',
    '{"ts": 1772456136, "bytes": [1]}',
    '{"ts": 1772456136',
    "{" * 60_000,
    "[" * 60_000,
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_bad_line_is_counted_and_the_first_is_named(tmp_path: Path, bad: str) -> None:
    found = read(tmp_path, COMMON, bad, COMMON, bad)
    assert len(found) == 2
    assert found.bad_lines == 2
    assert found.first_bad.startswith("line 2: ")
    assert len(found.first_bad) < 500


def test_a_file_that_is_mostly_bad_is_refused_by_its_first_bad_line(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"access\.log:2: 'one' \(2 of 3 lines\)"):
        read(tmp_path, COMMON, "one", "two")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# head\n", b"\x1f\x8bbroken", b"\x00" * 300])
def test_files_without_a_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(content)
    with pytest.raises(LogError):
        read_log(path)
    with pytest.raises(LogError, match="No such file"):
        read_log(tmp_path / "none.log")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=300) | st.just(COMMON.encode()), max_size=8), st.data())
def test_any_bytes_give_requests_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], data: st.DataObject
) -> None:
    """Good lines with bytes changed, between lines of anything."""
    torn = bytearray(COMMON.encode())
    for _ in range(data.draw(st.integers(0, 4))):
        torn[data.draw(st.integers(0, len(torn) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzz.log"
    path.write_bytes(b"\n".join([*lines, bytes(torn), COMMON.encode()]))
    try:
        found = read_log(path)
    except LogError:
        return
    assert np.isfinite(found.at_s).all()
    assert (np.diff(found.at_s) >= 0).all()
    assert len(found) >= found.bad_lines
