"""What can be wrong with the input of a fleet simulation."""

from collections.abc import Iterable
from difflib import get_close_matches

from skerry.base.errors import Exit
from skerry.plan.errors import PlanError


class ScenarioError(PlanError):
    """A scenario or sweep document that cannot be used: a key, a value, or a name in it.

    Times are quantities from the simulation's start (`at: 14 d`, `lasts: 4 h`), `where` is
    `all`, a region or a site, and each incident has the keys that its kind needs.
    """

    code = "E0960"
    exit_code = Exit.FILE_INVALID

    def __init__(self, where: str, key: str, what: str, known: Iterable[str] = ()) -> None:
        super().__init__(where, key, what, tuple(known))
        self.where, self.key, self.what, self.known = where, key, what, tuple(known)

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.key}: {self.what}" if self.key else f"{self.where}: {self.what}"
        )

    @property
    def hint(self) -> str:
        """Name the nearest one, or say where the keys are."""
        wanted = self.what.split("`")[1] if "`" in self.what else self.what
        near = get_close_matches(wanted, self.known, n=1)
        return (
            f"did you mean: {near[0]}" if near else "docs/how-to/simulate-a-fleet.md has every key"
        )


class SpanError(PlanError):
    """A span, a size or a signal that the simulation cannot run over."""

    code = "E0961"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, found: str, wanted: str) -> None:
        super().__init__(name, found, wanted)
        self.name, self.found, self.wanted = name, found, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say what a simulation takes."""
        return "simulate 1 to 8784 hours of at most 200,000 sites, with signals at least as long"


class EngineError(PlanError):
    """The engine of a sweep is not there, or a part of the sweep ended without a result."""

    code = "E0962"

    def __init__(self, engine: str, why: str) -> None:
        super().__init__(engine, why)
        self.engine, self.why = engine, why

    def __str__(self) -> str:
        return f"engine {self.engine}: {self.why}"

    @property
    def hint(self) -> str:
        """Say how to get it, or what does without it."""
        return (
            "pip install 'skerry[sweeps]' (from a checkout: make setup-sweeps), or --engine local"
        )
