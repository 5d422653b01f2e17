"""Scenarios of a fleet simulation, and sweeps over them: documents that people write.

A scenario says what happens to a fleet in the span that is simulated: faults on purpose,
and a world that changes. Times count from the start of the simulation; quantities carry
their unit (`at: 14 d`, `lasts: 4 h`). Unknown keys are refused.
"""

from enum import StrEnum
from typing import Literal

import msgspec

SIMULATION_API = "skerry/v1"


class IncidentKind(StrEnum):
    """What can happen."""

    WAN_CUT = "wan_cut"
    LOSE_SITE = "lose_site"
    LOSE_REGION = "lose_region"
    RECONNECT_STORM = "reconnect_storm"
    HEAT_WAVE = "heat_wave"
    DEMAND = "demand"
    PRICE = "price"
    CARBON = "carbon"


class Incident(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that happens, where, when and for how long.

    `where` is `all`, a region or a site; `share` picks that part of the sites there, by the
    seed. `wan_cut` and `reconnect_storm` cut sites off, `lose_site` and `lose_region` take
    their machines (a region's are those of its room); `heat_wave` adds `add_c` degrees;
    `demand`, `price` and `carbon` multiply by `factor`.
    """

    do: IncidentKind
    at: str
    lasts: str
    where: str = "all"
    share: float = 1.0
    factor: float | None = None
    add_c: float | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario. `failures` multiplies the rates at which things break by themselves.

    `set` puts values in place of the simulation's assumptions, as `--set` does.
    """

    apiVersion: Literal["skerry/v1"] = "skerry/v1"  # noqa: N815 - the key of every file
    kind: Literal["Scenario"] = "Scenario"
    name: str
    text: str = ""
    failures: float = 1.0
    set: dict[str, float] = {}
    incidents: tuple[Incident, ...] = ()


class Sweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many scenarios, each with the same seeds: shipped ones by name, or files beside it."""

    apiVersion: Literal["skerry/v1"] = "skerry/v1"  # noqa: N815
    kind: Literal["Sweep"] = "Sweep"
    scenarios: tuple[str, ...]
    seeds: int = 3
    first_seed: int = 7
