"""What can be wrong with a plan's input."""

from collections.abc import Iterable
from difflib import get_close_matches

from skerry.base.errors import Exit, SkerryError

_A_PLAN_NEEDS = "a plan needs an edge or onprem site with a node, and a model that runs somewhere"


class PlanError(SkerryError):
    """The root of every error about planning."""

    code = "E0900"


class _CellError(PlanError):
    """A file with something in it that cannot be used: what stands where, and what was wanted."""

    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, row: int, column: str, found: str, wanted: str) -> None:
        super().__init__(path, row, column, found, wanted)
        self.path, self.row, self.column = path, row, column
        self.found, self.wanted = found, wanted

    def __str__(self) -> str:
        place = f"{self.path}:{self.row}" if self.row else self.path
        column = f" column {self.column}:" if self.column else ""
        return f"{place}:{column} {self.found}, wanted {self.wanted}"


class TraceError(_CellError):
    """A trace file with something in it that cannot be replayed.

    A trace is CSV with the columns arrival_s, site, model, data_class and bytes, sorted by
    arrival. Rows are counted as an editor counts lines: the header is row 1.
    """

    code = "E0901"

    @property
    def hint(self) -> str:
        """Show the first lines of a good file."""
        return "a good file starts: arrival_s,site,model,data_class,bytes"


class RunFileError(PlanError):
    """A file of measured figures (`plan --from-run`) that cannot be read."""

    code = "E0902"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name a file that works."""
        return 'give JSON such as {"at_unix_s": 0, "service_ms": {"magika": 3.1}, "goals": []}'


class NothingToPlanError(PlanError):
    """A fleet in which nobody asks or nobody can answer, so nothing can be predicted."""

    code = "E0903"
    exit_code = Exit.FILE_INVALID

    def __init__(self, fleet: str, why: str, advice: str = _A_PLAN_NEEDS) -> None:
        super().__init__(fleet, why, advice)
        self.fleet, self.why, self.advice = fleet, why, advice

    def __str__(self) -> str:
        return f"{self.fleet}: {self.why}"

    @property
    def hint(self) -> str:
        """Say what is needed."""
        return self.advice


class ColumnError(_CellError):
    """A file of input with something in it that a plan cannot use.

    Rows are counted as an editor counts lines: in CSV the header is row 1. Nothing is
    guessed: give the column that the text names the unit, order and values it asks for.
    """

    code = "E0904"

    @property
    def hint(self) -> str:
        """Say where the columns are documented."""
        return "docs/reference/plan-files.md lists every file's columns and units"


class AssumptionError(PlanError):
    """An assumption that no table has, or that cannot have the value it was given."""

    code = "E0905"
    exit_code = Exit.WRONG_USE

    def __init__(self, where: str, name: str, why: str, known: Iterable[str]) -> None:
        super().__init__(where, name, why, tuple(known))
        self.where, self.name, self.why, self.known = where, name, why, tuple(known)
        if not name:  # a whole file, not an input
            self.exit_code = Exit.FILE_INVALID

    def __str__(self) -> str:
        return f"{self.where}: {self.name} {self.why}" if self.name else f"{self.where} {self.why}"

    @property
    def hint(self) -> str:
        """Name the nearest input, or say where they are listed."""
        near = get_close_matches(self.name, self.known, n=1)
        if near:
            return f"did you mean: {near[0]}"
        return "a report lists every input by name, with its value, range and source"
