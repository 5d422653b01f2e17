"""What travels over the access calls of central and regions: logins, people, tokens, requests.

Units:   unix seconds in `*_unix_s`, seconds in `life_s`.
"""

import msgspec

from skerry.schema.access import Decision, Door, PersonRow, RequestRow, TokenRow


class LoginRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/login`: a name and its password."""

    name: str
    password: str


class OidcLoginRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/login/oidc`: what the provider signed, and the nonce that it was asked with."""

    id_token: str
    nonce: str


class OidcFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/login/oidc`: where to log in; empty where no provider is configured. Public."""

    issuer: str = ""
    client_id: str = ""
    scope: str = ""


class LoginReply(msgspec.Struct, frozen=True, kw_only=True):
    """A login's token; it is shown once."""

    token: str
    name: str
    roles: tuple[str, ...]
    ends_unix_s: float


class WhoReply(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/whoami`: who central takes you for."""

    name: str
    kind: str
    door: Door
    roles: tuple[str, ...]
    policy_generation: int
    policy_sha256: str


class PersonChange(msgspec.Struct, frozen=True, kw_only=True):
    """`PUT /v1/people/<name>`: what to change; what is left out stays."""

    name: str
    password: str = ""
    roles: tuple[str, ...] | None = None
    remove: bool = False


class PasswordChange(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/password`: a person's own password."""

    name: str
    old: str
    new: str


class PeopleReply(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/people`: everybody with a password."""

    people: tuple[PersonRow, ...]


class TokenWish(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/access-tokens`: a token for oneself."""

    label: str
    life_s: float
    scope: tuple[str, ...] = ()


class TokenReply(msgspec.Struct, frozen=True, kw_only=True):
    """The new token; it is shown once."""

    token: str
    row: TokenRow


class TokensReply(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/access-tokens`: one's own tokens, or everybody's."""

    tokens: tuple[TokenRow, ...]


class RequestsReply(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/requests`: what waits for a second person here."""

    requests: tuple[RequestRow, ...]


class ApprovalReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request that was approved."""

    request: RequestRow
    outcome: msgspec.Raw = msgspec.Raw(b"null")
    """The reply that the call itself has."""


class GlassRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/break-glass`: why."""

    reason: str


class GlassReply(msgspec.Struct, frozen=True, kw_only=True):
    """Until when the emergency role counts."""

    ends_unix_s: float


class EraseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/erase`: forget the personal facts of somebody in this process's audit ledger."""

    person: str
    reason: str


class ExplainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/explain`: may somebody do something, and why?

    For `open-data`, `who` is a site, `what` a data class and `origin` the site that received it.
    """

    who: str
    action: str
    what: str = ""
    origin: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, as it would be now."""

    who: str
    action: str
    what: str
    roles: tuple[str, ...]
    allowed: bool
    second_person: bool
    """Allowed once another person approves."""
    policies: tuple[str, ...]
    errors: tuple[str, ...]
    text: str
    policy_generation: int
    policy_sha256: str


class DecisionReply(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/decisions/<id>`: a decision of the past."""

    decision: Decision
