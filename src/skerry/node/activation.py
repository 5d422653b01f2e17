"""What the worker serves by, as one pointer: all of a release or all of the one before.

    active -> releases/a          current.json: the accepted desired state, with its policy
                                  serving/<model>/<version>: links to the version folders
              releases/b          the other one: made whole beside it, then pointed at

A cold start reads through the pointer, so models, policy and configuration of one release are
never mixed with those of another, whenever the power fails.

Errors:  OSError, where the disk is full or broken; what was active is then still active.
"""

import fcntl
import os
import shutil

from skerry.base.files import private_folder, sync_folder
from skerry.node.folder import NodeFolder
from skerry.trust.acceptance import AcceptedDesired

_SLOTS = ("a", "b")


def activate(folder: NodeFolder, wanted: AcceptedDesired | None) -> None:
    """Make a cold start find exactly this; None for nothing at all."""
    free = _SLOTS[folder.active.is_symlink() and folder.active.resolve().name == _SLOTS[0]]
    place = folder.releases / free
    shutil.rmtree(place, ignore_errors=True)
    serving = private_folder(place / "serving")
    for model in wanted.desired.models if wanted else ():
        link = serving / model.name / str(model.version)
        link.parent.mkdir()
        version = folder.models / model.name / str(model.version)
        link.symlink_to(os.path.relpath(version.resolve(), link.parent.resolve()))
        sync_folder(link.parent)
    if wanted is not None:
        wanted.save(place / "current.json")
    for made in (serving, place, folder.releases):
        sync_folder(made)
    point_at(folder, free)


def point_at(folder: NodeFolder, slot: str) -> None:
    """Turn the pointer; one rename, so a reader finds the old release or the new one."""
    half = folder.root / ".active.link"
    half.unlink(missing_ok=True)
    half.symlink_to(os.path.join("releases", slot))
    half.replace(folder.active)
    sync_folder(folder.root)


def adopt(folder: NodeFolder) -> None:
    """Give a state folder its pointer, if it has none: `current.json` was beside it before.

    Worker and agent both ask for it when they start; whoever comes second waits and finds it there.
    """
    with (folder.root / ".adopt.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if os.path.lexists(folder.active):
            return
        before = folder.root / "current.json"
        activate(folder, AcceptedDesired.load(before))
        before.unlink(missing_ok=True)
        shutil.rmtree(folder.root / "serving", ignore_errors=True)
