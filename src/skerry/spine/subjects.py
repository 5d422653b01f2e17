"""Every subject and stream name there is, in one place.

    telemetry.<region>.<site>.<n>.<must|high|low>   kept, node to region's stream TEL
    up.<region>.<must|high>                         kept, region to central's stream UP
    status.<region>.<site>.<n>                      core, Observed JSON, every 2 s and on change
    cmd.<region>.<site>                             core, nudge and request, down

Parts are tokens (`skerry.base.ids.token`), so none of them can hold a wildcard or a dot.
"""

from skerry.base.ids import token
from skerry.schema.records import Keep

TEL = "TEL"
UP = "UP"
RELAY_DURABLE = "relay"
INGEST_DURABLE = "ingest"
CENTRAL_DOMAIN = "central"


def telemetry(region: str, site: str, number: int, keep: Keep) -> str:
    """Return where a node hands over its records."""
    return f"telemetry.{token('region', region)}.{token('site', site)}.{number}.{keep.value}"


def telemetry_of(region: str) -> str:
    """Return the wildcard that the region's stream TEL binds."""
    return f"telemetry.{token('region', region)}.>"


def up(region: str, keep: Keep) -> str:
    """Return where a region hands records to central."""
    return f"up.{token('region', region)}.{keep.value}"


UP_ALL = "up.>"
"""The wildcard that central's stream UP binds."""


def status(region: str, site: str, number: int) -> str:
    """Return where a node reports what is true."""
    return f"status.{token('region', region)}.{token('site', site)}.{number}"


def status_of(region: str) -> str:
    """Return the wildcard for all reports of a region."""
    return f"status.{token('region', region)}.>"


STATUS_ALL = "status.>"


def command(region: str, site: str) -> str:
    """Return where a site's nodes listen for nudges."""
    return f"cmd.{token('region', region)}.{token('site', site)}"


def command_region(region: str) -> str:
    """Return where a region's own process listens: as a site named like the region."""
    return command(region, region)


def inbox_node(region: str, site: str, number: int) -> str:
    """Return a node's private inbox prefix."""
    return f"_INBOX.{token('region', region)}.{token('site', site)}.{number}"


def inbox_region(region: str) -> str:
    """Return a region process's private inbox prefix; `_r` cannot be a region's name."""
    return f"_INBOX._r.{token('region', region)}"


INBOX_CENTRAL = "_INBOX._c.central"
"""Central's private inbox prefix."""
