"""A watched folder: each file that arrives is read once, answered, and put where it belongs.

    inbox/scan-17.pdf -> inbox/.work/<claim>.scan-17.pdf -> inbox/done/pdf/scan-17.pdf

A file's place is its state, and each change of place is one rename: after kill -9 or a
power cut every file is in exactly one of the three, and what was in `.work` is taken
up again first. `done/<label>/` is the record of what was handled, so counts survive a
restart too. A file that the model cannot take goes to `failed/`; one that nobody
could answer stays in `.work` and is tried again. Contents go to `infer` and nowhere
else: the summary line holds label, score and size.

Units:   seconds, bytes.  A file is complete when size and time of change stood still
         for `settle_s`; writers that rename into the folder need no such wait, but get it.
Errors:  FolderBusyError, if another process watches the folder; nothing else leaves
         `run`, except what it is cancelled with.
"""

import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import anyio
import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.files import FolderLock, sync_folder
from skerry.pipeline.errors import FileRefusedError
from skerry.pipeline.steps import Label

Infer = Callable[[bytes], Awaitable[Label]]
"""Sends one file's content and returns its label; raises `FileRefusedError` for a file that
cannot be answered however often it is sent, and any other error for *not now*."""

WORK, DONE, FAILED, SUMMARY = ".work", "done", "failed", "summary.jsonl"
_CLAIM_BYTES = 6
_CLAIM = re.compile(r"([0-9a-f]{12})\.(.+)", re.DOTALL)
_UNSAFE = re.compile(r"[^A-Za-z0-9_+-][^A-Za-z0-9._+-]*|[^A-Za-z0-9._+-]+")
_SUMMARY_TAIL_BYTES = 65_536
_NAME_BYTES_MAX = 200


class FolderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a folder is watched."""

    poll_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 0.5
    """Time between two looks at the folder."""
    settle_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 1.0
    """How long a file must stand still before it counts as complete."""
    file_bytes_max: Annotated[int, msgspec.Meta(ge=1, le=1_073_741_824)] = 16 * 1024**2
    """Larger files go to `failed/` unread."""
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 10.0
    """How long one answer may take; after that the file is tried again later."""
    retry_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 2.0
    """Pause before a file that nobody could answer is tried again."""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=32)] = 2
    """Files that are being answered at one time."""
    batch_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    """Files taken at one look; the rest wait for the next."""
    summary: bool = False
    """Whether `summary.jsonl` gets one line per file."""


@dataclass(slots=True)
class Counts:
    """What the folder has come to: files per label, and what could not be answered."""

    done: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    retried: int = 0


class SummaryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `summary.jsonl`: nothing of the content."""

    at_unix_s: float
    claim: str
    name: str
    size_bytes: int
    label: str
    score: float


