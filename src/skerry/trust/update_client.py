"""A node's view of signed state: verified, never older than before, never after its time.

python-tuf does the verification; three guards are ours, because it has no defence there: a time
floor (a clock set back accepts expired things), a floor of versions and generations beside the
metadata (a wiped cache accepts an old repository), and the bootstrap root passed at every start
(a torn cache recovers). Expired metadata stops installing, never running.

Runs in a plain thread and imports no array, RPC or web library: a node's agent has 60 MB.

Errors:  UpdateRefused subclasses, each with a stable `reason`; UpdateUnreachable.
Source:  TUF specification 1.0.34; floors as in Uptane 2.1.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO
from urllib.parse import quote

from tuf.api import exceptions as tuf_errors

from skerry.base.clock import Clock
from skerry.base.files import private_folder, write_atomic
from skerry.base.units import SECONDS_PER_DAY
from skerry.trust._tuf import FetcherInterface, TargetFile, Updater, UpdaterConfig
from skerry.trust.errors import (
    ClockBack,
    TargetForged,
    TargetUnsigned,
    UpdateExpired,
    UpdateForged,
    UpdateRefused,
    UpdateRollback,
    UpdateSlow,
    UpdateStale,
    UpdateTooLarge,
    UpdateUnreachable,
)
from skerry.trust.floor import Floor, read_floor, write_floor
from skerry.trust.verified_once import VerifiedOnce

Fetch = Callable[[str, int], Iterator[bytes]]
"""`fetch(relative_path, max_length)` yields the bytes of `metadata/<file>` or `targets/<file>`.

Raises `FileNotFoundError` where the other side says that there is no such file, and any other
exception where it could not be asked. It must not wait for ever between two chunks.
"""

FILE_S_MAX = 60.0
CLOCK_SLACK_S = 300.0  # what a time service may step back without a word
STALE_S = 3 * SECONDS_PER_DAY
FLOOR_WRITE_S = 600.0  # how far the time floor may lag behind, to spare the disk
_METADATA, _TARGETS = "metadata/", "targets/"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh found. `changed`: the snapshot is another than at the last refresh."""

    snapshot_version: int
    changed: bool


class UpdateClient:
    """The signed state of one fleet, kept in a folder of this node. One thread at a time."""

    def __init__(self, folder: Path, bootstrap_root: bytes, fetch: Fetch, clock: Clock) -> None:
        self._folder, self._bootstrap, self._clock = private_folder(folder), bootstrap_root, clock
        self._metadata = private_folder(folder / "metadata")
        self._targets = private_folder(folder / "targets")
        self._fetcher = _Fetcher(fetch, clock)
        self._floor = read_floor(folder)
        self._updater: Updater | None = None
        self._verified = VerifiedOnce()

    def refresh(self) -> Refreshed:
        """Bring the metadata up to date, or raise why that was refused."""
        self._updater = None  # nothing is handed out on the strength of an older check
        now_s = self._check_clock()
        with _named("the fleet's signed state"):
            updater = Updater(
                str(self._metadata),
                _METADATA,
                target_base_url=_TARGETS,
                fetcher=self._fetcher,
                config=UpdaterConfig(),
                bootstrap=self._bootstrap,
            )
            # python-tuf reads the system clock, here the clock is an argument
            updater._trusted_set.reference_time = datetime.fromtimestamp(now_s, UTC)
            self._verified.serve(updater)
            updater.refresh()
        floor = self._raised(updater, now_s)
        changed = floor.versions.get("snapshot") != self._floor.versions.get("snapshot")
        if floor.versions != self._floor.versions or now_s - self._floor.time_s > FLOOR_WRITE_S:
            write_floor(self._folder, floor)
        self._floor, self._updater = floor, updater
        return Refreshed(floor.versions["snapshot"], changed)

    def target_sha256(self, path: str) -> str | None:
        """Return the signed digest of a target, or None if nobody who may has signed it."""
        target = self._target(path)
        return None if target is None else target.hashes.get("sha256")

    def target_bytes(self, path: str) -> bytes:
        """Return a target, verified; fetched only if it is not held. Call `refresh` first."""
        target = self._target(path)
        if target is None or "sha256" not in target.hashes:
            raise TargetUnsigned(path, "no role that may sign it lists it")
        place = self._targets / quote(path, safe="")
        try:
            held = place.read_bytes()
            target.verify_length_and_hashes(held)
        except (OSError, tuf_errors.LengthOrHashMismatchError):
            pass
        else:
            return held
        folder, _, name = path.rpartition("/")
        with _named(path):
            try:
                data = self._fetcher.read(
                    f"{_TARGETS}{folder}/{target.hashes['sha256']}.{name}", target.length
                )
                target.verify_length_and_hashes(data)
            except tuf_errors.LengthOrHashMismatchError as error:
                raise TargetForged(path, "its bytes are not those that were signed") from error
        write_atomic(place, data)
        return data

    def age_s(self) -> float:
        """Return how long ago the last refresh succeeded; infinite if none ever did."""
        return self._clock.unix_s() - self._floor.time_s if self._floor.time_s else math.inf

    def check_fresh(self) -> None:
        """Raise `UpdateStale` if no refresh succeeded for three days: an alarm, not a stop."""
        age_s = self.age_s()
        if age_s > STALE_S:
            when = f"{age_s / SECONDS_PER_DAY:.1f} days ago" if math.isfinite(age_s) else "never"
            raise UpdateStale("the fleet's signed state", f"the last good check was {when}")

    def generation_floor(self, name: str) -> int:
        """Return the newest generation ever accepted under this name; 0 for none."""
        return self._floor.generations.get(name, 0)

    def raise_floor(self, name: str, generation: int) -> None:
        """Remember a generation as accepted. It never goes down."""
        if generation > self.generation_floor(name):
            self._floor = self._floor.with_generation(name, generation)
            write_floor(self._folder, self._floor)

    def _target(self, path: str) -> TargetFile | None:
        if self._updater is None:
            raise UpdateUnreachable(path, "the signed state was not refreshed")
        with _named(path):
            return self._updater.get_targetinfo(path)

    def _check_clock(self) -> float:
        now_s = self._clock.unix_s()
        back_s = self._floor.time_s - now_s
        if back_s > CLOCK_SLACK_S:
            trusted = datetime.fromtimestamp(self._floor.time_s, UTC)
            why = (
                f"the clock is {back_s:.0f} s before {trusted:%Y-%m-%d %H:%M} UTC, known to be past"
            )
            raise ClockBack("the fleet's signed state", why)
        return now_s

    def _raised(self, updater: Updater, now_s: float) -> Floor:
        """Compare what was found with the floor, and return the floor raised to it."""
        trusted = updater._trusted_set
        versions = {
            name.removesuffix(".json"): m.version for name, m in trusted.snapshot.meta.items()
        }
        versions |= {
            "root": trusted.root.version,
            "timestamp": trusted.timestamp.version,
            "snapshot": trusted.snapshot.version,
        }
        keys = sorted(
            key
            for role in ("snapshot", "timestamp")
            for key in trusted.root.get_delegated_role(role).keyids
        )
        floor = self._floor
        known = dict(floor.versions)
        if keys != floor.online_keys and versions["root"] > known.get("root", 0):
            # Root named new online keys: after a key theft the counters may start again (TUF
            # 5.3.11), or a version of 2**62 would lock everybody out for ever.
            known = {"root": known.get("root", 0)}
        for role, version in known.items():
            if versions.get(role, 0) < version:
                why = f"{role} version {versions.get(role, 0)}, and {version} was seen before"
                raise UpdateRollback("the fleet's signed state", why)
        return floor.with_versions(versions, keys, max(floor.time_s, now_s))


