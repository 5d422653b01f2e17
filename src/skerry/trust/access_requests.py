"""Requests that two people decide on: one asks, another one approves, and then it is done.

What was asked is kept byte for byte, and carried out once: whoever approves approves exactly that.

Units:   unix seconds.
Errors:  PeopleError for a request that is not there or no longer waits.
"""

import hashlib
import secrets
from typing import Any

from skerry.schema.access import PENDING_S, RequestRow, RequestState
from skerry.trust.access_errors import PeopleError
from skerry.trust.access_store import AccessStore

WAITING_MAX = 200
"""Requests of one person that wait at once."""
BODY_BYTES_MAX = 8 * 1024 * 1024
KEPT_S = 90 * 86_400.0
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # read out over a telephone without a mix-up
_COLUMNS = "id, action, what, who, body, at_unix_s, ends_unix_s, state, by"


class Requests:
    """Every request of a process that waits, or waited lately."""

    def __init__(self, store: AccessStore) -> None:
        self._store = store

    def add(
        self, kind: str, action: str, what: str, who: str, body: bytes, now_unix_s: float
    ) -> RequestRow:
        """Keep a request; it takes the place of an earlier one of that person for the same."""
        if len(body) > BODY_BYTES_MAX:
            raise PeopleError(f"the request has {len(body)} bytes", f"wanted {BODY_BYTES_MAX}")
        self._store.change("DELETE FROM requests WHERE at_unix_s < ?", now_unix_s - KEPT_S)
        waiting = [row for row in self.all(now_unix_s) if row.who == who]
        digest = hashlib.sha256(body).hexdigest()
        for row in waiting:
            if (row.action, row.what) == (action, what):
                if row.sha256 == digest:
                    return row
                self.settle(row.id, RequestState.WITHDRAWN, who)
        if len(waiting) >= WAITING_MAX:
            raise PeopleError(f"{len(waiting)} requests of {who} wait already", "withdraw some")
        request = "".join(secrets.choice(_LETTERS) for _ in range(8))
        self._store.change(
            "INSERT INTO requests (id, kind, action, what, who, body, at_unix_s, ends_unix_s,"
            " state, by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '')",
            *(request, kind, action, what, who, body, now_unix_s, now_unix_s + PENDING_S),
            RequestState.WAITING,
        )
        return self.waiting(request, now_unix_s)

    def all(self, now_unix_s: float) -> list[RequestRow]:
        """Return the requests that wait, oldest first."""
        sql = (
            f"SELECT {_COLUMNS} FROM requests WHERE state = ? AND ends_unix_s > ?"  # noqa: S608
            " ORDER BY at_unix_s"
        )
        return [_row(row) for row in self._store.rows(sql, RequestState.WAITING, now_unix_s)]

    def waiting(self, request: str, now_unix_s: float) -> RequestRow:
        """Return a request that waits; raises `PeopleError` for any other."""
        sql = f"SELECT {_COLUMNS} FROM requests WHERE id = ?"  # noqa: S608
        found = self._store.rows(sql, request)
        row = _row(found[0]) if found else None
        if row is None or row.state is not RequestState.WAITING or row.ends_unix_s <= now_unix_s:
            became = f": it is {row.state}" if row and row.state != RequestState.WAITING else ""
            raise PeopleError(f"no request {request[:32]!r} waits{became}", "skerry trust requests")
        return row

    def body(self, request: str) -> tuple[str, bytes]:
        """Return what was asked: its kind and its bytes."""
        kind, body = self._store.rows("SELECT kind, body FROM requests WHERE id = ?", request)[0]
        return str(kind), bytes(body)

    def settle(self, request: str, state: RequestState, by: str) -> bool:
        """End the wait, once: False if somebody else was faster."""
        sql = "UPDATE requests SET state = ?, by = ? WHERE id = ? AND state = ?"
        return bool(self._store.change(sql, state, by, request, RequestState.WAITING))

    def withdraw_all(self, who: str) -> None:
        """End the wait of everything that somebody asked for: they are gone."""
        sql = "UPDATE requests SET state = ?, by = ? WHERE who = ? AND state = ?"
        self._store.change(sql, RequestState.WITHDRAWN, who, who, RequestState.WAITING)

    def fail(self, request: str) -> None:
        """Say that an approved request could not be carried out."""
        self._store.change("UPDATE requests SET state = ? WHERE id = ?", "failed", request)


def _row(columns: tuple[Any, ...]) -> RequestRow:
    request, action, what, who, body, at_unix_s, ends_unix_s, state, by = columns
    return RequestRow(
        id=request,
        action=action,
        what=what,
        who=who,
        sha256=hashlib.sha256(body).hexdigest(),
        at_unix_s=at_unix_s,
        ends_unix_s=ends_unix_s,
        state=RequestState(state),
        by=by,
    )
