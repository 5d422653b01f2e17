"""What a region refuses, and why."""

from skerry.base.errors import Exit, SkerryError


class RegionError(SkerryError):
    """The base of every error of the region process."""

    code = "E1100"


class SettingsError(RegionError):
    """A region's settings file cannot be used."""

    code = "E1101"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the page to read."""
        return "docs/reference/api.md says where the settings are described"


class CentralAwayError(RegionError):
    """Central does not answer the region, or refuses what it asks.

    The region goes on: nodes renew, records are kept, and what was mirrored is served.
    It tries again by itself.
    """

    code = "E1102"
    exit_code = Exit.UNREACHABLE

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def __str__(self) -> str:
        return f"central: {self.what} failed: {self.why}"

    @property
    def hint(self) -> str:
        """Say that waiting is enough."""
        return "nothing is lost meanwhile; check that central runs and can be reached from here"


class OtherRegionError(RegionError):
    """A node asks a region that is not its own.

    Each region has an authority that can name its own nodes only.
    """

    code = "E1103"
    exit_code = Exit.REFUSED

    def __init__(self, name: str, region: str) -> None:
        super().__init__(name, region)
        self.name, self.region = name, region

    def __str__(self) -> str:
        return f"{self.name} does not belong to region {self.region}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "ask the region that the name holds"


class MirrorBrokenError(RegionError):
    """What central served as metadata cannot be carried on: torn, too large or not metadata.

    The mirror keeps what it had; nodes go on verifying that.
    """

    code = "E1104"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name, self.why = name, why

    def __str__(self) -> str:
        return f"{self.name} from central cannot be used: {self.why}"
