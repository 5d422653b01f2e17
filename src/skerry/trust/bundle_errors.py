"""What is wrong with a bundle, beside what its signed state may be refused for."""

from skerry.base.errors import Exit
from skerry.trust.errors import TrustError


class BundleUnreadable(TrustError):  # noqa: N818 - a refusal is a verdict
    """A file is no bundle, or one that was changed: its form is fixed to the byte.

    Nothing of it was installed. Copy it again from where it was made.
    """

    code = "E0218"
    exit_code = Exit.FILE_INVALID
    reason = "BUNDLE_UNREADABLE"

    def __init__(self, bundle: str, why: str) -> None:
        super().__init__(bundle, why)
        self.bundle, self.why = bundle, why

    def __str__(self) -> str:
        return f"{self.bundle} is no bundle that can be used: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "copy the file again, or make it again with: skerry bundle export"


class BundleShort(TrustError):  # noqa: N818 - a refusal is a verdict
    """Something that the signed state names is neither in the bundle nor here.

    The file was cut short, or it was made to follow an earlier bundle that never came here.
    Whole model files were kept; nothing was switched over. Bring the whole file, or one made
    without `--since`: what is here already is not copied again.
    """

    code = "E0219"
    exit_code = Exit.BAD_OUTCOME
    reason = "BUNDLE_SHORT"

    def __init__(self, bundle: str, missing: list[str]) -> None:
        super().__init__(bundle, missing)
        self.bundle, self.missing = bundle, missing

    def __str__(self) -> str:
        more = f" and {len(self.missing) - 3} more" if len(self.missing) > 3 else ""
        return f"{self.bundle} lacks {', '.join(self.missing[:3])}{more}, and it is not here"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "bring the whole file, or one made without --since; what arrived is kept"


class BundleElsewhere(TrustError):  # noqa: N818 - a refusal is a verdict
    """A bundle is sound, but brings nothing for this place."""

    code = "E0209"
    reason = "BUNDLE_ELSEWHERE"

    def __init__(self, bundle: str, sites: tuple[str, ...], here: str) -> None:
        super().__init__(bundle, sites, here)
        self.bundle, self.sites, self.here = bundle, sites, here

    def __str__(self) -> str:
        meant = ", ".join(self.sites)[:200] or "no site"
        return f"{self.bundle} brings nothing for {self.here}: it is for {meant}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return f"make one for here with: skerry bundle export --site {self.here}"
