"""Back up a state folder of central, of a region, or of the fleet's keys, and bring it back.

A backup is a tar stream, sealed with a passphrase unless told otherwise, whose last member lists
every file and its digest. It may be made while the process runs: SQLite files are copied by SQLite
itself, and of the signed repository the timestamp goes first, so that whatever it names is there.
What a running message server still holds is left out.

    make -> one file -> verify -> restore into an empty folder

A restored central is older than what nodes have seen, and they never go back. So its counters are
set far ahead, and every desired document is sealed again under a newer number.

Units:   bytes, unix seconds.
Errors:  BackupError, SealError.
"""

import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import msgspec

from skerry import __version__
from skerry.base.clock import Clock
from skerry.base.errors import Exit
from skerry.base.files import (
    PRIVATE_FILE_MODE,
    FolderBusyError,
    FolderLock,
    private_folder,
    sync_folder,
)
from skerry.local.errors import LocalError
from skerry.schema.backup import BackupFile, BackupManifest, BackupOf
from skerry.trust.sealed_stream import SealedReader, SealedWriter, is_sealed

MANIFEST = "backup.json"
MANIFEST_BYTES_MAX = 64 * 1024**2
FILES_MAX = 1_000_000
_FIRST = "repository/metadata/timestamp.json"
_PASSING = (".lock", "audit/reserve", ".sock", "-wal", "-shm", "-journal", ".tmp")
_MARKS = {
    "central.json": BackupOf.CENTRAL,
    "region.json": BackupOf.REGION,
    "1.root.json": BackupOf.KEYS,
}
_SQLITE = b"SQLite format 3\0"
_PIECE_BYTES = 1024 * 1024


class BackupError(LocalError):
    """A backup cannot be made, is damaged, or cannot be restored there.

    A file that fails its check was changed or cut off on its way: take another copy. A folder to
    restore into has to be empty, so that nothing of two lives gets mixed.
    """

    code = "E1406"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str, advice: str) -> None:
        super().__init__(path, why, advice)
        self.path, self.why, self.advice = path, why, advice

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return self.advice


