"""What can be wrong with a file that `skerry worth` is asked about."""

from skerry.base.errors import Exit
from skerry.plan.errors import PlanError


class LogError(PlanError):
    """A file in which no access log can be read.

    Wanted is Common or Combined Log Format, or one JSON object a line with a time, at
    least half of the lines good. The first bad line is named.
    """

    code = "E0941"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, row: int, found: str, wanted: str) -> None:
        super().__init__(path, row, found, wanted)
        self.path, self.row, self.found, self.wanted = path, row, found, wanted

    def __str__(self) -> str:
        place = f"{self.path}:{self.row}" if self.row else self.path
        return f"{place}: {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say what an access log looks like."""
        return 'a good line: 10.0.0.9 - - [02/Mar/2026:13:55:36 +0000] "GET /v2 HTTP/1.1" 200 512'


class WorthError(PlanError):
    """A file that was read, and from which nothing can be weighed.

    A rate needs two requests at different times; a bill in another currency needs to be
    told what one of its units is worth.
    """

    code = "E0942"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str, advice: str) -> None:
        super().__init__(path, why, advice)
        self.path, self.why, self.advice = path, why, advice

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """What to do about it."""
        return self.advice
