"""What a fleet demands of machines, keys and people, resolved: every value is present.

`skerry.schema.trust_file` is how people write it.
"""

import msgspec


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved `trust:` part of a fleet."""
