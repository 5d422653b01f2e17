"""What a request asks of its explanation, read from its parameters.

Errors:  ExplainError, naming the parameter, what it held and what was wanted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from skerry.learn.errors import ExplainError
from skerry.schema.oip import Parameter
from skerry.schema.oip_errors import shown

METHODS = ("shapley", "occlusion")
BUDGET_RUNS = 1000
BUDGET_RUNS_MAX = 20_000
SEED_MAX = 2**31 - 1
KNOWN = frozenset(
    f"explain{name}"
    for name in ("", "_method", "_budget", "_seed", "_baseline", "_output", "_target")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One request's wish. `method` is empty where the input's kind shall decide."""

    method: str = ""
    budget: int = BUDGET_RUNS
    seed: int = 0
    baseline: str | float = ""
    """`zeros`, `card`, a number for every element, or empty: the card's where it has samples."""
    output: str = ""
    target: int | str | None = None


def wish_of(parameters: Mapping[str, Parameter]) -> Wish | None:
    """Return the wish; None where `explain` is false."""
    if not _flag(parameters["explain"]):
        return None
    for name in parameters:
        if name.startswith("explain") and name not in KNOWN:
            raise ExplainError(f"parameter {shown(name)}", "unknown", ", ".join(sorted(KNOWN)))
    target = parameters.get("explain_target")
    if isinstance(target, bool | float):
        raise ExplainError("explain_target", shown(target), "a number or a label")
    return Wish(
        method=_word(parameters, "explain_method", METHODS),
        budget=_whole(parameters, "explain_budget", BUDGET_RUNS, 2, BUDGET_RUNS_MAX),
        seed=_whole(parameters, "explain_seed", 0, 0, SEED_MAX),
        baseline=_baseline(parameters.get("explain_baseline", "")),
        output=_word(parameters, "explain_output", None),
        target=target,
    )


def _flag(value: Parameter) -> bool:
    if not isinstance(value, bool):
        raise ExplainError("explain", shown(value), "true or false")
    return value


def _word(parameters: Mapping[str, Parameter], name: str, known: tuple[str, ...] | None) -> str:
    value = parameters.get(name, "")
    if isinstance(value, str) and (known is None or not value or value in known):
        return value
    raise ExplainError(name, shown(value), " or ".join(known or ("an output's name",)))


def _whole(parameters: Mapping[str, Parameter], name: str, default: int, low: int, top: int) -> int:
    value = parameters.get(name, default)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= top:
        return value
    raise ExplainError(name, shown(value), f"a whole number, {low} to {top}")


def _baseline(value: Parameter) -> str | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if value in ("", "zeros", "card"):
        return str(value)
    raise ExplainError("explain_baseline", shown(value), "zeros, card or a number")
