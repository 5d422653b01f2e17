"""The door to python-tuf and securesystemslib: every name of theirs that this room uses.

Both list their exports at run time, in a way that type checkers cannot read; hence the remarks.
python-tuf notes every key that did not sign, which is no news where a threshold is below the
number of keys; so its log begins at warnings.
"""

import logging

from securesystemslib.dsse import Envelope
from securesystemslib.signer import (  # type: ignore[attr-defined]
    CryptoSigner,
    Key,
    Signature,
    Signer,
    SSlibKey,
)
from tuf.api.metadata import (  # type: ignore[attr-defined]
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
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
    "Envelope",
    "FetcherInterface",
    "Key",
    "MetaFile",
    "Metadata",
    "Role",
    "Root",
    "SSlibKey",
    "Signature",
    "Signer",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
    "Updater",
    "UpdaterConfig",
]

logging.getLogger("tuf").setLevel(logging.WARNING)
