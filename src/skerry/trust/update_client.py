"""A node's view of signed state: verified, never older than before, never after its time.

python-tuf does the verification; these guards are ours, because it has no defence there: a time
floor (a clock set back accepts expired things), a floor of versions, generations and releases
beside the metadata (a wiped cache accepts an old repository), a pace (a trickle holds it for
ever), and the bootstrap root passed at every start (a torn cache recovers). Expired metadata
stops installing, never running.

Several mirrors may be asked. A whole check is made with one of them; where that is refused or
fails, with the next. Each tenth check begins with another one, so that a mirror which keeps news
back is found out by those that do not.

Runs in a plain thread and imports no array, RPC or web library: a node's agent has 60 MB.

Errors:  UpdateRefused subclasses, each with a stable `reason`; UpdateUnreachable.
Source:  TUF specification 1.0.34; floors as in Uptane 2.1.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

import msgspec
from tuf.api import exceptions as tuf_errors

from skerry.base.clock import Clock
from skerry.base.files import private_folder, write_atomic
from skerry.base.pace import Pace, PaceLimits
from skerry.base.units import SECONDS_PER_DAY
from skerry.schema.release import Facts
from skerry.trust._tuf import FetcherInterface, TargetFile, Updater, UpdaterConfig
from skerry.trust.bins import DESIRED
from skerry.trust.errors import (
    TargetForged,
    TargetUnreadable,
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
from skerry.trust.floor import (
    WHAT,
    Floor,
    NvCounter,
    check_clock,
    check_versions,
    is_stale,
    read_floor,
    time_known,
    write_floor,
)
from skerry.trust.roles import ISSUED
from skerry.trust.verified_once import VerifiedOnce

Fetch = Callable[[str, int], Iterator[bytes]]
"""`fetch(relative_path, max_length)` yields the bytes of `metadata/<file>` or `targets/<file>`.

Raises `FileNotFoundError` where the other side says that there is no such file, `TimeoutError`
where it was too slow, `OverflowError` where it sent more than `max_length`, and any other
exception where it could not be asked. It must not wait for ever between two chunks.
"""

FILE_S_MAX = 60.0
FLOOR_WRITE_S = 600.0  # how far the time floor may lag behind, to spare the disk
SECOND_OPINION = 10
"""Each so manieth check begins with another mirror than the first."""
_METADATA, _TARGETS = "metadata/", "targets/"
_Found = TypeVar("_Found")
_Failure = UpdateRefused | UpdateUnreachable


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh found. `changed`: the snapshot is another than at the last refresh."""

    snapshot_version: int
    changed: bool


@dataclass(frozen=True, slots=True)
class SignedTarget:
    """What is signed of one target."""

    path: str
    sha256: str
    length_bytes: int
    facts: Facts


