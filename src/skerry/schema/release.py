"""What is signed beside a target's bytes: which release it is of, and what it may run on.

The offline role signs `Facts` (TUF's *custom* field of a target); central's online role signs a
`Statement` about each artifact that it tells a site to run. A node installs only what both say
alike, so neither of the two can change it alone.

Source:  Uptane 2.1, "Full verification", steps 8 to 10; the names of its custom fields.
"""

import msgspec


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the offline role says of an artifact. All of it is optional, and signed."""

    release: int = 0
    """Counts up with every signing of a fleet's artifacts; 0 for one that is not counted."""
    min_release: int = 0
    """Nothing of a lower release is ever installed again once this one was committed."""
    hw: tuple[str, ...] = ()
    """Kinds of machine that it may run on; empty for all."""
    needs: dict[str, str] = {}
    """Other targets that it does not work without: path to SHA-256, or to nothing for any."""
    bundle: dict[str, str] = {}
    """The members of its release, itself included: path to SHA-256. They run together only."""
    provenance: str = ""
    """The target with the statement of how it was made."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What central says of an artifact that a site is to run; must equal what is signed."""

    sha256: str
    length_bytes: int
    release: int = 0
    hw: tuple[str, ...] = ()
