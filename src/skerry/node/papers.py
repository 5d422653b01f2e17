"""The custody entries that lie on a node's disk: maintenance windows, and who looked after it.

Each file below `custody/` holds signed entries, one a line. People carry them there, or the agent
fetches them; either way only the signatures count, so it makes no difference who put them there.

Units: unix seconds.
"""

import http.client
from collections.abc import Mapping
from pathlib import Path

import msgspec

from skerry.base.files import write_private
from skerry.base.https import https_call
from skerry.node.errors import RenewalError
from skerry.node.identity import IdentityFiles
from skerry.schema.custody import CustodyChain, SignedEntry, Signer
from skerry.trust.custody import is_clearance, is_window
from skerry.trust.custody_errors import CustodyError
from skerry.trust.custody_sign import digest_of, read_chain, to_lines

FILES_MAX = 256
SUFFIX = ".jsonl"
FETCHED = f"region{SUFFIX}"
"""The file that the agent writes; all others are people's."""


class Papers:
    """What a node knows of its own custody; read again when the folder changes."""

    def __init__(self, folder: Path, node: str) -> None:
        self._folder, self._node = folder, node
        self._seen: tuple[tuple[str, int, int], ...] = ()
        self._entries: list[SignedEntry] = []

    def open_window(self, signers: Mapping[str, Signer], unix_s: float) -> str:
        """Return the digest of a maintenance window that is open, or nothing."""
        for signed in self._read():
            if is_window(signed, signers, node=self._node, unix_s=unix_s):
                return digest_of(signed)
        return ""

    def clearance(self, signers: Mapping[str, Signer], since_unix_s: float) -> str:
        """Return the digest of an entry by which two people vouch for it since then, or nothing."""
        for signed in self._read():
            if is_clearance(signed, signers, node=self._node, since_unix_s=since_unix_s):
                return digest_of(signed)
        return ""

    def _read(self) -> list[SignedEntry]:
        """Return every entry; a file that cannot be read holds none."""
        try:
            paths = sorted(self._folder.glob(f"*{SUFFIX}"))[:FILES_MAX]
            seen = tuple((p.name, (s := p.stat()).st_mtime_ns, s.st_size) for p in paths)
        except OSError:
            return []
        if seen != self._seen:
            found: list[SignedEntry] = []
            for path in paths:
                try:
                    found += read_chain(path)
                except CustodyError:
                    continue
            self._entries, self._seen = found, seen
        return self._entries


def take_papers(files: IdentityFiles, folder: Path, *, url: str, host: str) -> None:
    """Fetch what central knows of this node's custody, through its region. Blocking.

    Raises `RenewalError`; what lies in the folder then stays.
    """
    try:
        reply = https_call("GET", url, "/v1/papers", tls=files.client_tls(), name=host)
        if reply.status >= 400:
            raise RenewalError(url, f"status {reply.status} on /v1/papers")
        chain = msgspec.json.decode(reply.body, type=CustodyChain)
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise RenewalError(url, str(error) or type(error).__name__) from error
    path, data = folder / FETCHED, to_lines(chain.entries)
    if chain.entries and not (path.exists() and path.read_bytes() == data):
        write_private(path, data)
