"""The door to python-tuf and securesystemslib: every name of theirs that this room uses.

Both list their exports at run time, in a way that type checkers cannot read; hence the remarks.
"""

from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]
from tuf.api.metadata import (  # type: ignore[attr-defined]
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig  # type: ignore[attr-defined]

__all__ = [
    "CryptoSigner",
    "DelegatedRole",
    "Delegations",
    "FetcherInterface",
    "MetaFile",
    "Metadata",
    "Root",
    "SSlibKey",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
    "Updater",
    "UpdaterConfig",
]
