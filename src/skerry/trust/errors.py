"""What this room refuses, each by a name that stays the same.

`reason` is the stable word for logs, events and drills (`UPDATE_ROLLBACK`, `TOKEN_USED`);
`code` is its number for `skerry help`.
"""

from skerry.base.errors import Exit, SkerryError


class TrustError(SkerryError):
    """Something was not trusted, or a key, certificate or signature could not be used."""

    code = "E0200"
    exit_code = Exit.REFUSED
    reason: str = "NOT_TRUSTED"


class KeyFileError(TrustError):
    """A file with a key cannot be used: absent, torn, or sealed with another passphrase.

    The file is written whole or not at all, so a torn one means that something else wrote it.
    Restore it from the backup, or make a new one and join again.
    """

    code = "E0201"
    exit_code = Exit.FILE_INVALID
    reason = "KEY_FILE"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path} {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "restore the file, or make a new one and join again"


class UpdateRefused(TrustError):  # noqa: N818 - a refusal is a verdict, and reads as one
    """Signed state was refused. What runs goes on running; nothing new is installed.

    `reason` names the attack or fault: UPDATE_ROLLBACK, UPDATE_EXPIRED, UPDATE_FORGED,
    UPDATE_TOO_LARGE, UPDATE_SLOW, UPDATE_STALE, CLOCK_BACK, TARGET_FORGED, TARGET_UNSIGNED,
    TARGET_UNREADABLE, RELEASE_BELOW_FLOOR, DIRECTOR_IMAGE_MISMATCH, HW_MISMATCH,
    BUNDLE_MISMATCH, BUNDLE_INCOMPLETE, NEEDS_UNMET.
    """

    code = "E0220"
    reason = "UPDATE_REFUSED"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def __str__(self) -> str:
        return f"{self.what} is refused ({self.reason}): {self.why}"

    @property
    def hint(self) -> str:
        """What goes on, and where to look."""
        return "the site keeps what it runs; look at the mirror it fetches from, then at central"


class UpdateRollback(UpdateRefused):
    """Older metadata was offered than this node has already seen.

    A mirror that was restored from a backup does this, and so does an attacker who wants an old,
    vulnerable release back.
    """

    code = "E0221"
    reason = "UPDATE_ROLLBACK"


class UpdateExpired(UpdateRefused):
    """Metadata is past its end, so it may be a frozen old state.

    The mirror was not refreshed in time, the clock here is ahead, or a role was not signed again
    before it ended.
    """

    code = "E0222"
    reason = "UPDATE_EXPIRED"


class UpdateForged(UpdateRefused):
    """Metadata is not signed by whom it must be, or its parts do not belong together."""

    code = "E0223"
    reason = "UPDATE_FORGED"


class UpdateTooLarge(UpdateRefused):
    """The other side sent more bytes than were signed or than any such file may have."""

    code = "E0224"
    reason = "UPDATE_TOO_LARGE"


class UpdateSlow(UpdateRefused):
    """A file trickled in so slowly that it may be held back on purpose."""

    code = "E0225"
    reason = "UPDATE_SLOW"


class UpdateStale(UpdateRefused):
    """No check for updates has succeeded for three days: someone may be holding them back.

    This is an alarm: the site goes on running what it has.
    """

    code = "E0226"
    reason = "UPDATE_STALE"


class ClockBack(UpdateRefused):
    """This machine's clock is earlier than the last time that it trusted.

    With the clock set back, expired metadata would pass for fresh: nothing is installed until
    the clock is right again.
    """

    code = "E0227"
    reason = "CLOCK_BACK"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "set this machine's clock; what it runs goes on"


class TargetForged(UpdateRefused):
    """A file does not have the bytes that were signed: altered, cut short or swapped."""

    code = "E0228"
    reason = "TARGET_FORGED"


class TargetUnsigned(UpdateRefused):
    """A file is named that nobody who may has signed, or with other bytes than were signed."""

    code = "E0229"
    reason = "TARGET_UNSIGNED"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "sign the artifact with the offline key of its channel, then apply again"


class TargetUnreadable(UpdateRefused):
    """A file is signed, but is not a document of the form that this version reads."""

    code = "E0230"
    reason = "TARGET_UNREADABLE"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "check that central and this node run versions that fit together"


class ReleaseBelowFloor(UpdateRefused):
    """A validly signed document has an older generation than this node has accepted before.

    To go back on purpose, publish the older content under a new, higher generation.
    """

    code = "E0231"
    reason = "RELEASE_BELOW_FLOOR"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "to go back on purpose, publish the older content as a new generation"


class DirectorImageMismatch(UpdateRefused):
    """Central names an artifact otherwise than the offline role signed it, or one it never signed.

    Whoever holds central's keys alone gets no further than this, and neither does whoever holds
    the offline ones alone: path, length, digest, hardware and release must be equal in both.
    """

    code = "E0290"
    reason = "DIRECTOR_IMAGE_MISMATCH"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "sign the artifact with the offline key of its channel, then apply again"


class HardwareMismatch(UpdateRefused):
    """An artifact is signed for other machines than this one."""

    code = "E0291"
    reason = "HW_MISMATCH"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "place another variant here, or correct `hardware` in this node's node.json"


class BundleMismatch(UpdateRefused):
    """Members of different releases were named together; each is signed, the mixture is not."""

    code = "E0292"
    reason = "BUNDLE_MISMATCH"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "apply the fleet again, so that all members of its release are named"


class BundleIncomplete(UpdateRefused):
    """A member of a release does not arrive: someone may be holding it back.

    This is an alarm: the site goes on running the release before, and keeps trying.
    """

    code = "E0293"
    reason = "BUNDLE_INCOMPLETE"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "the site keeps what it runs; see that the region's process holds every file"


class NeedsUnmet(UpdateRefused):
    """An artifact needs another one that is not signed, not named, or has other bytes."""

    code = "E0294"
    reason = "NEEDS_UNMET"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "add what it needs to the fleet file, sign it, then apply again"


class UpdateUnreachable(TrustError):  # noqa: N818 - beside its sisters
    """No mirror could be asked for signed state. Nothing was refused."""

    code = "E0232"
    exit_code = Exit.UNREACHABLE
    reason = "UPDATE_UNREACHABLE"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def __str__(self) -> str:
        return f"{self.what} could not be fetched: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "the site goes on with what it has; check its link and the region's process"


class PublishError(TrustError):
    """What was offered for publishing breaks a rule of the repository; nothing was changed.

    Roles are signed by their own keys, count up by one, list only paths of their own, and are not
    delegated twice; every file they list must be there.
    """

    code = "E0240"
    reason = "NOT_PUBLISHED"

    def __init__(self, role: str, why: str) -> None:
        super().__init__(role, why)
        self.role, self.why = role, why

    def __str__(self) -> str:
        return f"the role {self.role} is not published: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "fetch the published metadata again, sign on top of it, and offer that"
