"""What can be wrong with facts about vendors and parts."""

from skerry.base.errors import Exit
from skerry.plan.errors import PlanError


class SupplyError(PlanError):
    """A fact about a vendor or a part that cannot be, such as a service level of 1.

    No finite stock covers a demand with certainty; say how often it may run out.
    """

    code = "E0980"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say where the value comes from."""
        return "docs/reference/plan-files.md lists the columns of parts and vendors"
