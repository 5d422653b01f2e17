"""What every part of a file that people write has in common: known keys, names, quantities."""

from typing import Annotated

import msgspec
from msgspec import Meta

Name = Annotated[
    str,
    Meta(
        pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="1 to 63 of a-z, 0-9 and `-`, neither first nor last a `-`",
    ),
]
Quantity = Annotated[str, Meta(min_length=1, max_length=64, description="a quantity with its unit")]
Ratio = int | float


class Authored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every part of the file: an unknown key is an error."""