class FolderSource:
    """Watches one folder for as long as `run` runs; one process owns it at a time."""

    def __init__(
        self, folder: Path, infer: Infer, *, clock: Clock, settings: FolderSettings | None = None
    ) -> None:
        self.folder, self._infer, self._clock = folder, infer, clock
        self._settings = settings or FolderSettings()
        self._seen: dict[str, tuple[int, int, float]] = {}
        self._not_before_s: dict[str, float] = {}
        self.counts = Counts()

    async def run(self) -> None:
        """Answer files until cancelled."""
        for place in (self.folder, self.folder / DONE, self.folder / FAILED):
            place.mkdir(parents=True, exist_ok=True)
        with FolderLock(self.folder / WORK):
            self.counts = _counts_on_disk(self.folder)
            while True:
                await self.look()
                await self._clock.sleep(self._settings.poll_s)

    async def look(self) -> None:
        """Look once: take up what is in `.work`, claim what is complete, answer it all."""
        claims = self._unfinished()
        for path in self._complete():
            with suppress(FileNotFoundError):  # taken back by whoever put it there
                claims.append(self._claim(path))
        limit = anyio.Semaphore(self._settings.parallel)
        async with anyio.create_task_group() as group:
            for claim in claims:
                await limit.acquire()
                group.start_soon(self._handle, claim, limit)

    def _unfinished(self) -> list[Path]:
        now_s = self._clock.monotonic_s()
        return sorted(
            path
            for path in (self.folder / WORK).iterdir()
            if _CLAIM.fullmatch(path.name) and self._not_before_s.get(path.name, 0) <= now_s
        )

    def _complete(self) -> list[Path]:
        """Return files that stood still since an earlier look, oldest first."""
        now_s = self._clock.monotonic_s()
        found: dict[str, tuple[int, int, float]] = {}
        complete: list[tuple[int, str]] = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == SUMMARY:
                    continue
                try:
                    state = entry.stat(follow_symlinks=False)
                except OSError:  # gone since the folder was listed
                    continue
                if not stat.S_ISREG(state.st_mode):
                    continue
                seen = self._seen.get(entry.name)
                if seen is None or seen[:2] != (state.st_size, state.st_mtime_ns):
                    found[entry.name] = (state.st_size, state.st_mtime_ns, now_s)
                elif now_s - seen[2] < self._settings.settle_s:
                    found[entry.name] = seen
                elif len(complete) < self._settings.batch_max:
                    complete.append((state.st_mtime_ns, entry.name))
                else:
                    found[entry.name] = seen
        self._seen = found
        return [self.folder / name for _, name in sorted(complete)]

    def _claim(self, path: Path) -> Path:
        claim = self.folder / WORK / f"{secrets.token_hex(_CLAIM_BYTES)}.{_short(path.name)}"
        path.rename(claim)
        return claim

    async def _handle(self, claim: Path, limit: anyio.Semaphore) -> None:
        try:
            content = _read(claim, self._settings.file_bytes_max)
            with anyio.fail_after(self._settings.deadline_s):
                label = await self._infer(content)
            self._finish(claim, len(content), label)
        except FileRefusedError:
            self._put(claim, self.folder / FAILED)
            self.counts.failed += 1
        except (SkerryError, TimeoutError, OSError):  # not now: it stays where it is
            self.counts.retried += 1
            self._not_before_s[claim.name] = self._clock.monotonic_s() + self._settings.retry_s
        finally:
            limit.release()

    def _finish(self, claim: Path, size_bytes: int, label: Label) -> None:
        if self._settings.summary:
            self._write_line(claim, size_bytes, label)
        folder = safe_label(label.label)
        self._put(claim, self.folder / DONE / folder)
        self.counts.done[folder] += 1

    def _put(self, claim: Path, place: Path) -> None:
        """Move a claimed file to its place: the one step that makes it *handled*."""
        place.mkdir(exist_ok=True)
        token, name = _parts(claim)
        target = place / name
        if target.exists():  # another file of that name came before; keep both
            target = place / f"{target.stem}.{token}{target.suffix}"
        claim.rename(target)
        sync_folder(place)
        self._not_before_s.pop(claim.name, None)

    def _write_line(self, claim: Path, size_bytes: int, label: Label) -> None:
        """Append the file's line, unless a life before this one did and then died."""
        token, name = _parts(claim)
        path = self.folder / SUMMARY
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _SUMMARY_TAIL_BYTES))
            tail = file.read()
            if f'"claim":"{token}"'.encode() in tail.rpartition(b"\n")[0]:
                return
            line = SummaryLine(
                at_unix_s=self._clock.unix_s(),
                claim=token,
                name=name,
                size_bytes=size_bytes,
                label=label.label,
                score=round(label.score, 6),
            )
            torn = b"" if not tail or tail.endswith(b"\n") else b"\n"
            file.write(torn + msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())


def safe_label(label: str) -> str:
    """Return a label as a folder name: letters, digits and `._+-`, never hidden, never a path."""
    return _UNSAFE.sub("_", label[:64]) or "_"


def _counts_on_disk(folder: Path) -> Counts:
    counts = Counts(failed=sum(1 for _ in (folder / FAILED).iterdir()))
    for place in (folder / DONE).iterdir():
        if place.is_dir():
            counts.done[place.name] = sum(1 for _ in place.iterdir())
    return counts


def _parts(claim: Path) -> tuple[str, str]:
    token, _, name = claim.name.partition(".")
    return token, name


def _short(name: str) -> str:
    """Keep a name short enough that a claim or a label can stand before it."""
    if len(os.fsencode(name)) <= _NAME_BYTES_MAX:
        return name
    return os.fsdecode(os.fsencode(name)[-_NAME_BYTES_MAX:])


def _read(path: Path, bytes_max: int) -> bytes:
    """Read a whole file without following a link, refusing one that is too large."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise FileRefusedError(f"larger than {bytes_max} bytes", "a smaller one")
    return content
