"""People who log in with a password: hashed with argon2id, counted, and never named to strangers.

Whoever tries a name learns nothing about it: an unknown name costs the same hash and gets the
same words as a wrong password. Failures are counted per name and per address, in memory.

Units:   unix seconds; a wait doubles from `WAIT_S` up to `WAIT_S_MAX`.
Errors:  LoginRefusedError, LoginTooOftenError, PeopleError.
Source:  RFC 9106, second recommended option (64 MiB, 3 passes, 4 lanes): argon2-cffi's default.
"""

import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from skerry.schema.access import ROLES, PersonRow
from skerry.trust.access_errors import LoginRefusedError, LoginTooOftenError, PeopleError
from skerry.trust.access_store import AccessStore

if TYPE_CHECKING:  # loaded with the first password
    import argon2

PASSWORD_CHARS_MIN = 12  # NIST SP 800-63B-4, 3.1.1.2, asks for 15 alone, 8 beside another factor
PASSWORD_CHARS_MAX = 1024
FAILURES_FREE = 5
"""Failures before a wait begins."""
WAIT_S = 2.0
WAIT_S_MAX = 900.0
NAMES_COUNTED = 10_000
"""Names and addresses whose failures are remembered; the least recent is forgotten first."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9._@-]{0,126}[a-z0-9])?")


class People:
    """Everybody who has a password here."""

    def __init__(self, store: AccessStore) -> None:
        self._store = store
        self._failures = Failures()
        self._hashing: argon2.PasswordHasher | None = None
        self._nobody = ""

    def put(self, name: str, hashed: str, roles: tuple[str, ...] | None, now_unix_s: float) -> None:
        """Add a person, or change one; what is empty (a password's hash) or None stays."""
        check_name(name)
        check_roles(roles or ())
        known = self._store.rows("SELECT password, roles FROM people WHERE name = ?", name)
        if not hashed and not known:
            raise PeopleError(f"there is no person {name!r}", "give a new one a password")
        if not hashed:
            hashed = known[0][0]
        if roles is None:
            roles = self.roles_of(name) or ()
        listed = msgspec.json.encode(roles).decode()
        self._store.change(
            "INSERT OR REPLACE INTO people VALUES (?, ?, ?, ?)", name, hashed, listed, now_unix_s
        )

    def remove(self, name: str) -> None:
        """Forget a person; raises `PeopleError` for one who is not there."""
        if not self._store.change("DELETE FROM people WHERE name = ?", name):
            raise PeopleError(f"there is no person {name!r}", "skerry trust user list")

    def set_password(self, name: str, password: str, now_unix_s: float) -> None:
        """Give a person another password."""
        self.put(name, self.hashed(password), None, now_unix_s)

    def roles_of(self, name: str) -> tuple[str, ...] | None:
        """Return the roles of a person, None for somebody unknown."""
        found = self._store.rows("SELECT roles FROM people WHERE name = ?", name)
        return tuple(msgspec.json.decode(found[0][0])) if found else None

    def all(self) -> list[PersonRow]:
        """Return everybody, by name."""
        rows = self._store.rows("SELECT name, roles, changed_unix_s FROM people ORDER BY name")
        return [
            PersonRow(name=name, roles=tuple(msgspec.json.decode(roles)), changed_unix_s=changed)
            for name, roles, changed in rows
        ]

    def login(self, name: str, password: str, address: str, now_unix_s: float) -> tuple[str, ...]:
        """Return the roles of whoever knows the password. Blocking: it hashes, some 50 ms."""
        counted = (f"name {name[:128]}", f"from {address}")
        wait_s = max(self._failures.wait_s(key, now_unix_s) for key in counted)
        if wait_s > 0:
            raise LoginTooOftenError(wait_s)
        found = self._store.rows("SELECT password, roles FROM people WHERE name = ?", name[:128])
        hashed = found[0][0] if found else self._hash_of_nobody()
        if not self._matches(hashed, password[:PASSWORD_CHARS_MAX]) or not found:
            for key in counted:
                self._failures.add(key, now_unix_s)
            raise LoginRefusedError
        self._failures.clear(counted[0])
        return tuple(msgspec.json.decode(found[0][1]))

    def hashed(self, password: str) -> str:
        """Return a password's hash; raises `PeopleError` for one that is too short."""
        if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
            raise PeopleError(
                f"the password has {len(password)} characters",
                f"wanted {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX}; four words will do",
            )
        return str(self._hasher().hash(password))

    def _matches(self, hashed: str, password: str) -> bool:
        import argon2

        try:
            return bool(self._hasher().verify(hashed, password))
        except (argon2.exceptions.Argon2Error, argon2.exceptions.InvalidHash):
            return False

    def _hasher(self) -> "argon2.PasswordHasher":
        if self._hashing is None:
            import argon2

            self._hashing = argon2.PasswordHasher()
        return self._hashing

    def _hash_of_nobody(self) -> str:
        """What an unknown name is checked against, so that it takes as long as a known one."""
        if not self._nobody:
            self._nobody = str(self._hasher().hash("nobody has this password"))
        return self._nobody


class Failures:
    """How often something failed lately, and how long it must wait."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, key: str, now_unix_s: float) -> float:
        """Return how long this one still has to wait; 0 if it may try now."""
        count, last_unix_s = self._seen.get(key, (0, 0.0))
        if count < FAILURES_FREE:
            return 0.0
        wait_s = min(WAIT_S * 2.0 ** min(count - FAILURES_FREE, 30), WAIT_S_MAX)
        return max(0.0, min(last_unix_s + wait_s - now_unix_s, WAIT_S_MAX))

    def add(self, key: str, now_unix_s: float) -> None:
        """Count one failure."""
        with self._lock:
            count, _ = self._seen.pop(key, (0, 0.0))
            self._seen[key] = (count + 1, now_unix_s)
            while len(self._seen) > NAMES_COUNTED:
                self._seen.popitem(last=False)

    def clear(self, key: str) -> None:
        """Forget the failures: it worked."""
        with self._lock:
            self._seen.pop(key, None)


def check_name(name: str) -> None:
    """Refuse what cannot be a person's name; raises `PeopleError`."""
    if not _NAME.fullmatch(name):
        raise PeopleError(
            f"{name[:64]!r} is no name for a person", "use a-z, 0-9 and . _ @ -, up to 128"
        )


def check_roles(roles: tuple[str, ...]) -> None:
    """Refuse a role that does not exist; raises `PeopleError`."""
    for role in roles:
        if role not in ROLES:
            raise PeopleError(f"there is no role {role!r}", f"there are {', '.join(ROLES)}")
