"""What access refuses, each by a name that stays the same."""

from skerry.base.errors import Exit
from skerry.trust.errors import TrustError


class AccessDeniedError(TrustError):
    """Who asks may not do this: no policy permits it, one forbids it, or it could not be decided.

    Whatever cannot be evaluated counts as no. `skerry trust explain WHO ACTION` says which policy
    decided; the decision's id is in the message and in the audit ledger.
    """

    code = "E0241"
    reason = "ACCESS_DENIED"

    def __init__(self, who: str, action: str, why: str, decision: str = "") -> None:
        super().__init__(who, action, why, decision)
        self.who, self.action, self.why, self.decision = who, action, why, decision

    def __str__(self) -> str:
        told = f" (decision {self.decision})" if self.decision else ""
        return f"{self.who} may not {self.action}: {self.why}{told}"

    @property
    def hint(self) -> str:
        """Name the command that explains it."""
        if self.decision:
            return f"skerry trust explain --decision {self.decision}"
        return f"skerry trust explain {self.who} {self.action}"


class PolicyInvalidError(TrustError):
    """An access policy is not taken: unreadable, against the schema, or it would lock people out.

    The policy before it stays in force, here and at every region and site.
    """

    code = "E0242"
    exit_code = Exit.FILE_INVALID
    reason = "POLICY_INVALID"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the access policy is refused ({self.reason}): {self.why}"

    @property
    def hint(self) -> str:
        """Say what goes on, and where to look."""
        return "the policy before it stays in force; docs/how-to/write-a-policy.md has examples"


class ApprovalNeededError(TrustError):
    """The request is kept, and waits until another person approves it; nothing was done yet.

    A fleet asks for two people where one alone could undo what protects it.
    """

    code = "E0243"
    reason = "APPROVAL_NEEDED"

    def __init__(self, who: str, action: str, request: str) -> None:
        super().__init__(who, action, request)
        self.who, self.action, self.request = who, action, request

    def __str__(self) -> str:
        return f"{self.action} by {self.who} waits for a second person, as request {self.request}"

    @property
    def hint(self) -> str:
        """Name the command that the other person types."""
        return f"another person who may {self.action}: skerry trust approve {self.request}"


class SelfApprovalError(TrustError):
    """Who asked for something, or applied it, tried to approve it too; a second person has to."""

    code = "E0244"
    reason = "SELF_APPROVAL"

    def __init__(self, who: str, what: str) -> None:
        super().__init__(who, what)
        self.who, self.what = who, what

    def __str__(self) -> str:
        return f"{self.who} asked for {self.what} and cannot approve it too"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "ask another person who may do the same"


class AloneError(TrustError):
    """One person, at a machine's own disk, tried what this fleet wants two people for.

    Central and regions keep such a request until a second person approves it.
    """

    code = "E0268"
    reason = "TWO_PERSON"

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return f"{self.folder} belongs to a fleet where erasing audit facts takes two people"

    @property
    def hint(self) -> str:
        """Name the command that asks for the second person."""
        return "skerry trust erase PERSON --reason WHY (with --region R at a region), then approve"


class LoginRefusedError(TrustError):
    """A name with its password, a token or an identity from elsewhere was not accepted.

    It says the same whether the name is unknown, the password wrong or the account closed, so
    that names cannot be found out.
    """

    code = "E0245"
    reason = "LOGIN_REFUSED"

    def __init__(self, why: str = "the name or the password is wrong") -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"not logged in: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way in."""
        return "skerry trust login; a new password comes from: skerry trust user passwd NAME"


class LoginTooOftenError(TrustError):
    """Too many failed attempts for this name or from this address; wait, then try again."""

    code = "E0246"
    reason = "LOGIN_TOO_OFTEN"

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s

    def __str__(self) -> str:
        return f"too many failed attempts; the next one counts in {self.wait_s:.0f} s"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "wait; operators' certificates go on working meanwhile"


class TokenRefusedError(TrustError):
    """An API token is not one of this fleet's, has ended, or was taken back."""

    code = "E0247"
    reason = "TOKEN_REFUSED"

    def __init__(self, why: str = "it is unknown, ended or revoked") -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the token is refused: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way in."""
        return "make a new one: skerry trust token create, or skerry trust login"


class OidcError(TrustError):
    """An identity from the OIDC provider is not accepted: signature, issuer, audience, time, nonce.

    Only the issuer and client that central's settings name are believed.
    """

    code = "E0248"
    reason = "OIDC_REFUSED"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the identity token is refused: {self.why}"

    @property
    def hint(self) -> str:
        """Name where to look."""
        return "compare issuer and client_id in central's settings with the provider's"


class PeopleError(TrustError):
    """A person, role, token or request that is named is not there, or cannot be as asked."""

    code = "E0249"
    exit_code = Exit.WRONG_USE
    reason = "PEOPLE"

    def __init__(self, why: str, advice: str = "") -> None:
        super().__init__(why, advice)
        self.why, self.advice = why, advice

    def __str__(self) -> str:
        return self.why

    @property
    def hint(self) -> str:
        """The advice given where it was raised."""
        return self.advice
