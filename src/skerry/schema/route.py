"""How a node routes, beyond its policy: retries, ejection, balance, cache, cascades, ensembles.

Part of a node's settings, under `route`. Everything that costs memory, asks more than
one model, or keeps an answer is off until somebody writes it down here.

Units:  seconds, bytes, shares from 0 to 1.
"""

from enum import StrEnum

import msgspec


class Combine(StrEnum):
    """How the answers of an ensemble become one."""

    MEAN = "mean"
    MEDIAN = "median"
    VOTE = "vote"


class Cascade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A small model that answers for a large one while it is sure enough.

    `threshold` and `temperature` come from `route.calibrate`, on pairs that neither
    model has seen: no threshold is safe by itself.
    """

    small: str
    """The model that is asked first, here."""
    threshold: float
    """Least calibrated confidence, 0 to 1, that lets its answer stand."""
    temperature: float = 1.0
    """What its logits are divided by before the softmax."""
    output: str = ""
    """The output that holds the scores, one row per item; empty for the first."""
    logits: bool = True
    """Whether that output holds logits; otherwise it holds probabilities."""
    check_ratio: float = 0.01
    """Share of the sure answers that the large model gives all the same, to be compared."""


class Ensemble(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several models, or one at several nodes, that answer together."""

    members: tuple[str, ...]
    """The models that are asked, all at once."""
    nodes: int = 1
    """At how many different nodes each of them is asked."""
    quorum: int
    """How many answers are enough once `deadline_s` is over."""
    deadline_s: float
    """How long all are waited for."""
    combine: Combine = Combine.MEAN


class RouteSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """How requests are routed."""

    retry_ratio: float = 0.2
    """Further attempts, hedges included, as a share of the requests that are sent away."""
    retry_per_s_min: float = 10.0
    """Further attempts that are allowed in any case, per second."""
    retry_burst: float = 100.0
    """Further attempts that may be saved up: a node that dies strands what it had in flight."""
    eject_ratio_max: float = 0.5
    """Largest share of like nodes that is ejected at once; 0 ejects none."""
    balance: bool = False
    """Whether requests are spread over the nodes of this site, busy ones spared."""
    explain: bool = False
    """Whether anybody who reaches a door may ask how a request was routed."""
    cache_s: dict[str, float] = {}
    """Data class to how long its answers are kept; classes not named here are never kept."""
    cache_bytes_max: int = 64 * 1024 * 1024
    """Room for answers that are kept."""
    cascades: dict[str, Cascade] = {}
    """Large model to the small one that may answer for it."""
    ensembles: dict[str, Ensemble] = {}
    """Model to those that answer for it together."""


BOUNDS: dict[str, tuple[float, float]] = {
    "retry_ratio": (0, 1),
    "retry_per_s_min": (0, 10_000),
    "retry_burst": (0, 100_000),
    "eject_ratio_max": (0, 1),
    "cache_bytes_max": (0, 1 << 40),
}
CACHE_S_MAX = 24 * 3600.0
MEMBERS_MAX = 16


def fault_of(settings: RouteSettings) -> str:
    """Return what is wrong with the values, naming the first wrong one; empty if nothing is."""
    for name, (low, high) in BOUNDS.items():
        value = getattr(settings, name)
        if not low <= value <= high:
            return f"route.{name} is {value:.13g}, wanted {low:g} to {high:.13g}"
    for name, kept_s in settings.cache_s.items():
        if not 0 < kept_s <= CACHE_S_MAX:
            return f"route.cache_s.{name} is {kept_s:g}, wanted more than 0, at most a day"
    for large, cascade in settings.cascades.items():
        where = f"route.cascades.{large}"
        if large in settings.ensembles:
            return f"{where} and route.ensembles.{large} are both given, wanted one of them"
        if cascade.small in ("", large):
            return f"{where}.small is {cascade.small!r}, wanted another model"
        for name in ("threshold", "check_ratio"):
            value = getattr(cascade, name)
            if not 0 <= value <= 1:
                return f"{where}.{name} is {value:g}, wanted 0 to 1"
        if not 0.01 <= cascade.temperature <= 100:
            return f"{where}.temperature is {cascade.temperature:g}, wanted 0.01 to 100"
    for model, ensemble in settings.ensembles.items():
        where = f"route.ensembles.{model}"
        asked = len(ensemble.members) * ensemble.nodes
        if ensemble.nodes < 1 or not 2 <= asked <= MEMBERS_MAX:
            return f"{where} asks {asked}, wanted members * nodes from 2 to {MEMBERS_MAX}"
        if not 1 <= ensemble.quorum <= asked:
            return f"{where}.quorum is {ensemble.quorum}, wanted 1 to {asked}"
        if not 0 < ensemble.deadline_s <= 60:
            return f"{where}.deadline_s is {ensemble.deadline_s:g}, wanted more than 0, at most 60"
    return ""
