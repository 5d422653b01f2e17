"""Expressions: arithmetic over columns and nothing else, equal to Python's own, bounded."""

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.plan.capacity.errors import ExpressionError
from skerry.plan.capacity.expression import Expression

ROWS = {"a": np.array([1.0, 2.0, 5.5]), "b": np.array([0.5, 4.0, -2.0])}
numbers = st.integers(0, 1000) | st.floats(0.001, 1000)
leaves = st.sampled_from(["a", "b"]) | numbers.map(repr)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})")
    return binary | inner.map(lambda t: f"-{t}") | inner.map(lambda t: f"abs({t})")


@given(st.recursive(leaves, grown, max_leaves=20))
def test_an_expression_is_what_python_makes_of_it_row_by_row(text: str) -> None:
    found = Expression(text)(ROWS)
    for row, value in enumerate(found):
        names = {name: float(column[row]) for name, column in ROWS.items()}
        try:
            wanted = float(eval(text, {"abs": abs}, names))
        except ZeroDivisionError:
            assert not math.isfinite(value)
            continue
        assert value == pytest.approx(wanted, rel=1e-12, nan_ok=True)


def test_the_functions_take_columns_whole() -> None:
    text = "max(a, b, 3) + min(a, 2) + sqrt(abs(b)) + ceil(a/2) + floor(a) + exp(0) + log(1)"
    assert Expression(text)(ROWS) == pytest.approx(
        [3 + 1 + 0.5**0.5 + 1 + 1 + 1, 4 + 2 + 2 + 1 + 2 + 1, 5.5 + 2 + 2**0.5 + 3 + 5 + 1]
    )
    assert Expression("7 % 4 + 7 // 2 + 2 ** 3")(ROWS).tolist() == [14.0, 14.0, 14.0]


def test_the_names_used_are_told_in_order() -> None:
    assert Expression("b*2 + a*b + max(c, 1)").columns == ("b", "a", "c")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a +",
        "__import__('os').system('true')",
        "a.__class__",
        "a[0]",
        "(lambda: 1)()",
        "[x for x in a]",
        "'text'",
        "1 if a else 2",
        "a < b",
        "a and b",
        "not a",
        "~a",
        "a @ b",
        "a | b",
        "f(a)",
        "max(a)",
        "sqrt(a, b)",
        "max(*a)",
        "max(a, b, key=a)",
        "a := 1",
        "True",
        "None",
        "1j",
        "1" * 400,
        "a" * 3000,
        "(" * 100 + "a" + ")" * 100 + "+" + "-" * 100 + "a",
        "+".join(["a"] * 500),
        "a\nb",
        "a; b",
        "\0",
    ],
)
def test_what_is_not_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression(text)(ROWS)


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_a_clear_refusal(text: str) -> None:
    with suppress(ExpressionError):
        assert len(Expression(text)(ROWS)) == 3


def test_a_name_that_is_no_column_is_named_with_those_that_are() -> None:
    with pytest.raises(ExpressionError, match="'c' is no column") as caught:
        Expression("a + c")(ROWS)
    assert "a, b" in caught.value.hint


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ExpressionError, match=r"columns of \[1, 3\] rows"):
        Expression("a")({**ROWS, "c": np.ones(1)})
