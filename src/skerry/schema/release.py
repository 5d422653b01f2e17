"""A release: which artifacts belong together, and what is signed of each beside its bytes.

The offline role signs a `Release` per release, and `Facts` (TUF's *custom* field) per artifact;
central's online role tells a site which release to run, with a `Statement` about each artifact of
it. A node installs only what both say alike, so neither of the two can change it alone.

Source:  Uptane 2.1, "Full verification", steps 8 to 10; the names of its custom fields.
"""

import msgspec

RELEASE_SCHEMA = "skerry.release/1"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """The members of one release: they run together, and with no others."""

    schema: str = RELEASE_SCHEMA
    fleet: str
    release: int
    """Counts up with every release of the fleet, from 1."""
    members: dict[str, str]
    """Target path to SHA-256."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the offline role says of an artifact beside its bytes. All of it is optional."""

    hw: tuple[str, ...] = ()
    """Kinds of machine that it may run on; empty for all."""
    needs: dict[str, str] = {}
    """Other targets that it does not work without: path to SHA-256, or to nothing for any."""
    min_release: int = 0
    """Once this was committed, no lower release is ever installed again."""
    provenance: str = ""
    """The target with the statement of how it was made."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What central says of an artifact that a site is to run; must equal what is signed of it."""

    sha256: str
    length_bytes: int
    hw: tuple[str, ...] = ()


def release_target(fleet: str, release: int) -> str:
    """Return the TUF target path of a release: `prod/policy/<fleet>.release-<n>.json`."""
    return f"prod/policy/{fleet}.release-{release}.json"