class UpdateClient:
    """The signed state of one fleet, kept in a folder of this node. One thread at a time.

    `fetch` is asked first, `mirrors` in their order where it fails. `counter` is a number in the
    TPM beside the floor on disk.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap_root: bytes,
        fetch: Fetch,
        clock: Clock,
        *,
        mirrors: Sequence[Fetch] = (),
        counter: NvCounter | None = None,
    ) -> None:
        self._folder, self._bootstrap, self._clock = private_folder(folder), bootstrap_root, clock
        self._metadata = private_folder(folder / "metadata")
        self._targets = private_folder(folder / "targets")
        self._fetchers = [_Fetcher(one, clock) for one in (fetch, *mirrors)]
        self._counter = counter
        self._floor = read_floor(folder)
        self._updater: Updater | None = None
        self._verified = VerifiedOnce()
        self._checks = 0
        self._good = 0

    def refresh(self) -> Refreshed:
        """Bring the metadata up to date, or raise why every mirror's was refused."""
        self._updater = None  # nothing is handed out on the strength of an older check
        now_s = self._clock.unix_s()
        check_clock(self._floor, now_s)
        self._checks += 1
        failures: list[_Failure] = []
        for number in asking_order(len(self._fetchers), self._checks):
            try:
                refreshed = self._refresh_from(self._fetchers[number], now_s)
            except (UpdateRefused, UpdateUnreachable) as error:
                failures.append(error)
            else:
                self._good = number
                return refreshed
        raise _worst(failures)

    def _refresh_from(self, fetcher: "_Fetcher", now_s: float) -> Refreshed:
        with _named(WHAT):
            updater = Updater(
                str(self._metadata),
                _METADATA,
                target_base_url=_TARGETS,
                fetcher=fetcher,
                config=UpdaterConfig(),
                bootstrap=self._bootstrap,
            )
            # python-tuf reads the system clock, here the clock is an argument
            updater._trusted_set.reference_time = datetime.fromtimestamp(now_s, UTC)
            self._verified.serve(updater)
            updater.refresh()
        floor = self._raised(updater, now_s)
        changed = floor.versions.get("snapshot") != self._floor.versions.get("snapshot")
        if floor.versions != self._floor.versions or floor.time_s - self._floor.time_s > (
            FLOOR_WRITE_S
        ):
            write_floor(self._folder, floor)
        self._floor, self._updater = floor, updater
        return Refreshed(floor.versions["snapshot"], changed)

    def target(self, path: str) -> SignedTarget | None:
        """Return what is signed of a target, or None if nobody who may has signed it."""
        target = self._target(path)
        if target is None or "sha256" not in target.hashes:
            return None
        try:
            facts = msgspec.convert(target.custom or {}, Facts)
        except msgspec.ValidationError as error:
            raise TargetUnreadable(path, f"what is signed beside it: {error}") from error
        return SignedTarget(path, target.hashes["sha256"], target.length, facts)

    def target_sha256(self, path: str) -> str | None:
        """Return the signed digest of a target, or None if nobody who may has signed it."""
        target = self._target(path)
        return None if target is None else target.hashes.get("sha256")

    def read_bins(self) -> None:
        """Read every hash bin that can be had: whoever carries the state on has other sites."""
        updater: Any = self._updater
        delegations = getattr(updater and updater._trusted_set.get(DESIRED), "delegations", None)
        for role in delegations.roles if delegations is not None else ():
            with suppress(UpdateUnreachable), _named(WHAT):
                updater._load_targets(role, DESIRED)

    def target_bytes(self, path: str) -> bytes:
        """Return a target, verified; fetched only if it is not held. Call `refresh` first."""
        target = self._target(path)
        if target is None:
            raise TargetUnsigned(path, "no role that may sign it lists it")
        place = self._targets / quote(path, safe="")
        try:
            held = place.read_bytes()
            target.verify_length_and_hashes(held)
        except (OSError, tuf_errors.LengthOrHashMismatchError):
            pass
        else:
            return held
        data = self._from_any_mirror(path, lambda fetcher: self._read(fetcher, target))
        write_atomic(place, data)
        return data

    def _read(self, fetcher: "_Fetcher", target: TargetFile) -> bytes:
        data = fetcher.read(self._place_of(target), target.length)
        check_bytes(target, data)
        return data

    def _from_any_mirror(self, what: str, read: Callable[["_Fetcher"], _Found]) -> _Found:
        """Read from the mirror that the check was made with; where it fails, from the others."""
        others = [number for number in range(len(self._fetchers)) if number != self._good]
        failures: list[_Failure] = []
        for number in (self._good, *others):
            try:
                with _named(what):
                    return read(self._fetchers[number])
            except (UpdateRefused, UpdateUnreachable) as error:
                failures.append(error)
        raise _worst(failures)

    def _place_of(self, target: TargetFile) -> str:
        """Return where mirrors keep a target: under its digest, where snapshots are consistent."""
        assert self._updater is not None  # noqa: S101 - `_target` has seen to it
        folder, slash, name = target.path.rpartition("/")
        if self._updater._trusted_set.root.consistent_snapshot:
            digest = target.hashes.get("sha256") or next(iter(target.hashes.values()))
            name = f"{digest}.{name}"
        return f"{_TARGETS}{folder}{slash}{name}"

    def age_s(self) -> float:
        """Return the age of the last good news; infinite if there never was any."""
        return self._clock.unix_s() - self._floor.time_s if self._floor.time_s else math.inf

    def check_fresh(self) -> None:
        """Raise `UpdateStale` if the last good news is three days old: an alarm, not a stop."""
        age_s = self.age_s()
        if is_stale(age_s):
            when = f"{age_s / SECONDS_PER_DAY:.1f} days ago" if math.isfinite(age_s) else "never"
            raise UpdateStale(WHAT, f"the last good check was {when}")

    def generation_floor(self, name: str) -> int:
        """Return the newest generation ever accepted under this name; 0 for none."""
        return self._floor.generations.get(name, 0)

    def raise_floor(self, name: str, generation: int) -> None:
        """Remember a generation as accepted. It never goes down."""
        if generation > self.generation_floor(name):
            self._floor = self._floor.with_generation(name, generation)
            write_floor(self._folder, self._floor)

    def release_floor(self) -> int:
        """Return the lowest release that may be installed: on disk or in the TPM, the higher."""
        return max(self._floor.min_release, self._counter.read() if self._counter else 0)

    def raise_release_floor(self, release: int) -> None:
        """Never install a lower release again. The TPM first: it outlives a cut in between."""
        if self._counter is not None and release:
            self._counter.raise_to(release)
        if release > self._floor.min_release:
            self._floor = self._floor.with_min_release(release)
            write_floor(self._folder, self._floor)

    def _target(self, path: str) -> TargetFile | None:
        updater = self._updater
        if updater is None:
            raise UpdateUnreachable(path, "the signed state was not refreshed")

        def look(fetcher: _Fetcher) -> TargetFile | None:
            updater._fetcher = fetcher  # for the roles on the way that are not here yet
            return updater.get_targetinfo(path)

        return self._from_any_mirror(path, look)

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
        check_versions(known, versions)
        issued_s = _issued_s(trusted.timestamp.unrecognized_fields)
        return floor.with_versions(versions, keys, time_known(floor.time_s, issued_s, now_s))


