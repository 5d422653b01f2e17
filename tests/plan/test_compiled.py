"""Production decisions, compiled: the same answers as in production, for every function."""

import inspect
import math
import os
import subprocess
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skerry
from skerry.plan.compiled import compiled
from skerry.route import decide, latency
from skerry.route.decide import Breaker
from skerry.serve import admission

PRODUCTION = (admission, decide, latency)

seconds = st.floats(-1e3, 1e6) | st.sampled_from([0.0, -1.0, 1e-9, 0.01, 10.0, math.inf])
counts = st.integers(0, 2000)
breakers = st.builds(
    Breaker, st.integers(0, 2), st.integers(0, 9), st.integers(0, 40), st.floats(0, 1e6)
)
BY_TYPE: dict[object, st.SearchStrategy[Any]] = {
    int: counts,
    float: seconds,
    bool: st.booleans(),
    Breaker: breakers,
}
BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "batch_max": st.integers(1, 64),
    "phase": st.integers(0, 2),
    "large": st.integers(0, 9),
    "standin": st.integers(0, 9),
    "shedding": st.integers(0, 1),
    "running": st.integers(0, 1),
    "chance": st.floats(0, 1),
    "tier": st.integers(0, 8),
}


def functions_of(module: ModuleType) -> list[FunctionType]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__
    ]


EVERY = [function for module in PRODUCTION for function in functions_of(module)]


def inputs_of(function: FunctionType) -> st.SearchStrategy[tuple[Any, ...]]:
    names = inspect.signature(function).parameters.values()
    given_by_name = (one.name in BY_NAME for one in names)
    return st.tuples(
        *(
            BY_NAME[one.name] if by_name else BY_TYPE[one.annotation]
            for one, by_name in zip(names, given_by_name, strict=True)
        )
    )


def outcome(function: Any, values: tuple[Any, ...]) -> tuple[float, ...]:
    found = function(*values)
    return tuple(found) if isinstance(found, tuple) else (found,)


def test_all_decisions_of_production_are_held() -> None:
    assert {"admit", "fit", "rank", "is_lighter", "breaker_failed", "expected_s"} <= {
        function.__name__ for function in EVERY
    }
    assert len(EVERY) == 26


@pytest.mark.parametrize("function", EVERY, ids=lambda function: function.__name__)
def test_a_decision_compiled_is_the_decision_of_production(function: FunctionType) -> None:
    twin = compiled(function)

    @settings(deadline=None, max_examples=100, database=None)
    @given(inputs_of(function))
    def equal(values: tuple[Any, ...]) -> None:
        wanted = outcome(function, values)
        assert outcome(twin, values) == pytest.approx(wanted, rel=0, abs=0, nan_ok=True)

    equal()


def test_a_deadline_of_nan_is_missed_in_both() -> None:
    assert decide.in_time(0.0, math.nan) is bool(compiled(decide.in_time)(0.0, math.nan)) is False
    assert decide.in_time(math.nan, 1.0) is bool(compiled(decide.in_time)(math.nan, 1.0)) is False


def test_what_a_decision_calls_is_compiled_with_it() -> None:
    """`admit` calls `wait_s`; a twin that kept Python's could not be compiled at all."""
    twin = compiled(admission.admit)
    assert twin(0, 256, 1, 0.5, 1, 0.9, 0) == admission.REFUSE_DEADLINE
    assert twin(0, 256, 1, 0.5, 1, 1.0, 0) == admission.ADMIT


KERNEL = """
from rule import LIMIT, decide
import skerry
from skerry.plan.compiled import compiled, kernel

_decide = compiled(decide)

@kernel
def count(values):
    kept = 0
    for value in values:
        kept += _decide(value)
    return kept
"""
RULE = "LIMIT = {}\n\ndef decide(value):\n    return 1 if value < LIMIT else 0\n"
ASK = "import numpy, kernels; print(kernels.count(numpy.arange(10.0)))"


def test_a_kernel_that_is_kept_follows_production(tmp_path: Path) -> None:
    """Each count is of a new process; the second is loaded, the third must not be."""
    (tmp_path / "kernels.py").write_text(KERNEL)
    found, kept = [], []
    environment = {**os.environ, "PYTHONPATH": str(Path(skerry.__file__).parents[1])}
    for limit in (3, 3, 5):
        (tmp_path / "rule.py").write_text(RULE.format(limit))
        asked = subprocess.run(
            [sys.executable, "-B", "-c", ASK],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(int(asked.stdout))
        kept.append(len(list(tmp_path.rglob("*.nbi"))))
    assert found == [3, 3, 5]
    assert kept == [1, 1, 2]
