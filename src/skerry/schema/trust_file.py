"""The `trust:` part of the fleet file: what a fleet demands of machines, keys and people.

Every part is optional, and what is left out has the default that its field names.
"""

from skerry.schema.authored import Authored


class TrustFile(Authored, frozen=True, kw_only=True):
    """What the fleet demands; each part is explained in `docs/reference/fleet-file.md`."""
