"""Serving signed state and blobs over HTTPS: the same few lines at region and central.

Errors:  NotHereError, for every name that is not a file of the folder.
"""

import re
from pathlib import Path

from skerry.spine.blobs import BlobStore
from skerry.spine.https_server import (
    Call,
    CallRefusedError,
    File,
    Handler,
    NotHereError,
    Reply,
)
from skerry.trust import access_data

_METADATA = re.compile(r"([1-9][0-9]{0,9}\.)?[a-z]{1,32}\.json")
_TARGET = re.compile(r"([a-z0-9][a-z0-9._-]{0,127}/){0,6}[0-9a-f]{64}\.[A-Za-z0-9._-]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def metadata_name(call: Call) -> str:
    """Return the metadata file a call asks for: `timestamp.json`, `7.snapshot.json`."""
    name = call.part("file")
    if not _METADATA.fullmatch(name):
        raise NotHereError(f"metadata {name[:80]!r}")
    return name


def target_name(call: Call) -> str:
    """Return the target file a call asks for, `<folder>/<sha256>.<name>`."""
    name = call.part("path")
    if not _TARGET.fullmatch(name) or ".." in name:
        raise NotHereError(f"target {name[:80]!r}")
    if not access_data.may_read_target(call.certificate, name):
        raise CallRefusedError(f"read {name}", str(call.certificate), "a node of that site")
    return name


def blob_name(call: Call) -> str:
    """Return the digest a call asks for."""
    name = call.part("sha256")
    if not _SHA256.fullmatch(name):
        raise NotHereError(f"blob {name[:80]!r}")
    return name


def repository_file(folder: Path, name: str) -> File:
    """Return a file of a repository folder."""
    path = folder / name
    if not path.is_file():
        raise NotHereError(name)
    return File(path, forever=name != "timestamp.json")


def blob_route(blobs: BlobStore) -> Handler:
    """Return the handler that serves blobs of a store."""

    async def answer(call: Call) -> Reply:
        sha256 = blob_name(call)
        if not blobs.has(sha256):
            raise NotHereError(f"blob {sha256[:12]}")
        return File(blobs.path(sha256), forever=True)

    return answer