class _Fetcher(FetcherInterface):
    """Reads through the given callable, with bounds on length and time."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._ask, self._clock = fetch, clock

    def read(self, path: str, length_max: int) -> bytes:
        """Return a whole file of at most `length_max` bytes."""
        ends_s = self._clock.monotonic_s() + FILE_S_MAX
        data = bytearray()
        try:
            for chunk in self._ask(path, length_max):
                data += chunk
                if len(data) > length_max:
                    why = f"{path}: more than {length_max} bytes"
                    raise tuf_errors.DownloadLengthMismatchError(why)
                if self._clock.monotonic_s() > ends_s:
                    why = f"{path}: {len(data)} bytes in {FILE_S_MAX:g} s"
                    raise tuf_errors.SlowRetrievalError(why)
        except FileNotFoundError as error:
            raise tuf_errors.DownloadHTTPError(f"{path}: no such file", 404) from error
        except tuf_errors.DownloadError:
            raise
        except Exception as error:  # whatever the transport raises: it could not be asked
            raise tuf_errors.DownloadError(f"{path}: {error or type(error).__name__}") from error
        return bytes(data)

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Give python-tuf a file in memory: its own way is a temporary file per read."""
        yield BytesIO(self.read(url, max_length))

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.read(url, UpdaterConfig.targets_max_length)


_REFUSALS: tuple[tuple[type[Exception], type[UpdateRefused]], ...] = (
    (tuf_errors.DownloadLengthMismatchError, UpdateTooLarge),
    (tuf_errors.SlowRetrievalError, UpdateSlow),
    (tuf_errors.BadVersionNumberError, UpdateRollback),
    (tuf_errors.ExpiredMetadataError, UpdateExpired),
    (tuf_errors.RepositoryError, UpdateForged),  # the base of the others: signatures, hashes, form
)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Turn python-tuf's errors into refusals with our names."""
    try:
        yield
    except (tuf_errors.RepositoryError, tuf_errors.DownloadError) as error:
        for kind, refusal in _REFUSALS:
            if isinstance(error, kind):
                raise refusal(what, str(error) or kind.__name__) from error
        raise UpdateUnreachable(what, str(error)) from error
