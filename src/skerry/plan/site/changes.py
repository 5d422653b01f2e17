"""Sites into a fleet file: what `plan site --write` puts there, by dotted path.

    sites.dublin.tier: closet    sites.dublin.at: [53.3331, -6.2489]    sites.dublin.grid: IE

A site is named after its city, or its id where it has none, in the fleet file's own
spelling (a-z, 0-9, `-`); two of one city carry their ids.
"""

import re
import unicodedata
from collections import Counter

import numpy as np

from skerry.plan.site.case import Case
from skerry.plan.site.problem import Siting

NAME_LENGTH_MAX = 63


def fleet_changes(case: Case, siting: Siting, *, tier: str, region: str | None) -> dict[str, str]:
    """Return what the open sites come to in a fleet file; nothing for files without places."""
    if case.instance is None:
        return {}
    opened = [case.instance.candidates[int(site)] for site in np.flatnonzero(siting.open)]
    plain = [site_name(one.city or f"site-{one.id}") for one in opened]
    often = Counter(plain)
    changes: dict[str, str] = {}
    for one, name in zip(opened, plain, strict=True):
        path = f"sites.{name if often[name] == 1 else site_name(f'{name}-{one.id}')}"
        changes[f"{path}.tier"] = tier
        if region is not None:
            changes[f"{path}.region"] = region
        changes[f"{path}.at"] = f"[{one.lat:.6g}, {one.lon:.6g}]"
        if one.country:
            changes[f"{path}.grid"] = one.country
    return changes


def site_name(text: str) -> str:
    """Return a name that a fleet file takes: `Las Palmas` becomes `las-palmas`."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:NAME_LENGTH_MAX].strip("-") or "site"
