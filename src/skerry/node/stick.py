"""What a bundle brought to a node: put here by a person, taken by the agent like a mirror's.

`bring` checks and places it while the agent runs; the agent finds it at its next look, where no
region answers, and makes every check again with its own floors. The stick is a courier only.

Errors:  those of `skerry.trust.bundle_import`.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skerry.base.clock import Clock
from skerry.fleet.actions import OnDisk
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.settings import read_settings
from skerry.schema.stick_report import StickReport
from skerry.spine.blobs import BlobStore
from skerry.spine.outbox import records_on_disk
from skerry.spine.relay import travels
from skerry.trust.acceptance import AcceptedDesired
from skerry.trust.bundle import Bundle
from skerry.trust.bundle_check import Verified, good_until_unix_s, kept_by
from skerry.trust.bundle_import import take
from skerry.trust.enrol import load_or_create_enrolment_key
from skerry.trust.ledger_beside import note_beside
from skerry.trust.spiffe import node_id
from skerry.trust.stick_report import sign_report

RECORDS_BYTES_MAX = 24 * 1024**2
"""Records on one stick; text within text, they take about twice that."""


class Stick:
    """The folder that a bundle was put into, as the agent reads it."""

    def __init__(self, folder: NodeFolder, clock: Clock) -> None:
        self._folder, self._clock = folder.stick, clock

    @property
    def holds(self) -> bool:
        """Whether there is something of use: what has ended brings nothing new any more."""
        timestamp = self._folder / "metadata" / "timestamp.json"
        if not timestamp.is_file():
            return False
        return good_until_unix_s({"metadata/timestamp.json": timestamp.read_bytes()}) > (
            self._clock.unix_s()
        )

    def fetch(self, place: str, length_max: int) -> Iterator[bytes]:
        """Yield a file that the bundle brought; raises `FileNotFoundError`."""
        with (self._folder / place).open("rb") as file:
            yield file.read(length_max + 1)

    def blob(self, sha256: str, into: BlobStore) -> Path | None:
        """Move a blob that the bundle brought into a store, as a second link; None if it did not.

        A damaged one is removed and counts as not brought.
        """
        source = self._folder / "blobs" / sha256
        if into.has(sha256) or not source.is_file():
            return None
        with source.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            source.unlink()
            return None
        partial = into.partial(sha256)
        partial.unlink(missing_ok=True)
        partial.hardlink_to(source)
        return into.adopt(partial, sha256)


def bring(bundle: Bundle, state: Path, clock: Clock) -> Verified:
    """Take a bundle in at the node of a state folder; its agent may run meanwhile."""
    folder = NodeFolder(state)
    settings = read_settings(folder.settings)
    name = node_id(settings.domain, settings.region, settings.site, settings.number)
    stick = BlobStore(folder.stick / "blobs", limit_bytes=1 << 50)
    store = BlobStore(folder.blobs)
    found = take(
        bundle,
        folder.stick,
        stick,
        here=settings.site,
        for_here=lambda site, _: site == settings.site,
        bootstrap_root=IdentityFiles(folder.identity).tuf_root.read_bytes(),
        floors=folder.trust,
        clock=clock,
        keep_floors=False,  # the agent raises its own when it takes the state
        note=lambda event: note_beside(folder.audit, str(name), event, clock),
        also_has=store.has,
        also_here=kept_by(folder.trust),
    )
    for sha256 in set(stick.names()) - set(found.blobs()):
        stick.remove(sha256)
    return found


def report(state: Path, clock: Clock, *, records: bool = False) -> bytes:
    """Return what is true of a node, signed by it, for the stick's way back.

    With `records` also the summaries and events that wait on its disk, the most needed first.
    They stay there: nobody has told the node that they arrived.
    """
    folder = NodeFolder(state)
    settings = read_settings(folder.settings)
    try:
        disk = msgspec.json.decode(folder.memory.read_bytes(), type=OnDisk)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        disk = OnDisk()
    current = AcceptedDesired.load(folder.current)
    models = current.desired.models if current else ()
    name = node_id(settings.domain, settings.region, settings.site, settings.number)
    waiting = records_on_disk(folder.outbox, bytes_max=RECORDS_BYTES_MAX) if records else []
    said = StickReport(
        spiffe_id=str(name),
        at_unix_s=clock.unix_s(),
        generation=disk.trial or disk.generation,
        on_trial=disk.trial != 0,
        models={model.name: model.version for model in models},
        gave_up=disk.gave_up,
        gave_up_reason=disk.gave_up_reason,
        records=tuple(one for one in waiting if travels(one)),
    )
    key = load_or_create_enrolment_key(IdentityFiles(folder.identity).enrolment_key)
    return sign_report(said, key)
