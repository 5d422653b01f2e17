"""What can be wrong in a file that people write: each problem has a place and a way out.

A problem prints as

    error[E0103]: sites.1.teir: not a key here
      --> fleet.yaml:9:5
       9 |     teir: closet
         |     ^^^^
         = help: did you mean `tier`?

All problems of a file are found in one pass and travel together in one
`FleetFileError`; a person fixes a file once, not once per mistake.
"""

from enum import StrEnum

import msgspec

from skerry.base.errors import Exit, SkerryError

KeyPath = tuple[str | int, ...]
"""Where a value stands in the tree: `("sites", 1, "tier")`."""

SHOWN_MAX = 50
"""Problems printed at most; a file with more is usually wrong in one way, many times."""
_LINE_LEN_MAX = 160


class Grade(StrEnum):
    """How bad a problem is: an error stops every verb, a warning and a note do not."""

    ERROR = "error"
    WARN = "warn"
    NOTE = "note"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a file: line and column count from 1; `text` is that line."""

    file: str
    line: int
    column: int
    width: int
    text: str


class Problem(SkerryError):  # noqa: N818 - warnings and notes are problems, not errors
    """One thing wrong, or worth knowing, at one place of a fleet file."""

    code = "E0101"
    exit_code = Exit.FILE_INVALID

    def __init__(
        self,
        path: str,
        what: str,
        advice: str = "",
        place: Place | None = None,
        grade: Grade = Grade.ERROR,
    ) -> None:
        super().__init__(path, what, advice, place, grade)
        self.path, self.what, self.advice = path, what, advice
        self.place, self.grade = place, grade

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" if self.path else self.what

    @property
    def hint(self) -> str:
        """What to do about it."""
        return self.advice

    def render(self) -> str:
        """Write the problem with its source line and a caret."""
        head = f"error[{self.code}]" if self.grade is Grade.ERROR else f"{self.grade}[{self.code}]"
        lines = [f"{head}: {self}"]
        margin = ""
        if self.place is not None:
            number = str(self.place.line)
            margin = " " * max(4, len(number) + 1)
            lines.append(f"  --> {self.place.file}:{number}:{self.place.column}")
            if self.place.text:
                text, before = _window(self.place)
                caret = "^" * max(1, min(self.place.width, len(text) - before))
                lines.append(f"{number.rjust(len(margin))} | {text}")
                lines.append(f"{margin} | {' ' * before}{caret}")
        if self.advice:
            lines.append(f"{margin} = help: {self.advice}")
        return "\n".join(lines)


class UnreadableFileError(Problem):
    """The file is missing, empty, not UTF-8, too large, or not one YAML document.

    A fleet file is UTF-8 text of at most 16 MiB that holds one YAML mapping.
    """

    code = "E0101"


class YamlSyntaxError(Problem):
    """The text is not YAML: the place is where reading stopped.

    The usual causes are a tab in an indentation (YAML allows only spaces there), a
    missing space after `:`, and a quote or bracket that is not closed.
    """

    code = "E0102"


class UnknownKeyError(Problem):
    """A key that means nothing at this place. Often a slip of the fingers."""

    code = "E0103"


class MissingKeyError(Problem):
    """A key that has to be there and is not."""

    code = "E0104"


class WrongTypeError(Problem):
    """A value of the wrong type: text where a list belongs, or the other way round."""

    code = "E0105"


class BadValueError(Problem):
    """A value that cannot be used: a unit, a number out of bounds, a word not known."""

    code = "E0106"


class DuplicateError(Problem):
    """A key or a name that is there twice; names of sites, tiers and models are unique."""

    code = "E0107"


class UnknownNameError(Problem):
    """A reference to a tier, region, model, data class or site that the file does not hold."""

    code = "E0108"


class ContradictionError(Problem):
    """Two parts of the file that cannot both hold.

    For example a site whose region is no region, a stand-in that is its own stand-in,
    or a rollout ring that no site belongs to.
    """

    code = "E0109"


class Advice(Problem):
    """A warning or a note of `skerry check`: the file can be used, this is worth a look."""

    code = "E0110"


class FleetFileError(SkerryError):
    """A fleet file that cannot be used; it holds every problem that was found.

    Each problem names its place as file:line:column. `skerry check` prints the same
    list, with warnings and notes.
    """

    code = "E0100"
    exit_code = Exit.FILE_INVALID

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(file, problems)
        self.file, self.problems = file, problems

    def __str__(self) -> str:
        count = len(self.problems)
        shown = [problem.render() for problem in self.problems[:SHOWN_MAX]]
        if count > SHOWN_MAX:
            shown.append(f"... and {count - SHOWN_MAX} more")
        noun = "problem" if count == 1 else "problems"
        return "\n\n".join([f"{self.file} has {count} {noun}", *shown])


def dotted(path: KeyPath) -> str:
    """Write a path as `sites.1.tier`."""
    return ".".join(str(step) for step in path)


def _window(place: Place) -> tuple[str, int]:
    """Return the line, cut around the place if it is long, and how much stands before it."""
    before = place.column - 1
    text = place.text.rstrip().replace("\t", " ")
    if len(text) <= _LINE_LEN_MAX:
        return text, min(before, len(text))
    start = max(0, before - _LINE_LEN_MAX // 3)
    return text[start : start + _LINE_LEN_MAX], before - start
