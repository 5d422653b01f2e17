"""Rules of the fleet file at the site: `when power.source == ups do prefer magika-small`.

Pure, and therefore the same offline: signals in, findings out. A rule whose signal is
missing or of the wrong type is *unknown*, which is a state of its own: it is not
active, and it is told apart from a rule that does not hold.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from skerry.schema.desired import DesiredRule

PREFER = "prefer"

Value = str | float


class Holds(StrEnum):
    """Whether a rule's condition holds."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, judged, with the sentence that explains it."""

    rule: DesiredRule
    holds: Holds
    why: str


_ORDERED: dict[str, Callable[[float, float], bool]] = {
    "<": lambda seen, wanted: seen < wanted,
    "<=": lambda seen, wanted: seen <= wanted,
    ">": lambda seen, wanted: seen > wanted,
    ">=": lambda seen, wanted: seen >= wanted,
}
_EQUAL: dict[str, Callable[[Value, Value], bool]] = {
    "==": lambda seen, wanted: seen == wanted,
    "!=": lambda seen, wanted: seen != wanted,
}


def condition(rule: DesiredRule) -> str:
    """Return a rule's condition in the fleet file's words."""
    value = rule.value if isinstance(rule.value, str) else f"{rule.value:g}"
    return f"{rule.signal} {rule.op} {value}"


def judge(rule: DesiredRule, signals: Mapping[str, Value]) -> Finding:
    """Judge one rule against the site's signals; never raises."""
    words = condition(rule)
    if rule.signal not in signals:
        return Finding(rule, Holds.UNKNOWN, f"{words}: nothing measures {rule.signal} here")
    seen = signals[rule.signal]
    told = seen if isinstance(seen, str) else f"{seen:g}"
    if isinstance(seen, str) != isinstance(rule.value, str):
        return Finding(rule, Holds.UNKNOWN, f"{words}: {rule.signal} is {told}, of another type")
    if seen != seen:  # NaN: a meter that reads nothing
        return Finding(rule, Holds.UNKNOWN, f"{words}: {rule.signal} has no value")
    if rule.op in _EQUAL:
        holds = _EQUAL[rule.op](seen, rule.value)
    elif rule.op in _ORDERED and not isinstance(seen, str) and not isinstance(rule.value, str):
        holds = _ORDERED[rule.op](seen, rule.value)
    else:
        return Finding(rule, Holds.UNKNOWN, f"{words}: {rule.op} does not compare {told}")
    verdict = Holds.YES if holds else Holds.NO
    return Finding(rule, verdict, f"{words}: {rule.signal} is {told}")


def judge_all(rules: Iterable[DesiredRule], signals: Mapping[str, Value]) -> tuple[Finding, ...]:
    """Judge every rule, in file order."""
    return tuple(judge(rule, signals) for rule in rules)


def active(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Return the rules that hold, as `Observed.rules_active` tells them."""
    return tuple(
        f"{finding.rule.do} {' '.join(finding.rule.what)} ({finding.why})"
        for finding in findings
        if finding.holds is Holds.YES
    )


def preferred(findings: Iterable[Finding]) -> dict[str, str]:
    """Return the models that a rule prefers now, each with that rule's condition."""
    return {
        model: condition(finding.rule)
        for finding in findings
        if finding.holds is Holds.YES and finding.rule.do == PREFER
        for model in finding.rule.what
    }
