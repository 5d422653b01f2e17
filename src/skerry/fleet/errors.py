"""What can go wrong between a fleet file that reads well and desired state."""

from skerry.base.errors import Exit, SkerryError


class FleetError(SkerryError):
    """The root of this room's errors."""

    code = "E0800"


class ModelNotAddedError(FleetError):
    """A model of the fleet file has no entry in `fleet.lock`, so nobody knows its bytes.

    `skerry model add` puts a model's bytes into the fleet's folder and its digest into
    `fleet.lock`. Desired state names models by digest only.
    """

    code = "E0801"
    exit_code = Exit.FILE_INVALID

    def __init__(self, models: tuple[str, ...]) -> None:
        super().__init__(models)
        self.models = models

    def __str__(self) -> str:
        return f"not in fleet.lock: {', '.join(self.models)}"

    @property
    def hint(self) -> str:
        """The command that adds it."""
        return f"add it: skerry model add {self.models[0].split(' ')[0]} ..."


class UnknownSiteError(FleetError):
    """A site was asked for that the fleet does not have."""

    code = "E0802"
    exit_code = Exit.WRONG_USE

    def __init__(self, site: str, known: tuple[str, ...]) -> None:
        super().__init__(site, known)
        self.site, self.known = site, known

    def __str__(self) -> str:
        return f"no site `{self.site}` in this fleet"

    @property
    def hint(self) -> str:
        """The sites there are."""
        more = ", ..." if len(self.known) > 10 else ""
        return f"sites are: {', '.join(self.known[:10])}{more}"


class AppliedStateError(FleetError):
    """The record of the last applied fleet, `.skerry/applied.json`, cannot be read.

    It is written by `skerry apply` and holds the resolved fleet that was sealed last.
    If it is damaged, remove it: the next `diff` then shows everything as added.
    """

    code = "E0803"
    exit_code = Exit.FILE_INVALID

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(file, reason)
        self.file, self.reason = file, reason

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"

    @property
    def hint(self) -> str:
        """How to go on."""
        return "remove the file; the next apply writes it anew"


class TemplateError(FleetError):
    """`skerry init` was asked for a template that does not exist, or a folder that is not empty."""

    code = "E0804"
    exit_code = Exit.WRONG_USE

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return self.what

    @property
    def hint(self) -> str:
        """What to do instead."""
        return self.advice
