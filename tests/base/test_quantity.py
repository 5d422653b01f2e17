"""Quantities: exact in both directions, and never of another kind."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.quantity import (
    EXAMPLES,
    KINDS,
    QuantityError,
    format_quantity,
    parse_quantity,
)

UNITS = sorted({unit for units in KINDS.values() for unit in units})
finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)


@given(finite, st.sampled_from(UNITS))
def test_what_is_written_reads_back_exactly(value: float, unit: str) -> None:
    assert parse_quantity(format_quantity(value, unit), unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("1.8 kW", "W", 1800.0),
        ("50 ms", "ms", 50.0),
        ("50ms", "s", 0.05),
        ("95 %", "1", 0.95),
        ("20 Mbit/s", "bit/s", 20e6),
        ("15 min", "s", 900.0),
        ("0.25 USD", "USD", 0.25),
        ("2 g", "g", 2.0),
        ("400 g/kWh", "g/kWh", 400.0),
        ("64 kB", "B", 64_000.0),
        ("64 KiB", "B", 65_536.0),
        ("-5 C", "C", -5.0),
        ("1.2", "", 1.2),
    ],
)
def test_known_quantities_are_exact(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == value


def test_numbers_are_written_in_the_unit_people_would_choose() -> None:
    assert format_quantity(1800.0, "W") == "1.8 kW"
    assert format_quantity(900.0, "s") == "15 min"
    assert format_quantity(100.0, "s") == "100 s"
    assert format_quantity(0.001, "1") == "0.1 %"
    assert format_quantity(0.0, "1") == "0 %"
    assert format_quantity(20e6, "bit/s") == "20 Mbit/s"


@pytest.mark.parametrize(
    ("text", "unit", "message", "hint"),
    [
        ("1800", "W", "`1800` has no unit, wanted a power such as `1.8 kW`", ""),
        ("1.8 kWh", "W", "`1.8 kWh` measures energy, wanted a power", ""),
        ("1.8 kw", "W", "unknown unit `kw`", "did you mean `1.8 kW`?"),
        ("2 mw", "W", "unknown unit `mw`", "did you mean `2 mW` or `2 MW`?"),
        ("nan W", "W", "`nan W` is not a quantity", ""),
        ("inf W", "W", "is not a quantity", ""),
        ("", "W", "is not a quantity", ""),
        ("1 2 W", "W", "is not a quantity", ""),
        ("9" * 99, "W", "9...` is not a quantity", ""),
        ("1e9999 W", "W", "is not a quantity", ""),
        ("1e999 W", "W", "is too large a number", ""),
    ],
)
def test_a_slip_is_named_with_its_kind(text: str, unit: str, message: str, hint: str) -> None:
    with pytest.raises(QuantityError) as caught:
        parse_quantity(text, unit)
    assert message in str(caught.value)
    assert caught.value.hint == hint


@given(st.text(max_size=80), st.sampled_from(UNITS))
def test_any_text_is_a_finite_number_or_refused(text: str, unit: str) -> None:
    try:
        value = parse_quantity(text, unit)
    except QuantityError as error:
        value, refusal = 0.0, str(error)
        assert any(example in refusal for example in EXAMPLES.values())
    assert math.isfinite(value)
