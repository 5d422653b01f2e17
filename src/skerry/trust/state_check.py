"""A signed state held against every rule before it is published, and what is offered for it.

    an offered role      exactly one version on, within its life, a new root by the old one too
    the whole state      signatures and thresholds, delegations, paths, and every file's bytes

A state maps role to metadata. What nodes would refuse, long after and as *no such file*, is
refused here by its own name.

Errors:  PublishError and its kinds in `ceremony_errors`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError

from skerry.trust._tuf import Metadata, TargetFile
from skerry.trust.bins import DESIRED, bin_of, count_in, is_bin, lint_bin, lint_bins
from skerry.trust.errors import PublishError
from skerry.trust.publish_lint import (
    lint_delegated_once,
    lint_delegations,
    lint_keys,
    lint_life,
)
from skerry.trust.roles import ONLINE, PATHS, OnlineKeys, lint_paths, read_metadata
from skerry.trust.standing import check_threshold


class StateCheck:
    """The rules, and which bins were found to keep them: those that stay as they are keep them.

    `place` tells where the file of a target path and digest lies once it is published.
    """

    def __init__(self, keys: OnlineKeys, place: Callable[[str, str], Path]) -> None:
        self._keys, self._place = keys, place
        self._sound: dict[str, tuple[bytes, bytes]] = {}
        """Bin to its metadata, and that of the `desired` which delegates to it."""

    def offered(
        self, role: str, data: bytes, known: Mapping[str, bytes], now_unix_s: float
    ) -> None:
        """Refuse an offered role that is not exactly one version on, or has ended."""
        offered = read_metadata(role, data)
        before = read_metadata(role, known[role]).signed.version if role in known else 0
        if offered.signed.version != before + 1:
            why = f"version {offered.signed.version} is offered, wanted {before + 1}"
            raise PublishError(role, why)
        lint_life(role, offered, now_unix_s)
        if role == "root" and role in known:  # a new root needs the old root's consent too
            check_threshold("root", offered, read_metadata("root", known["root"]))

    def whole(self, state: Mapping[str, bytes], files: Mapping[str, bytes]) -> None:
        """Refuse a state that breaks a rule; `files` are its new files, by target path."""
        root = read_metadata("root", state["root"])
        check_threshold("root", root, root)
        targets = read_metadata("targets", state["targets"])
        check_threshold("targets", targets, root)
        lint_delegations(targets.signed)
        lint_keys(root.signed, targets.signed)
        lint_bins(state)
        self._check_online(state)
        listed: set[str] = set()
        for role in PATHS:
            listed |= self._check_role(role, state, targets, files)
        desired = read_metadata(DESIRED, state[DESIRED])
        for role in self._bins_to_check(state, files):
            listed |= self._check_role(role, state, desired, files)
            self._sound[role] = state[role], state[DESIRED]
        for path in files:
            if path not in listed:
                raise PublishError("targets", f"{path} was sent, but no role lists it")

    def _bins_to_check(self, state: Mapping[str, bytes], files: Mapping[str, bytes]) -> list[str]:
        """Return the bins that are not as they were found sound, or that a file sent belongs in."""
        count = count_in(state)
        sent = {bin_of(path, count) for path in files}
        return [
            role
            for role in filter(is_bin, state)
            if role in sent or self._sound.get(role) != (state[role], state[DESIRED])
        ]

    def _check_role(
        self,
        role: str,
        state: Mapping[str, bytes],
        delegator: Metadata[Any],
        files: Mapping[str, bytes],
    ) -> set[str]:
        """Check one role that lists files; return their paths."""
        metadata = read_metadata(role, state[role])
        lint_delegated_once(role, metadata.signed)
        check_threshold(role, metadata, delegator)
        if is_bin(role):
            lint_bin(role, metadata.signed, count_in(state))
        else:
            lint_paths(role, metadata.signed)
        for path, target in metadata.signed.targets.items():
            self._check_file(role, path, target, files.get(path))
        return set(metadata.signed.targets)

    def _check_file(self, role: str, path: str, target: TargetFile, content: bytes | None) -> None:
        if content is None:
            place = self._place(path, target.hashes.get("sha256", ""))
            if not place.is_file() or place.stat().st_size != target.length:
                raise PublishError(role, f"it lists {path}, whose bytes were not sent")
            return
        try:
            target.verify_length_and_hashes(content)
        except LengthOrHashMismatchError as error:
            raise PublishError(role, f"the bytes sent for {path} are not those signed") from error

    def _check_online(self, state: Mapping[str, bytes]) -> None:
        """Refuse to sign with keys that nobody would believe."""
        for role in ONLINE:
            if not self._keys.holds(role, named_keys(role, state)):
                delegator = "targets" if role in PATHS else "root"
                raise PublishError(role, f"the key held here is not the one that {delegator} names")


def named_keys(role: str, state: Mapping[str, bytes]) -> list[str]:
    """Return the ids of the keys that root, or `targets`, names for a role."""
    delegator = "targets" if role in PATHS else "root"
    signed = read_metadata(delegator, state[delegator]).signed
    return list(signed.get_delegated_role(role).keyids)
