"""People, tokens, requests, explanations: what a person asks of a process, as typed calls.

Blocking; refusals arrive as `OperatorError`. A login is kept beside the fleet file, private, and
speaks before a certificate until it ends or `forget` removes it.
"""

from pathlib import Path
from urllib.parse import quote

import msgspec

from skerry.base.files import private_folder, write_private
from skerry.client.operator import Operator
from skerry.schema import access_api as api

SESSION_FILE = ".skerry/session.json"


class AccessCalls:
    """The access calls of one process."""

    def __init__(self, process: Operator) -> None:
        self._process = process

    # --- who one is -----------------------------------------------------------------------

    def login(self, name: str, password: str) -> api.LoginReply:
        """Log in with a password."""
        asked = api.LoginRequest(name=name, password=password)
        return self._process.ask("POST", "/v1/login", api.LoginReply, asked)

    def oidc_facts(self) -> api.OidcFacts:
        """Return which provider central believes."""
        return self._process.ask("GET", "/v1/login/oidc", api.OidcFacts)

    def oidc_login(self, id_token: str, nonce: str) -> api.LoginReply:
        """Log in with what a provider signed."""
        asked = api.OidcLoginRequest(id_token=id_token, nonce=nonce)
        return self._process.ask("POST", "/v1/login/oidc", api.LoginReply, asked)

    def logout(self) -> None:
        """End the login that this caller shows."""
        self._process.tell("POST", "/v1/logout")

    def whoami(self) -> api.WhoReply:
        """Return who the process takes this caller for."""
        return self._process.ask("GET", "/v1/whoami", api.WhoReply)

    # --- people and tokens ------------------------------------------------------------------

    def people(self) -> api.PeopleReply:
        """Return everybody with a password."""
        return self._process.ask("GET", "/v1/people", api.PeopleReply)

    def change_person(self, change: api.PersonChange) -> None:
        """Add, change or remove a person."""
        self._process.tell("PUT", f"/v1/people/{quote(change.name, safe='')}", change)

    def change_own_password(self, name: str, old: str, new: str) -> None:
        """Give oneself another password."""
        asked = api.PasswordChange(name=name, old=old, new=new)
        self._process.tell("POST", "/v1/password", asked)

    def tokens(self) -> api.TokensReply:
        """Return one's own tokens, or everybody's for who may change people."""
        return self._process.ask("GET", "/v1/access-tokens", api.TokensReply)

    def new_token(self, wish: api.TokenWish) -> api.TokenReply:
        """Make a token for oneself."""
        return self._process.ask("POST", "/v1/access-tokens", api.TokenReply, wish)

    def revoke_token(self, token_id: str) -> None:
        """Take a token back."""
        self._process.tell("DELETE", f"/v1/access-tokens/{quote(token_id, safe='')}")

    # --- what takes two, and why ------------------------------------------------------------

    def requests(self) -> api.RequestsReply:
        """Return what waits for a second person."""
        return self._process.ask("GET", "/v1/requests", api.RequestsReply)

    def settle(self, request: str, verb: str) -> api.ApprovalReply:
        """Approve or withdraw a request."""
        path = f"/v1/requests/{quote(request, safe='')}/{quote(verb, safe='')}"
        return self._process.ask("POST", path, api.ApprovalReply)

    def break_glass(self, reason: str) -> api.GlassReply:
        """Take the emergency role."""
        asked = api.GlassRequest(reason=reason)
        return self._process.ask("POST", "/v1/break-glass", api.GlassReply, asked)

    def erase(self, person: str, reason: str) -> None:
        """Have the audit ledger forget a person's facts; its chain stays whole."""
        asked = api.EraseRequest(person=person, reason=reason)
        self._process.tell("POST", "/v1/erase", asked)

    def explain(self, asked: api.ExplainRequest) -> api.Explanation:
        """Ask whether somebody may do something, and why."""
        return self._process.ask("POST", "/v1/explain", api.Explanation, asked)

    def decision(self, decision_id: str) -> api.DecisionReply:
        """Return a decision of the past."""
        path = f"/v1/decisions/{quote(decision_id, safe='')}"
        return self._process.ask("GET", path, api.DecisionReply)


def keep_session(folder: Path, session: api.LoginReply) -> Path:
    """Keep a login beside the fleet file, readable by this user only."""
    path = folder / SESSION_FILE
    private_folder(path.parent)
    write_private(path, msgspec.json.encode(session))
    return path


def read_session(folder: Path, now_unix_s: float) -> api.LoginReply | None:
    """Return the login kept for a fleet folder, None where there is none or it has ended."""
    try:
        session = msgspec.json.decode((folder / SESSION_FILE).read_bytes(), type=api.LoginReply)
    except (OSError, msgspec.DecodeError):
        return None
    return session if session.ends_unix_s > now_unix_s else None


def forget_session(folder: Path) -> None:
    """Remove a login that was kept."""
    (folder / SESSION_FILE).unlink(missing_ok=True)
