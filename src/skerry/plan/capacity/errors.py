"""What can be wrong with a question about capacity."""

from collections.abc import Iterable
from difflib import get_close_matches

from skerry.base.errors import Exit
from skerry.plan.errors import PlanError


class ExpressionError(PlanError):
    """An arithmetic expression over columns that cannot be read or computed.

    Numbers, names of columns, `+ - * / // % **`, parentheses, and the functions abs, ceil,
    exp, floor, log, max, min and sqrt may stand in it; nothing else.
    """

    code = "E0920"
    exit_code = Exit.WRONG_USE

    def __init__(self, text: str, what: str, known: Iterable[str] = ()) -> None:
        super().__init__(text, what, tuple(known))
        self.text, self.what, self.known = text, what, tuple(known)

    def __str__(self) -> str:
        return f"the expression {self.text[:80]!r}: {self.what}"

    @property
    def hint(self) -> str:
        """Show a good expression, or the names that may stand in this one."""
        if self.known:
            return f"the columns are: {', '.join(self.known)}"[:200]
        return "write arithmetic over columns: 0.05+0.0002*context_tokens+0.02*generated_tokens"


class TargetError(PlanError):
    """A target that is not `METRIC=DURATION`, such as `p99=15s` or `mean=200ms`."""

    code = "E0921"
    exit_code = Exit.WRONG_USE

    def __init__(self, text: str, why: str) -> None:
        super().__init__(text, why)
        self.text, self.why = text, why

    def __str__(self) -> str:
        return f"the target {self.text[:60]!r} {self.why}"

    @property
    def hint(self) -> str:
        """Show a good target."""
        return "write METRIC=DURATION, such as p99=15s; metrics are mean, p50, p95 and p99"


class CapacityError(PlanError):
    """A question about capacity that has no meaning as it was put."""

    code = "E0922"
    exit_code = Exit.WRONG_USE

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what, advice)
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return self.what

    @property
    def hint(self) -> str:
        """What to do instead."""
        return self.advice


class TierTableError(PlanError):
    """A table of tiers or of steps in which one row does not fit the rows before it."""

    code = "E0923"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, what: str, known: Iterable[str] = (), name: str = "") -> None:
        super().__init__(path, what, tuple(known), name)
        self.path, self.what, self.known, self.name = path, what, tuple(known), name

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"

    @property
    def hint(self) -> str:
        """Name the nearest known one, or where the table is described."""
        near = get_close_matches(self.name, self.known, n=1)
        if near:
            return f"did you mean: {near[0]}"
        return "docs/reference/plan-files.md lists every file's columns and units"
