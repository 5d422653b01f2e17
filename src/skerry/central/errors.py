"""What central refuses, and why."""

from skerry.base.errors import Exit, SkerryError


class CentralError(SkerryError):
    """The base of every error of the central process."""

    code = "E1200"


class StoreFullError(CentralError):
    """The disk under central's store is full.

    Nothing was half-written: the change that met the full disk was taken back whole,
    and what regions and nodes hold for central stays with them until there is room.
    """

    code = "E1201"

    def __init__(self, path: str, doing: str) -> None:
        super().__init__(path, doing)
        self.path, self.doing = path, doing

    def __str__(self) -> str:
        return f"no room left in {self.path} while writing {self.doing}; nothing of it was kept"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "free some disk space; records wait at their region and arrive by themselves"


class StoreError(CentralError):
    """Central's store cannot be opened, read or written, for a reason other than space."""

    code = "E1202"

    def __init__(self, path: str, doing: str, why: str) -> None:
        super().__init__(path, doing, why)
        self.path, self.doing, self.why = path, doing, why

    def __str__(self) -> str:
        return f"{self.path}: {self.doing} failed: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "check the disk and the file's owner; restore the folder from a backup if it is torn"


class GenerationConflictError(CentralError):
    """Somebody else applied a fleet since the one this change was made against.

    Applying on top of a generation that is no longer the last would silently take
    the other change back, so it is refused.
    """

    code = "E1203"
    exit_code = Exit.DIFFERENT

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(expected, found)
        self.expected, self.found = expected, found

    def __str__(self) -> str:
        return f"the fleet is at generation {self.found}, wanted {self.expected}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "run `skerry diff` against what is there now, then apply again"


class NoRolloutError(CentralError):
    """There is no rollout that this could be done to."""

    code = "E1204"
    exit_code = Exit.WRONG_USE

    def __init__(self, wanted: str, phase: str) -> None:
        super().__init__(wanted, phase)
        self.wanted, self.phase = wanted, phase

    def __str__(self) -> str:
        return f"cannot {self.wanted}: the rollout is {self.phase}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "see `skerry rollout status` for what is under way"


class UnknownFleetError(CentralError):
    """A change names another fleet or trust domain than this central was made for."""

    code = "E1205"
    exit_code = Exit.REFUSED

    def __init__(self, what: str, found: str, wanted: str) -> None:
        super().__init__(what, found, wanted)
        self.what, self.found, self.wanted = what, found, wanted

    def __str__(self) -> str:
        return f"{self.what} is {self.found!r}, this central serves {self.wanted!r}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "point the command at the central of that fleet"


class NotSignedYetError(CentralError):
    """A fleet names a model or a policy that no offline role has signed here.

    Nodes would refuse the desired document, so central does not seal it.
    """

    code = "E1206"
    exit_code = Exit.REFUSED

    def __init__(self, target: str, sha256: str) -> None:
        super().__init__(target, sha256)
        self.target, self.sha256 = target, sha256

    def __str__(self) -> str:
        return f"{self.target} with digest {self.sha256[:12]} is not among the signed targets"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "run `skerry apply` on a machine that holds the offline keys; it signs and uploads"


class UnusableFleetError(CentralError):
    """A resolved fleet does not hold together: it names a site, tier or ring that is not in it.

    `skerry apply` resolves and checks a fleet file before it sends it, so this comes from
    another program, or from another version of this one.
    """

    code = "E1208"
    exit_code = Exit.FILE_INVALID

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"no desired state can be made from this fleet: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "run `skerry check` on the fleet file, with the same version as central"
