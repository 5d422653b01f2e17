"""Signed state, carried from central to the nodes of a region.

The mirror verifies nothing that nodes rely on: they check every signature themselves. It
makes sure of one thing, that a reader never meets a half-carried state: everything that a
new timestamp leads to is fetched first, the timestamp itself is put in place last. While
central is away it serves what it has.

    timestamp -> snapshot -> roles -> their targets (all models and policies; the desired
    documents of this region's sites) -> timestamp put in place

Errors:  CentralAwayError, MirrorBrokenError; the mirror then stays as it was.
Source:  TUF specification 1.0.34, sections 5.3 to 5.7, for what refers to what.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from skerry.base.files import write_atomic
from skerry.region.errors import MirrorBrokenError
from skerry.region.upstream import Upstream
from skerry.schema.model import Manifest

ROOT_ROTATIONS_MAX = 256
TARGETS_MAX = 50_000
OLD_FILES_S = 3600.0
"""How long files that nothing refers to any more stay, for readers that began before."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class _Meta(msgspec.Struct):
    version: int


class _Hashes(msgspec.Struct):
    sha256: str


class _Target(msgspec.Struct):
    hashes: _Hashes


class _Signed(msgspec.Struct):
    version: int
    meta: dict[str, _Meta] = {}
    targets: dict[str, _Target] = {}


class _Metadata(msgspec.Struct):
    signed: _Signed


class Mirror:
    """One folder with `metadata/` and `targets/`, as central publishes them."""

    def __init__(self, folder: Path, upstream: Upstream, sites: Callable[[], set[str]]) -> None:
        self.folder = folder
        self._upstream, self._sites = upstream, sites
        self._turn = threading.Lock()
        self._lengths: dict[str, int] = {}
        for part in ("metadata", "targets"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._learn_lengths()

    @property
    def _timestamp(self) -> Path:
        return self.folder / "metadata" / "timestamp.json"

    def refresh(self) -> bool:
        """Carry what is new; returns whether anything was. Blocking."""
        with self._turn:
            timestamp = self._upstream.file("metadata/timestamp.json")
            known = self._timestamp.read_bytes() if self._timestamp.exists() else b""
            keep, missing = self._carry(timestamp)
            if timestamp == known and not missing:
                return False
            write_atomic(self._timestamp, timestamp)
            self._learn_lengths()
            self._prune(keep)
            return True

    def blob_length(self, sha256: str) -> int | None:
        """Return the length of a blob that some carried manifest names, else None."""
        return self._lengths.get(sha256)

    def _carry(self, timestamp: bytes) -> tuple[set[Path], int]:
        """Fetch all that a timestamp leads to; return it, and how much of it was not here."""
        self._carry_roots()
        sites = self._sites()
        keep: set[Path] = set()
        fetched = 0

        def bring(name: str) -> bytes:
            nonlocal fetched
            path = self.folder / name
            keep.add(path)
            if path.exists():
                return path.read_bytes()
            try:
                data = self._upstream.file(name)
            except FileNotFoundError as error:
                raise MirrorBrokenError(name, "it is listed and not there") from error
            fetched += 1
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)
            return data

        first = _read("timestamp.json", timestamp).meta.get("snapshot.json")
        if first is None:
            raise MirrorBrokenError("timestamp.json", "it names no snapshot")
        snapshot = _read("snapshot.json", bring(f"metadata/{first.version}.snapshot.json"))
        targets = 0
        for name, meta in snapshot.meta.items():
            if not name.removesuffix(".json").isalpha():
                raise MirrorBrokenError("snapshot.json", f"it names {name[:80]!r}")
            role = _read(name, bring(f"metadata/{meta.version}.{name}"))
            for path, target in role.targets.items():
                folder, _, base = path.rpartition("/")
                if folder == "desired" and base.removesuffix(".json") not in sites:
                    continue
                targets += 1
                if targets > TARGETS_MAX or not _is_plain(path, target.hashes.sha256):
                    raise MirrorBrokenError(name, f"it lists {path[:80]!r}")
                data = bring(f"targets/{folder}/{target.hashes.sha256}.{base}")
                if hashlib.sha256(data).hexdigest() != target.hashes.sha256:
                    (self.folder / "targets" / folder / f"{target.hashes.sha256}.{base}").unlink()
                    raise MirrorBrokenError(path, "its bytes are not those it is listed with")
        return keep, fetched

    def _carry_roots(self) -> None:
        """Bring every root version; nodes walk them one by one."""
        for version in range(1, ROOT_ROTATIONS_MAX + 1):
            path = self.folder / "metadata" / f"{version}.root.json"
            if path.exists():
                continue
            try:
                write_atomic(path, self._upstream.file(f"metadata/{version}.root.json"))
            except FileNotFoundError:
                return

    def _learn_lengths(self) -> None:
        """Read from the manifests here which blobs there are and how long each is."""
        lengths: dict[str, int] = {}
        for path in (self.folder / "targets").glob("*/model/*/*.json"):
            try:
                manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                continue
            lengths |= {member.sha256: member.length_bytes for member in manifest.members}
        self._lengths = lengths

    def _prune(self, keep: set[Path]) -> None:
        for part in ("metadata", "targets"):
            for path in (self.folder / part).rglob("*.json"):
                stays = path in keep or path.name.endswith(("root.json", "timestamp.json"))
                if not stays and time.time() - path.stat().st_mtime > OLD_FILES_S:
                    path.unlink(missing_ok=True)


def _read(name: str, data: bytes) -> _Signed:
    try:
        return msgspec.json.decode(data, type=_Metadata).signed
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MirrorBrokenError(name, str(error)) from error


def _is_plain(path: str, sha256: str) -> bool:
    """Tell whether a target's path and digest can be parts of a file name here."""
    safe = all(_PART.fullmatch(part) for part in path.split("/"))
    return safe and len(sha256) == 64 and sha256.isalnum()