def make_backup(
    state: Path, out: Path, *, passphrase: str | None, clock: Clock, blobs: bool = True
) -> BackupManifest:
    """Copy a state folder into one file; the process may run meanwhile.

    `blobs` False leaves model bytes out: they can be added again from where models come from.
    """
    of = _kind_of(state)
    if out.exists():
        raise BackupError(str(out), "is there already", "name a file that is not")
    files: dict[str, BackupFile] = {}
    with ExitStack() as stack:
        running = not _held(stack, state)
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=out.parent)))
        half = work / "backup"
        with half.open("xb") as under:
            half.chmod(PRIVATE_FILE_MODE)
            with (
                _sealed(under, passphrase) as stream,
                tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                for name in _names(state, running=running, blobs=blobs):
                    with _whole(state / name, work) as source:
                        if source is not None:
                            files[name] = _add(tar, name, source)
                manifest = BackupManifest(
                    of=of,
                    fleet=_fleet_of(state, of),
                    made_unix_s=clock.unix_s(),
                    made_by=__version__,
                    running=running,
                    files=files,
                )
                _add(tar, MANIFEST, io.BytesIO(msgspec.json.encode(manifest)))
            _sync(under)
        half.replace(out)
        sync_folder(out.parent)
    return manifest


def verify_backup(path: Path, *, passphrase: str | None) -> BackupManifest:
    """Read a backup to its end and check every byte of it; writes nothing."""
    return _read(path, passphrase, into=None)


def restore_files(path: Path, state: Path, *, passphrase: str | None) -> BackupManifest:
    """Unpack a backup into a folder that is absent or empty: all of it, or nothing."""
    if state.exists() and any(state.iterdir()):
        raise BackupError(str(state), "is not empty", "name a new folder, or move that one aside")
    half = state.with_name(f".{state.name}.restoring")
    shutil.rmtree(half, ignore_errors=True)
    try:
        manifest = _read(path, passphrase, into=private_folder(half))
        if state.exists():
            state.rmdir()
        half.rename(state)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    sync_folder(state.parent)
    return manifest


def needs_passphrase(path: Path) -> bool:
    """Say whether a backup is sealed."""
    with path.open("rb") as file:
        return is_sealed(file.read(64))


# --- making ----------------------------------------------------------------------------


def _kind_of(state: Path) -> BackupOf:
    for mark, of in _MARKS.items():
        if (state / mark).is_file():
            return of
    if (state / "node.json").exists():
        raise BackupError(
            str(state),
            "is a node's, and nodes need no backup",
            "a blank machine takes its place: skerry trust ticket SITE/NUMBER",
        )
    raise BackupError(
        str(state),
        f"holds none of {', '.join(_MARKS)}",
        "name the state folder of central or a region, or the folder with the fleet's keys",
    )


def _fleet_of(state: Path, of: BackupOf) -> str:
    """Return the fleet's name as the folder's settings have it; keys have none."""
    if of is BackupOf.KEYS:
        return ""
    settings = msgspec.json.decode((state / f"{of}.json").read_bytes(), type=dict[str, object])
    return str(settings.get("fleet", ""))


def _held(stack: ExitStack, state: Path) -> bool:
    """Hold the folder's lock, so that no process starts meanwhile; False if one runs."""
    try:
        stack.enter_context(FolderLock(state))
    except FolderBusyError:
        return False
    return True


def _names(state: Path, *, running: bool, blobs: bool) -> Iterator[str]:
    """Yield what belongs into the backup, as relative paths; the timestamp before what it names."""
    if (state / _FIRST).is_file():
        yield _FIRST
    for path in sorted(state.rglob("*")):
        name = path.relative_to(state).as_posix()
        top = name.partition("/")[0]
        if (
            name == _FIRST
            or path.is_symlink()
            or not path.is_file()
            or name.endswith(_PASSING)
            or (top == "nats" and running)
            or (top == "blobs" and not blobs)
        ):
            continue
        yield name


@contextmanager
def _whole(path: Path, work: Path) -> Iterator[BinaryIO | None]:
    """Open a file as it was at one moment; None if it is gone by now."""
    try:
        file = path.open("rb")
    except FileNotFoundError:  # an older version, pruned meanwhile: nothing names it any more
        yield None
        return
    with file:
        if not file.read(len(_SQLITE)).startswith(_SQLITE):
            yield file
            return
    copy = work / "copy.db"
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    try:
        with copy.open("rb") as file:
            yield file
    finally:
        copy.unlink()


def _add(tar: tarfile.TarFile, name: str, source: BinaryIO) -> BackupFile:
    """Add one file of a length that is fixed now: a log that grows meanwhile is cut there."""
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, PRIVATE_FILE_MODE
    measured = _Measured(source, size)
    tar.addfile(member, cast("BinaryIO", measured))
    return BackupFile(size_bytes=size, sha256=measured.digest.hexdigest())


class _Measured:
    """Reads a file and keeps the digest of what was read."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source, self._left, self.digest = source, size, hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        """Read on, never beyond the length that was said."""
        data = self._source.read(self._left if count < 0 else min(count, self._left))
        self._left -= len(data)
        self.digest.update(data)
        return data


@contextmanager
def _sealed(under: BinaryIO, passphrase: str | None) -> Iterator[BinaryIO]:
    if passphrase is None:
        yield under
        return
    with SealedWriter(under, passphrase) as stream:
        yield cast("BinaryIO", stream)


# --- reading ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """What was read so far."""

    files: dict[str, BackupFile]
    manifest: BackupManifest | None = None


def _read(path: Path, passphrase: str | None, *, into: Path | None) -> BackupManifest:
    """Read a backup to its end; with `into` its files are written there."""
    found = _Found({})
    with path.open("rb") as under:
        sealed = is_sealed(under.read(64))
        under.seek(0)
        if sealed and passphrase is None:
            raise BackupError(str(path), "is sealed", "give its passphrase")
        stream = SealedReader(under, passphrase or "") if sealed else under
        try:
            with tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|") as tar:
                for member in tar:
                    _take(path, tar, member, found, into)
            while rest := stream.read(_PIECE_BYTES):  # padding; a seal is whole at its end
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("something follows its end")
        except (tarfile.TarError, EOFError, OSError, msgspec.DecodeError) as error:
            raise _damaged(path, str(error) or type(error).__name__) from error
    manifest = found.manifest
    if manifest is None:
        raise _damaged(path, "it ends before its list of files")
    if manifest.files != found.files:
        wrong = sorted(
            name
            for name in {*manifest.files, *found.files}
            if manifest.files.get(name) != found.files.get(name)
        )
        raise _damaged(path, f"{wrong[0]} is not as its list has it")
    return manifest


def _take(
    path: Path,
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    found: _Found,
    into: Path | None,
) -> None:
    """Read one member, hash it, and write it where it belongs."""
    source = tar.extractfile(member) if member.isreg() else None
    if source is None or found.manifest is not None or not _is_inside(member.name):
        raise _damaged(path, f"{member.name!r} does not belong into a backup")
    if len(found.files) >= FILES_MAX:
        raise _damaged(path, f"it has more than {FILES_MAX} files")
    if member.name == MANIFEST:
        if member.size > MANIFEST_BYTES_MAX:
            raise _damaged(path, "its list of files is too long")
        found.manifest = msgspec.json.decode(source.read(), type=BackupManifest)
        return
    digest, size = hashlib.sha256(), 0
    with ExitStack() as stack:
        target = None
        if into is not None:
            place = into / member.name
            private_folder(place.parent)
            target = stack.enter_context(place.open("xb"))
            place.chmod(PRIVATE_FILE_MODE)
        while piece := source.read(_PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
            if target is not None:
                target.write(piece)
        if target is not None:
            _sync(target)
    found.files[member.name] = BackupFile(size_bytes=size, sha256=digest.hexdigest())


def _is_inside(name: str) -> bool:
    """Say whether a member's name stays within the folder that it is unpacked into."""
    path = PurePosixPath(name)
    return (
        bool(name)
        and not path.is_absolute()
        and "\0" not in name
        and str(path) == name
        and ".." not in path.parts
    )


def _damaged(path: Path, why: str) -> BackupError:
    return BackupError(str(path), f"is damaged: {why}", "take another copy of the backup")


def _sync(file: BinaryIO) -> None:
    """Make what was written to a file last through a power cut."""
    file.flush()
    os.fsync(file.fileno())
