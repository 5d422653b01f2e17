"""Hash bins: in a large fleet, which role lists which site's document.

    up to 300 documents    `desired` lists them all
    more                   `desired` delegates to 16 to 256 bins, each lists its own documents

The first byte of a path's SHA-256 says which bin is its own. A node reads one bin, so what
changes at another site costs it a snapshot. A document takes as many bytes in a bin as a bin
does in the snapshot; the snapshot is read at every change, a bin at its own only, so there are
half as many bins as would make the two equal.

All bins are signed with the key of `desired`, and metadata does not say which bin it is: it is
the digest in the snapshot that keeps one bin, old or new, from being shown as another.

Bins are only ever added: clients refuse a snapshot that leaves out a role which was there before.
Their names are letters alone, since regions that knew no bins carry only such.

Errors:  PublishError.
Source:  TUF specification 1.0.34, section 4.5, `path_hash_prefixes`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from skerry.trust._tuf import DelegatedRole, Delegations, TargetFile, Targets
from skerry.trust.errors import PublishError
from skerry.trust.roles import SPEC_VERSION, lint_paths, read_metadata

DESIRED = "desired"
UNBINNED_MAX = 300
"""Documents that one role lists, before there are bins."""
PER_BIN = 4
"""Documents in a bin, for each bin that there is, above which the bins are doubled."""
BINS_MAX = 256
_COUNTS = tuple(2**n for n in range(1, 9))
_BIN = re.compile(r"desired[a-p]{2}")


class Glance(msgspec.Struct):
    """The little of a role's metadata that is looked at each time anything is published."""

    version: int
    expires: datetime
    targets: dict[str, msgspec.Raw] = {}


class _Signed(msgspec.Struct):
    signed: Glance


_glance = msgspec.json.Decoder(_Signed)


def glance(role: str, data: bytes) -> Glance:
    """Read metadata that was verified before; raises `PublishError`."""
    try:
        return _glance.decode(data).signed
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PublishError(role, f"it cannot be read: {error}") from error


def is_bin(role: str) -> bool:
    """Tell whether a role is a bin."""
    return _BIN.fullmatch(role) is not None


def family(role: str) -> str:
    """Return the role whose key and life a role has: `desired` for a bin, else its own."""
    return DESIRED if is_bin(role) else role


def bins_for(documents: int, before: int = 0) -> int:
    """Return how many bins hold this many documents; a power of two, and never fewer than before.

    0: none, `desired` lists the documents itself.
    """
    if not before and documents <= UNBINNED_MAX:
        return 0
    count = 2
    while count < BINS_MAX and (count < before or documents > count * count * PER_BIN):
        count *= 2
    return count


def bin_names(count: int) -> tuple[str, ...]:
    """Return the names of this many bins; more bins have the same names, and further ones."""
    return tuple(f"{DESIRED}{chr(97 + n // 16)}{chr(97 + n % 16)}" for n in range(count))


