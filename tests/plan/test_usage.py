"""One file in: whatever it holds, it is recognised or refused in words."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.base.errors import SkerryError
from skerry.plan.worth.usage import read_usage

LINE = '10.0.0.9 - - [02/Mar/2026:13:55:36 +0100] "GET / HTTP/1.1" 200 512'
BILL = "cost,usage_start_time,service.description,sku.description,currency"
ROW = "10,2026-01-01 00:00:00 UTC,Compute Engine,N1 Predefined Instance Core,USD"


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.log", LINE, "an access log in Common"),
        ("a.json", '{"ts": 1772456136}\n{"ts": 1772456137}', "an access log in JSON lines"),
        ("a.json", '[{"arrival_s": 1}, {"arrival_s": 2}]', "a trace of 2 requests"),
        ("a.json", '{"arrival_s": [1, 2, 3]}', "a trace of 3 requests"),
        ("a.csv", "arrival_s\n1\n2", "a trace of 2 requests"),
        ("a.csv", f"{BILL}\n{ROW}", "a cloud bill, Google Cloud billing export"),
        ("access", LINE, "an access log"),
    ],
)
def test_what_a_file_is_taken_for(tmp_path: Path, name: str, text: str, what: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_usage(path).recognised.startswith(what)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([".csv", ".json", ".log", ".parquet"]),
    st.sampled_from([f"{BILL}\n{ROW}\n", "arrival_s,bytes\n1,2\n3,4\n", f"{LINE}\n", ""]),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=6)), max_size=5),
)
def test_any_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    text: str,
    cuts: list[tuple[int, bytes]],
) -> None:
    """Good files with bytes put in anywhere, under any name."""
    data = text.encode()
    for at, piece in cuts:
        data = data[:at] + piece + data[at:]
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(data)
    try:
        usage = read_usage(path)
    except SkerryError as error:
        refused = str(error)
        assert str(path) in refused
        return
    assert usage.recognised
