"""Who is in the region: every node that joined, where peers reach it, and its live logins.

Tokens, enrolment keys and bans are `skerry.trust.registry`; this holds what the region
must know beside them, in a SQLite file of its own.

Units:   unix seconds.
"""

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

from skerry.base.files import PRIVATE_FILE_MODE
from skerry.schema.api import Registration
from skerry.schema.attestation import Stands
from skerry.trust.spiffe import SpiffeId


class Roster:
    """Nodes and logins; any thread may call it. Each call is one whole transaction."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=PRIVATE_FILE_MODE)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(
            """
            PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000;
            CREATE TABLE IF NOT EXISTS nodes (
              spiffe_id TEXT PRIMARY KEY, inference_url TEXT NOT NULL,
              joined_unix_s REAL NOT NULL) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS logins (
              public TEXT PRIMARY KEY, spiffe_id TEXT NOT NULL,
              ends_unix_s REAL NOT NULL) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS site_authorities (
              pem BLOB PRIMARY KEY, spiffe_id TEXT NOT NULL,
              ends_unix_s REAL NOT NULL) WITHOUT ROWID;
            """
        )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def admitted(
        self,
        spiffe_id: SpiffeId,
        *,
        inference_url: str,
        login: str,
        ends_unix_s: float,
        now_unix_s: float,
    ) -> bool:
        """Note a node with its new login; say whether central should hear of a change."""
        name = str(spiffe_id)
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            known = self._db.execute(
                "SELECT inference_url FROM nodes WHERE spiffe_id = ?", (name,)
            ).fetchone()
            self._db.execute(
                "INSERT INTO nodes VALUES (?, ?, ?) ON CONFLICT (spiffe_id)"
                " DO UPDATE SET inference_url = excluded.inference_url",
                (name, inference_url, now_unix_s),
            )
            self._db.execute("DELETE FROM logins WHERE ends_unix_s < ?", (now_unix_s,))
            self._db.execute(
                "INSERT OR REPLACE INTO logins VALUES (?, ?, ?)", (login, name, ends_unix_s)
            )
        return known is None or str(known[0]) != inference_url

    def forget(self, spiffe_id: str) -> None:
        """Take a node off the roster. Its logins stay known until they end, so they stay cut."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM nodes WHERE spiffe_id = ?", (spiffe_id,))

    def numbers(self, host: str) -> set[int]:
        """Return the numbers taken by nodes of a site, by the host of its ids."""
        return {
            SpiffeId.parse(name).number
            for (name, _, _) in self._rows()
            if SpiffeId.parse(name).host == host
        }

    def names(self) -> list[str]:
        """Return the id of every node."""
        return [name for name, _, _ in self._rows()]

    def nodes(
        self, bans: dict[str, str], stands: Mapping[str, Stands] | None = None
    ) -> list[Registration]:
        """Return every node, by id, as central wants to hear of it."""
        found = []
        for name, url, joined_unix_s in self._rows():
            one = SpiffeId.parse(name)
            found.append(
                Registration(
                    node=one.node,
                    site=one.site,
                    region=one.region,
                    inference_url=url,
                    joined_unix_s=joined_unix_s,
                    banned=name in bans,
                    ban_reason=bans.get(name, ""),
                    attestation=(stands or {}).get(name, Stands()),
                )
            )
        return found

    def live_logins(self, spiffe_ids: set[str], now_unix_s: float) -> list[str]:
        """Return the public keys of logins of these nodes that have not ended."""
        with self._lock:
            rows = self._db.execute(
                "SELECT public, spiffe_id FROM logins WHERE ends_unix_s >= ? ORDER BY public",
                (now_unix_s,),
            ).fetchall()
        return [public for public, spiffe_id in rows if spiffe_id in spiffe_ids]

    def logins(self) -> set[str]:
        """Return the public keys of every login that was given to a node."""
        with self._lock:
            return {str(row[0]) for row in self._db.execute("SELECT public FROM logins")}

    def holder(self, public: str) -> str:
        """Return whose login this is; empty for nobody's."""
        with self._lock:
            row = self._db.execute(
                "SELECT spiffe_id FROM logins WHERE public = ?", (public,)
            ).fetchone()
        return str(row[0]) if row else ""

    def gave_site_authority(
        self, spiffe_id: SpiffeId, pem: bytes, ends_unix_s: float, now_unix_s: float
    ) -> None:
        """Note the certificate of an authority that a node got for its site."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM site_authorities WHERE ends_unix_s < ?", (now_unix_s,))
            self._db.execute(
                "INSERT OR REPLACE INTO site_authorities VALUES (?, ?, ?)",
                (pem, str(spiffe_id), ends_unix_s),
            )

    def site_authorities(self, spiffe_ids: set[str], now_unix_s: float) -> bytes:
        """Return the certificates (PEM) of site authorities that these nodes hold."""
        with self._lock:
            rows = self._db.execute(
                "SELECT pem, spiffe_id FROM site_authorities WHERE ends_unix_s >= ? ORDER BY pem",
                (now_unix_s,),
            ).fetchall()
        return b"".join(pem for pem, spiffe_id in rows if spiffe_id in spiffe_ids)

    def ends(self) -> list[tuple[str, str, float]]:
        """Return the last end of each node's certificate and each site authority that is out.

        As kind, id and time; a node's login ends with its certificate.
        """
        with self._lock:
            return self._db.execute(
                "SELECT 'certificate', spiffe_id, MAX(ends_unix_s) FROM logins GROUP BY spiffe_id"
                " UNION ALL SELECT 'authority', spiffe_id, MAX(ends_unix_s)"
                " FROM site_authorities GROUP BY spiffe_id"
            ).fetchall()

    def _rows(self) -> list[tuple[str, str, float]]:
        with self._lock:
            return self._db.execute(
                "SELECT spiffe_id, inference_url, joined_unix_s FROM nodes ORDER BY spiffe_id"
            ).fetchall()
