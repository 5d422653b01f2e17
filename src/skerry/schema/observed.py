"""Observed state: what is true on a node, as the node itself reports it.

*In sync* (does it run what the file says) and *state* (does it answer well) are two
separate words. `stale`, `paused` and `unknown` are set by whoever looks, never by
the node itself.
"""

from enum import StrEnum

import msgspec

OBSERVED_SCHEMA = "skerry.observed/1"


class State(StrEnum):
    """How a node or site is."""

    OK = "ok"
    WARN = "warn"
    DOWN = "down"
    STALE = "stale"
    PAUSED = "paused"
    UNKNOWN = "unknown"


class ObservedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model as it is on the node: `ready` means that it gave a real answer."""

    name: str
    version: int
    ready: bool
    reason: str = ""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What the node served since its last swap, or in the last minute, whichever is shorter."""

    duration_s: float
    requests: int
    errors: int
    local: int
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    slow: int | None = None
    """Answers that were slower than the gate's p95 limit, where one is stated."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One node's report. `refusal` is the last artifact or document it would not take, and why."""

    schema: str = OBSERVED_SCHEMA
    node: str
    site: str
    region: str
    boot: str
    at_unix_s: float
    generation: int
    desired_sha256: str
    in_sync: bool
    state: State
    reason: str
    models: tuple[ObservedModel, ...]
    window: Window
    reverted_generation: int = 0
    """The last generation this node tried and gave up; 0 for none."""
    reverted_reason: str = ""
    refusal: str = ""
    outbox_records: int = 0
    outbox_dropped: dict[str, int] = {}
    certificate_ends_unix_s: float = 0.0
    agent_rss_bytes: int = 0
    worker_rss_bytes: int = 0
    signals: dict[str, str | float] = {}
    """What rules read: `power.source`, `grid.carbon_g_per_kwh`, and so on."""
    rules_active: tuple[str, ...] = ()
    quarantine: str = ""
    """Why the node takes no restricted data; empty while it does."""
    anchors_version: int = 0
    """Which version of the fleet's trust roots the node has taken."""
    issuers: tuple[str, ...] = ()
    """Key ids of the authorities above its certificate, the root's last."""
