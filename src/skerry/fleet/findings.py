"""Findings: what resolving and linting say about a file, by path; places come later.

Resolving is pure and knows paths only (`("sites", 1, "tier")`). `fleet.load` adds
the file, line and column from the tree that the file was read into.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from skerry.base.quantity import QuantityError, format_quantity, parse_quantity
from skerry.schema.file_errors import (
    Advice,
    BadValueError,
    ContradictionError,
    DuplicateError,
    Grade,
    KeyPath,
    Problem,
    UnknownNameError,
    dotted,
)
from skerry.schema.fleet_reader import FleetSource


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about one path; `key` puts the caret under the key."""

    kind: type[Problem]
    path: KeyPath
    what: str
    advice: str = ""
    grade: Grade = Grade.ERROR
    key: bool = False

    def placed(self, source: FleetSource) -> Problem:
        """Return the problem with its place in the file."""
        place = source.place(self.path, key=self.key)
        return self.kind(dotted(self.path), self.what, self.advice, place, self.grade)


@dataclass(slots=True)
class Findings:
    """Collects findings, so that all of them are known before anything is refused."""

    found: list[Finding] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Tell whether any finding is an error."""
        return any(finding.grade is Grade.ERROR for finding in self.found)

    def bad_value(self, path: KeyPath, what: str, advice: str = "", *, key: bool = False) -> None:
        """Note a value that cannot be used."""
        self.found.append(Finding(BadValueError, path, what, advice, key=key))

    def contradiction(self, path: KeyPath, what: str, advice: str = "") -> None:
        """Note two parts that cannot both hold."""
        self.found.append(Finding(ContradictionError, path, what, advice))

    def duplicate(self, path: KeyPath, what: str, advice: str = "") -> None:
        """Note a name that is there twice."""
        self.found.append(Finding(DuplicateError, path, what, advice))

    def unknown(self, path: KeyPath, kind: str, name: str, known: Iterable[str]) -> None:
        """Note a reference to nothing, with the nearest name there is."""
        names = sorted(known)
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        if near:
            advice = f"did you mean `{near[0]}`?"
        elif names:
            more = ", ..." if len(names) > 12 else ""
            advice = f"known here: {', '.join(names[:12])}{more}"
        else:
            advice = f"this file has no {kind} yet"
        self.found.append(Finding(UnknownNameError, path, f"no {kind} `{name}`", advice))

    def warn(self, path: KeyPath, what: str, advice: str = "") -> None:
        """Note a risk: the file can be used."""
        self.found.append(Finding(Advice, path, what, advice, Grade.WARN))

    def note(self, path: KeyPath, what: str, advice: str = "") -> None:
        """Note something worth knowing."""
        self.found.append(Finding(Advice, path, what, advice, Grade.NOTE))

    def quantity(
        self,
        text: str,
        unit: str,
        path: KeyPath,
        *,
        low: float = 0.0,
        high: float = math.inf,
        above: bool = False,
    ) -> float:
        """Return a quantity in a unit, within bounds; note what is wrong and return `low`.

        `above` wants more than `low`, not as little as it.
        """
        try:
            value = parse_quantity(text, unit)
        except QuantityError as error:
            self.bad_value(path, str(error), error.hint)
            return low
        if value < low or value > high or (above and value == low):
            least = (
                f"more than {format_quantity(low, unit)}" if above else format_quantity(low, unit)
            )
            most = "" if high == math.inf else f" to {format_quantity(high, unit)}"
            more = " or more" if not above and high == math.inf else ""
            self.bad_value(path, f"`{text}` is out of bounds, wanted {least}{most}{more}")
            return low
        return value