def bin_of(path: str, count: int) -> str:
    """Return the role that lists a document's path."""
    if not count:
        return DESIRED
    first = hashlib.sha256(path.encode()).digest()[0]
    return bin_names(count)[first * count // 256]


def count_in(roles: Iterable[str]) -> int:
    """Return how many bins are among these roles."""
    return sum(map(is_bin, roles))


def desired_roles(state: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return `desired` and the bins that there are."""
    return (DESIRED, *sorted(filter(is_bin, state)))


def delegations_to(count: int, targets: Targets) -> Delegations:
    """Return the delegations of `desired` to its bins: to whoever may sign `desired` itself."""
    named = targets.get_delegated_role(DESIRED)
    keys = {key_id: targets.get_key(key_id) for key_id in named.keyids}
    width = 256 // count
    roles = {
        name: DelegatedRole(
            name,
            list(named.keyids),
            named.threshold,
            terminating=True,
            path_hash_prefixes=[f"{n * width + one:02x}" for one in range(width)],
        )
        for n, name in enumerate(bin_names(count))
    }
    return Delegations(keys, roles)


def laid_out(
    state: Mapping[str, bytes], documents: Mapping[str, bytes], bins_min: int = 0
) -> dict[str, Targets]:
    """Return what `desired` and its bins are to list once these documents are among them.

    `state` maps role to metadata. Only roles that become others are returned, with versions and
    ends yet to be set. `bins_min` asks for more bins than the documents need.
    """
    targets = read_metadata("targets", state["targets"]).signed
    count = count_in(state)
    held = _Held(state, count)
    changed = set() if DESIRED in state else {DESIRED}
    files = {path: TargetFile.from_data(path, data, ["sha256"]) for path, data in documents.items()}
    lint_paths(DESIRED, Targets(targets=files))
    for path, target in files.items():
        name = bin_of(path, count)
        if held.role(name).targets.get(path) != target:
            held.role(name).targets[path] = target
            changed.add(name)
    wanted = bins_for(held.documents(), max(count, bins_min))
    if wanted != count:
        return _spread(held.files(), wanted, targets)
    if count and held.role(DESIRED).delegations != delegations_to(count, targets):
        return _spread(held.files(), count, targets)  # other keys are named now
    return {name: held.role(name) for name in sorted(changed)}


def lint_bins(state: Mapping[str, bytes]) -> None:
    """Refuse a `desired` that delegates otherwise than to exactly these bins, by its own keys.

    Of the bins themselves only the names are looked at.
    """
    desired = read_metadata(DESIRED, state[DESIRED]).signed
    bins = tuple(sorted(filter(is_bin, state)))
    if not bins and desired.delegations is None:
        return
    if len(bins) not in _COUNTS or bins != bin_names(len(bins)):
        raise PublishError(DESIRED, f"its {len(bins)} bins are not those that there can be")
    targets = read_metadata("targets", state["targets"]).signed
    if desired.delegations != delegations_to(len(bins), targets):
        raise PublishError(DESIRED, "it delegates otherwise than to its own bins")
    if desired.targets:
        raise PublishError(DESIRED, "it lists documents itself, and only its bins may")


def lint_bin(name: str, signed: Targets, count: int) -> None:
    """Refuse a bin that lists what belongs elsewhere; clients would not find it there."""
    lint_paths(DESIRED, signed)
    for path in signed.targets:
        if bin_of(path, count) != name:
            raise PublishError(name, f"it lists {path}, which belongs in {bin_of(path, count)}")


def _spread(files: Mapping[str, TargetFile], count: int, targets: Targets) -> dict[str, Targets]:
    """Return `desired` and every bin, laid out afresh."""
    bins: dict[str, dict[str, TargetFile]] = {name: {} for name in bin_names(count)}
    for path, target in files.items():
        bins[bin_of(path, count)][path] = target
    desired = Targets(spec_version=SPEC_VERSION, delegations=delegations_to(count, targets))
    return {DESIRED: desired} | {
        name: Targets(spec_version=SPEC_VERSION, targets=listed) for name, listed in bins.items()
    }


class _Held:
    """What the desired roles of a state list; each is read when it is asked for."""

    def __init__(self, state: Mapping[str, bytes], count: int) -> None:
        self._state, self._roles = state, (DESIRED, *bin_names(count))
        self._read: dict[str, Targets] = {}

    def role(self, name: str) -> Targets:
        """Return a role, an empty one if there is none yet; its files may be changed."""
        if name not in self._read:
            known = name in self._state
            self._read[name] = (
                read_metadata(name, self._state[name]).signed
                if known
                else Targets(spec_version=SPEC_VERSION)
            )
        return self._read[name]

    def documents(self) -> int:
        """Count the documents, as they are now."""
        return sum(
            len(glance(name, self._state[name]).targets)
            if name in self._state and name not in self._read
            else len(self.role(name).targets)
            for name in self._roles
        )

    def files(self) -> dict[str, TargetFile]:
        """Return every document, by path."""
        return {path: one for name in self._roles for path, one in self.role(name).targets.items()}
