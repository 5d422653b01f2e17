"""The custody entries that lie on a node's disk: maintenance windows, and who looked after it.

Each file below `custody/` holds signed entries, one a line. People carry them there, or the agent
fetches them; either way only the signatures count, so it makes no difference who put them there.

Units: unix seconds.
"""

import http.client
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.files import write_private
from skerry.base.https import https_call
from skerry.node.errors import RenewalError
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.quarantine import add_cause, lift_cause, read_quarantine
from skerry.schema.custody import CustodyChain, SignedEntry, Signer
from skerry.schema.quarantine import QuarantineCause
from skerry.trust.custody import is_clearance, is_window
from skerry.trust.custody_errors import CustodyError
from skerry.trust.custody_sign import digest_of, read_chain, to_lines

FILES_MAX = 256
SUFFIX = ".jsonl"
FETCHED = f"region{SUFFIX}"
"""The file that the agent writes; all others are people's."""
PAPERS_S = 60.0
"""Time between two looks at what the region has: a window is agreed on earlier than that."""
WHO = "custody"
"""Under which name broken papers put a node into quarantine."""


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


def take_papers(files: IdentityFiles, folder: NodeFolder, *, url: str, host: str) -> bool:
    """Fetch what central knows of this node's custody, through its region. Blocking.

    Where its machine's chain is broken, the node goes into quarantine, and comes out again when
    it is not; says whether that changed. Raises `RenewalError`; then everything stays as it is.
    """
    try:
        reply = https_call("GET", url, "/v1/papers", tls=files.client_tls(), name=host)
        if reply.status >= 400:
            raise RenewalError(url, f"status {reply.status} on /v1/papers")
        chain = msgspec.json.decode(reply.body, type=CustodyChain)
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise RenewalError(url, str(error) or type(error).__name__) from error
    path, data = folder.custody / FETCHED, to_lines(chain.entries)
    if chain.entries and not (path.exists() and path.read_bytes() == data):
        write_private(path, data)
    return _heed(folder.quarantine, chain.quarantine)


def _heed(path: Path, why: str) -> bool:
    before = read_quarantine(path).causes.get(WHO)
    if why and (before is None or before.text != why):
        cause = QuarantineCause(word="CUSTODY_BROKEN", text=why, at_unix_s=time.time())
        add_cause(path, WHO, cause)
        return True
    if before is not None and not why:
        lift_cause(path, WHO)
        return True
    return False


async def follow_papers(
    files: IdentityFiles,
    folder: NodeFolder,
    *,
    url: str,
    host: str,
    clock: Clock,
    wanted: Callable[[], bool],
    on_quarantine: Callable[[], None],
    on_note: Callable[[str], None],
) -> None:
    """Ask for papers once a minute, for as long as the process lives, where they matter at all."""
    ask = partial(take_papers, files, folder, url=url, host=host)
    while True:
        if wanted():
            try:
                if await anyio.to_thread.run_sync(ask):
                    on_quarantine()
            except (SkerryError, OSError) as error:  # what is here counts
                on_note(str(error))
        await clock.sleep(PAPERS_S)
