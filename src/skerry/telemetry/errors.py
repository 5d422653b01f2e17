"""What can be wrong with numbers about the fleet."""

from skerry.base.errors import Exit, SkerryError


class TelemetryError(SkerryError):
    """Numbers about the fleet that cannot be used as they are."""

    code = "E1600"


class SummaryError(TelemetryError):
    """Two summaries of unlike requests, or a quantile outside 0 to 1.

    Summaries add up only where site, node, model, version, data class, outcome, server
    and reason agree; anything else would mix what must stay apart.
    """

    code = "E1601"
    exit_code = Exit.WRONG_USE

    def __init__(self, field: str, found: str, wanted: str) -> None:
        super().__init__(field, found, wanted)
        self.field, self.found, self.wanted = field, found, wanted

    def __str__(self) -> str:
        return f"{self.field} is {self.found}, wanted {self.wanted}"
