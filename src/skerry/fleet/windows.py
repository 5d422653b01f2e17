"""Maintenance windows: when in a site's own day it may be changed.

`window: outside hours` takes each site's opening hours; a span (`22:00-05:00`) is taken in the
zone that it names, else in the site's own (the one its hours name), else in UTC. A site without
hours has no opening hours to spare.

Units:   minutes after local midnight; unix seconds.
Errors:  none: `Findings` takes what cannot be read, and an unknown zone never opens.
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from skerry.fleet.findings import Findings
from skerry.schema.file_errors import KeyPath
from skerry.schema.fleet import Site, Span

ALWAYS, OUTSIDE_HOURS = "always", "outside hours"
_SPAN = re.compile(
    r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|(24):(00))(?: (\S{1,64}))?"
)
_UTC = "UTC"
_DAYS_AHEAD = 3
"""Further than any next opening, with the hour that summer time takes away."""


def read_span(text: str) -> Span | None:
    """Return the span that `08:00-20:00 Europe/London` means; its zone is empty if none is named.

    None for text of another form.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        return None
    from_h, from_min, to_h, to_min, day_h, day_min, zone = match.groups()
    return Span(
        begins_minute=int(from_h) * 60 + int(from_min),
        ends_minute=int(to_h or day_h) * 60 + int(to_min or day_min),
        zone=zone or "",
    )


def check_span(text: str, path: KeyPath, notes: Findings) -> None:
    """Note a span of the day that cannot be read."""
    span = read_span(text)
    if span is None:
        notes.bad_value(path, f"`{text}` is not a span of a day, wanted `08:00-20:00 Europe/Oslo`")
    elif span.zone and _zone(span.zone) is None:
        notes.bad_value(path, f"no time zone `{span.zone}`", "such as `Europe/Oslo`")


def site_windows(
    window: str, sites: Sequence[Site], path: KeyPath, notes: Findings
) -> dict[str, Span]:
    """Return for each site the part of its day in which it may be changed; absent means any."""
    if window == ALWAYS:
        return {}
    stated = {site.name: read_span(site.hours) for site in sites}
    if window == OUTSIDE_HOURS:
        return {
            name: Span(
                begins_minute=hours.begins_minute,
                ends_minute=hours.ends_minute,
                zone=hours.zone or _UTC,
                outside=True,
            )
            for name, hours in stated.items()
            if hours is not None
        }
    check_span(window, path, notes)
    span = read_span(window)
    if span is None:
        return {}
    return {
        name: Span(
            begins_minute=span.begins_minute,
            ends_minute=span.ends_minute,
            zone=span.zone or (hours.zone if hours else "") or _UTC,
        )
        for name, hours in stated.items()
    }


def opens_unix_s(span: Span, now_unix_s: float) -> float:
    """Return when the span next holds: now, if it does; infinite where its zone is unknown here."""
    zone = _zone(span.zone)
    if zone is None:
        return math.inf
    local = datetime.fromtimestamp(now_unix_s, zone)
    if _holds(span, local.hour * 60 + local.minute):
        return now_unix_s
    minute = (span.ends_minute if span.outside else span.begins_minute) % (24 * 60)
    for days in range(_DAYS_AHEAD):
        day = local.date() + timedelta(days=days)
        opens = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)
        if opens.timestamp() > now_unix_s:
            return opens.timestamp()
    return math.inf


def describe_opening(span: Span, opens_at_unix_s: float) -> str:
    """Say when a span opens, in its own zone."""
    zone = _zone(span.zone)
    if zone is None or math.isinf(opens_at_unix_s):
        return f"its window never opens: the time zone {span.zone} is not known here"
    return (
        f"its window opens at {datetime.fromtimestamp(opens_at_unix_s, zone):%a %H:%M} {span.zone}"
    )


def _holds(span: Span, minute: int) -> bool:
    begins, ends = span.begins_minute, span.ends_minute
    within = begins <= minute < ends if begins < ends else minute >= begins or minute < ends
    return within is not span.outside


@cache
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
