"""A bundle's index: what lies in the one file that carries signed state to a place without a link.

Nothing in it is believed: it says where a member lies in the file, and for whom the bundle was
meant. What a member is worth is decided by the signatures, as over the network.
"""

import msgspec

BUNDLE_SCHEMA = "skerry.bundle/1"


class BundleMember(msgspec.Struct, frozen=True, kw_only=True):
    """One file: where it belongs (`metadata/…`, `targets/…`, `blobs/…`), digest and length."""

    place: str
    sha256: str
    length_bytes: int


class BundleIndex(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle holds, in the order in which it lies there."""

    schema: str = BUNDLE_SCHEMA
    fleet: str
    sites: tuple[str, ...]
    """The sites whose desired state it brings."""
    snapshot_version: int
    made_at_unix_s: float
    good_until_unix_s: float
    """When the first of its signatures ends; nothing is installed from it after that."""
    since_snapshot_version: int = 0
    """It leaves out what came with this earlier snapshot; 0 where it is whole."""
    members: tuple[BundleMember, ...]
