"""What can be wrong with the instances that `skerry plan site` reads."""

from skerry.base.errors import Exit
from skerry.plan.errors import PlanError


class SiteFileError(PlanError):
    """An instance of site selection with something in it that cannot be solved.

    The place is a path into the JSON (`candidates[3].capacity`), or a line of an OR-Library
    file. Nothing is guessed: give the field that the text names the value it asks for.
    """

    code = "E0930"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, place: str, found: str, wanted: str) -> None:
        super().__init__(path, place, found, wanted)
        self.path, self.place, self.found, self.wanted = path, place, found, wanted

    def __str__(self) -> str:
        place = f" {self.place}:" if self.place else ""
        return f"{self.path}:{place} {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say where the fields are documented."""
        return "docs/reference/plan-files.md lists every field of an instance and its unit"
