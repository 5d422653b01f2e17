"""API tokens: `skerry_<id>_<secret>`, kept as a hash, for some actions and some time.

A token never does more than its person may at the moment it is used: roles are looked up then,
and its scope only narrows them. The secret is 256 random bits, so a plain SHA-256 keeps it; there
is nothing to guess. The id is in the clear and names the token in lists and in the ledger.

Units:   unix seconds.
Errors:  TokenRefusedError, PeopleError.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

import msgspec

from skerry.base.units import SECONDS_PER_DAY
from skerry.schema.access import Action, Door, TokenRow
from skerry.trust.access_errors import PeopleError, TokenRefusedError
from skerry.trust.access_store import AccessStore

SESSION_S = 8 * 3600.0
"""How long a login lasts."""
TOKEN_S_MAX = 366 * SECONDS_PER_DAY
TOKENS_MAX = 200
"""Live tokens of one person."""
_FORM = re.compile(r"skerry_([a-z2-7]{10})_([A-Za-z0-9_-]{43})", re.ASCII)
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_COLUMNS = "id, who, door, label, scope, roles, session, made_unix_s, ends_unix_s"


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token speaks for."""

    who: str
    door: Door
    """The door that its person came through when it was made: says where roles are looked up."""
    scope: frozenset[str]
    """Actions it is for; empty for all."""
    roles: tuple[str, ...]
    """Roles given at login, for people whom only their OIDC provider knows."""
    session: bool


def parse_token(text: str) -> tuple[str, str]:
    """Return a token's id and secret; raises `TokenRefusedError` for any other text."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise TokenRefusedError("it has not the form of one")
    return found[1], found[2]


class Tokens:
    """Every token and login of a process."""

    def __init__(self, store: AccessStore) -> None:
        self._store = store

    def issue(
        self,
        who: str,
        door: Door,
        *,
        label: str,
        life_s: float,
        now_unix_s: float,
        scope: tuple[str, ...] = (),
        roles: tuple[str, ...] = (),
        session: bool = False,
    ) -> tuple[str, TokenRow]:
        """Make a token; the text is returned once and kept nowhere."""
        if not 0 < life_s <= TOKEN_S_MAX:
            raise PeopleError(f"a token of {life_s:g} s", f"wanted up to {TOKEN_S_MAX:g} s")
        unknown = sorted(set(scope) - {action.value for action in Action})
        if unknown:
            raise PeopleError(f"there is no action {unknown[0]!r}", "docs/reference/access.md")
        self._store.change("DELETE FROM tokens WHERE ends_unix_s <= ?", now_unix_s)
        live = self._store.rows("SELECT count(*) FROM tokens WHERE who = ?", who)[0][0]
        if live >= TOKENS_MAX:
            raise PeopleError(f"{who} has {live} tokens", "take some back first")
        token_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(10))
        secret = secrets.token_urlsafe(32)
        row = TokenRow(
            id=token_id,
            who=who,
            door=door,
            label=label[:128],
            scope=scope,
            roles=roles,
            session=session,
            made_unix_s=now_unix_s,
            ends_unix_s=now_unix_s + life_s,
        )
        self._store.change(
            "INSERT INTO tokens (sha256, id, who, door, label, scope, roles, session,"
            " made_unix_s, ends_unix_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            token_sha256(secret),
            token_id,
            who,
            door,
            row.label,
            msgspec.json.encode(scope).decode(),
            msgspec.json.encode(roles).decode(),
            int(session),
            row.made_unix_s,
            row.ends_unix_s,
        )
        return f"skerry_{token_id}_{secret}", row

    def find(self, text: str, now_unix_s: float) -> Bearer:
        """Return whom a token speaks for; raises `TokenRefusedError`."""
        token_id, secret = parse_token(text)
        rows = self._store.rows(
            "SELECT sha256, who, door, scope, roles, session, ends_unix_s FROM tokens WHERE id = ?",
            token_id,
        )
        kept = rows[0][0] if rows else ""
        if not hmac.compare_digest(kept, token_sha256(secret)):
            raise TokenRefusedError
        _, who, door, scope, roles, session, ends_unix_s = rows[0]
        if ends_unix_s <= now_unix_s:
            raise TokenRefusedError
        return Bearer(
            who,
            Door(door),
            frozenset(msgspec.json.decode(scope)),
            tuple(msgspec.json.decode(roles)),
            bool(session),
        )

    def all(self, now_unix_s: float, who: str = "") -> list[TokenRow]:
        """Return the live tokens of one person, or of everybody."""
        rows = self._store.rows(
            f"SELECT {_COLUMNS} FROM tokens WHERE ends_unix_s > ? AND (? = '' OR who = ?)"  # noqa: S608
            " ORDER BY who, made_unix_s",
            now_unix_s,
            who,
            who,
        )
        return [
            TokenRow(
                id=token_id,
                who=owner,
                door=Door(door),
                label=label,
                scope=tuple(msgspec.json.decode(scope)),
                roles=tuple(msgspec.json.decode(roles)),
                session=bool(session),
                made_unix_s=made,
                ends_unix_s=ends,
            )
            for token_id, owner, door, label, scope, roles, session, made, ends in rows
        ]

    def owner(self, token_id: str) -> str:
        """Return whose a token is; raises `PeopleError` where there is none."""
        found = self._store.rows("SELECT who FROM tokens WHERE id = ?", token_id)
        if not found:
            raise PeopleError(f"there is no token {token_id[:32]!r}", "skerry trust token list")
        return str(found[0][0])

    def revoke(self, token_id: str) -> None:
        """Take a token back, for good."""
        self._store.change("DELETE FROM tokens WHERE id = ?", token_id)

    def revoke_all(self, who: str) -> int:
        """Take back every token and login of a person; returns how many there were."""
        return self._store.change("DELETE FROM tokens WHERE who = ?", who)


def token_sha256(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
