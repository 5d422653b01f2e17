"""What is refused about signing keys, each by a name that stays the same."""

from collections.abc import Sequence

from skerry.base.errors import Exit
from skerry.trust.errors import PublishError, TrustError


class TooFewSignaturesError(PublishError):
    """Fewer of a role's keys signed than its threshold wants, so nothing was changed.

    One person alone cannot release where two must agree. Pass the signing file on to another
    holder, who runs `skerry trust sign`.
    """

    code = "E0250"
    reason = "TOO_FEW_SIGNATURES"

    def __init__(self, role: str, threshold: int, signed: Sequence[str], open_: Sequence[str]):
        self.threshold, self.signed, self.open = threshold, tuple(signed), tuple(open_)
        by = ", ".join(self.signed) or "nobody"
        more = ", ".join(self.open) or "nobody else"
        super().__init__(
            role, f"{len(self.signed)} of {threshold} keys signed it: {by}; able to sign: {more}"
        )
        self.args = (role, threshold, tuple(signed), tuple(open_))

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "let another holder sign the same file: skerry trust sign FILE --keys FOLDER"


class DelegatedTwiceError(PublishError):
    """A role is delegated by more than one other, or named twice.

    Clients keep a delegated role by its name alone, so two delegators of one name could be
    played against each other. Only `targets` delegates, and each role once.
    """

    code = "E0251"
    reason = "DELEGATED_TWICE"


class KeySharedError(PublishError):
    """One key is to sign for two roles or count twice, or one holder to have two keys of a role.

    A canary key that also signs production is the usual slip: whoever steals it has both.
    """

    code = "E0252"
    reason = "KEY_SHARED"


class LifeUnsoundError(PublishError):
    """Metadata has ended already, or would live longer than its role may.

    A role that never ends can never be revoked by waiting. Check the clock of the machine
    that signed.
    """

    code = "E0253"
    reason = "LIFE_UNSOUND"


class ThresholdUnreachableError(PublishError):
    """A role wants more signatures than it has keys, so nobody could ever sign it again."""

    code = "E0254"
    reason = "THRESHOLD_UNREACHABLE"


class SigningFileError(TrustError):
    """A signing file cannot be used: torn, of another fleet, or built on state nobody signed.

    Its published part is checked from a root that this holder trusts, so that what is shown as
    the change is the change.
    """

    code = "E0255"
    exit_code = Exit.FILE_INVALID
    reason = "SIGNING_FILE"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def __str__(self) -> str:
        return f"{self.what} cannot be signed or published: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "sign nothing; ask whoever made the file for a new one"


class NotAHolderError(TrustError):
    """None of the keys in this folder is one that the file asks for."""

    code = "E0256"
    reason = "NOT_A_HOLDER"

    def __init__(self, who: str, wanted: Sequence[str]) -> None:
        super().__init__(who, tuple(wanted))
        self.who, self.wanted = who, tuple(wanted)

    def __str__(self) -> str:
        return f"{self.who} has no key that is asked for here; wanted: {', '.join(self.wanted)}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "name the folder of another holder with --keys"


class RotationError(TrustError):
    """Keys cannot be changed in this way: unknown role or holder, or nothing would change."""

    code = "E0257"
    exit_code = Exit.WRONG_USE
    reason = "ROTATION"

    def __init__(self, role: str, why: str) -> None:
        super().__init__(role, why)
        self.role, self.why = role, why

    def __str__(self) -> str:
        return f"the keys of {self.role} stay as they are: {self.why}"

    @property
    def hint(self) -> str:
        """Name the page."""
        return "docs/how-to/replace-a-lost-key.md has the commands"


class TokenKeyError(TrustError):
    """A key on a PKCS#11 token cannot be used: no such token or key, wrong PIN, no such module."""

    code = "E0258"
    exit_code = Exit.FILE_INVALID
    reason = "TOKEN_KEY"

    def __init__(self, token: str, why: str) -> None:
        super().__init__(token, why)
        self.token, self.why = token, why

    def __str__(self) -> str:
        return f"the token {self.token} cannot be used: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "plug the token in and check its module, label and PIN; a wrong PIN may lock it"


class SignaturesPendingError(TrustError):
    """A change waits for the signatures of other holders; it is written down and not sent yet."""

    code = "E0259"
    reason = "SIGNATURES_PENDING"

    def __init__(self, path: str, open_: str) -> None:
        super().__init__(path, open_)
        self.path, self.open = path, open_

    def __str__(self) -> str:
        return f"{self.path} waits for more signatures: {self.open}"

    @property
    def hint(self) -> str:
        """Name the next steps."""
        return (
            f"another holder: skerry trust sign {self.path} --keys FOLDER; then this command again"
        )