def asking_order(sources: int, checks: int) -> list[int]:
    """Return in which order a check asks its mirrors: the first, except for second opinions."""
    turns, rest = divmod(checks, SECOND_OPINION)
    first = turns % sources if rest == 0 else 0
    return [first, *(number for number in range(sources) if number != first)]


def check_bytes(target: TargetFile, data: bytes) -> None:
    """Refuse fetched bytes that are not those that were signed."""
    try:
        target.verify_length_and_hashes(data)
    except tuf_errors.LengthOrHashMismatchError as error:
        raise TargetForged(target.path, "its bytes are not those that were signed") from error


def too_long(got: int, length_max: int) -> bool:
    """Tell whether more came than was signed, or than any such file may have."""
    return got > length_max


class _Fetcher(FetcherInterface):
    """Reads through the given callable, with bounds on length and pace."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._ask, self._clock = fetch, clock

    def read(self, path: str, length_max: int) -> bytes:
        """Return a whole file of at most `length_max` bytes."""
        pace = Pace(PaceLimits(deadline_s=FILE_S_MAX), self._clock.monotonic_s())
        data = bytearray()
        try:
            for chunk in self._ask(path, length_max):
                data += chunk
                if too_long(len(data), length_max):
                    raise OverflowError(f"more than {length_max} bytes")
                slow = pace.too_slow(len(chunk), self._clock.monotonic_s())
                if slow:
                    raise TimeoutError(slow)
        except FileNotFoundError as error:
            raise tuf_errors.DownloadHTTPError(f"{path}: no such file", 404) from error
        except OverflowError as error:
            raise tuf_errors.DownloadLengthMismatchError(f"{path}: {error}") from error
        except TimeoutError as error:
            raise tuf_errors.SlowRetrievalError(f"{path}: {error}") from error
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


def _worst(failures: Sequence[_Failure]) -> _Failure:
    """Return what to tell of several mirrors: the first refusal, or else the first failure."""
    return next((error for error in failures if isinstance(error, UpdateRefused)), failures[0])


def _issued_s(fields: Mapping[str, object]) -> float:
    """Return when a timestamp says that it was signed; 0 if it does not say."""
    value = fields.get(ISSUED)
    return float(value) if isinstance(value, int) and 0 < value < 1 << 40 else 0.0
