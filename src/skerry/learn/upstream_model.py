"""A model that another server runs, as a version of the repository: card, manifest, pin.

It is signed, released and swapped like any model; its members are `upstream.json` and what
lies beside it (weights for a container, for example), to any depth.

Errors:  UnusableModelError, DuplicateVersionError.
"""

import shutil
from pathlib import Path

import msgspec

from skerry.learn.errors import UnusableModelError
from skerry.learn.importer import Added, put_card
from skerry.learn.store import staged
from skerry.schema.model import CARD_FILE, MODEL_FILE, Card
from skerry.schema.upstream import UPSTREAM_FILE, Upstream, decode_upstream

FILES_MAX = 10_000
_OURS = frozenset({CARD_FILE, MODEL_FILE, "manifest.json"})


def read_upstream(path: Path) -> Upstream:
    """Read an `upstream.json`, or the one in a folder."""
    path = path / UPSTREAM_FILE if path.is_dir() else path
    try:
        return decode_upstream(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise UnusableModelError(str(path), str(error), "an upstream.json") from error


def add_upstream(path: Path, card: Card, repository: Path, lock_folder: Path | None) -> Added:
    """Put a checked `upstream.json`, or a folder that holds one, into the repository."""
    read_upstream(path)
    found = {UPSTREAM_FILE: path} if path.is_file() else _files(path)
    with staged(repository, card.name) as folder:
        for name, source in found.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
        return put_card(folder, repository, card, lock_folder, "", 0.0, files=sorted(found))


def _files(folder: Path) -> dict[str, Path]:
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    for name in _OURS & found.keys():
        raise UnusableModelError(str(folder / name), f"a {name}", "files of the server alone")
    if len(found) > FILES_MAX:
        raise UnusableModelError(str(folder), f"{len(found)} files", f"at most {FILES_MAX}")
    return found
