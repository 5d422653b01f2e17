"""What can be wrong with evidence and reports."""

from skerry.base.errors import Exit, SkerryError


class ProofError(SkerryError):
    """The root of every error about evidence: intervals, pilots, drills and reports."""

    code = "E0950"


class SampleError(ProofError):
    """A sample that no interval can be made from: empty, or with a value that is no number.

    A request that failed has no latency; it is counted as failed and left out of the sample.
    """

    code = "E0951"

    def __init__(self, what: str, wanted: str) -> None:
        super().__init__(what, wanted)
        self.what, self.wanted = what, wanted

    def __str__(self) -> str:
        return f"{self.what}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say what most often helps."""
        return "send more requests, and count those that failed apart from the latencies"


class ReportInputError(ProofError):
    """A file that no report can be made from: absent, unreadable, or not a story record.

    Reports are made from `story.json`, which `skerry demo` writes.
    """

    code = "E0952"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the command that writes the file."""
        return "run `skerry demo`, which writes story.json, or name one with --from"
