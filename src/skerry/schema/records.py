"""Records: what a node tells about itself, without any content of what it served.

A request leaves a `RequestRecord` in the node's journal. The agent folds those into
one `Summary` per second and key, and only summaries and events travel. Each travels
in an `Envelope` whose key is unique in the whole fleet for ever, so a record that
arrives twice is stored once.
"""

from enum import StrEnum

import msgspec


class Keep(StrEnum):
    """How hard a record is kept when room runs out, hardest first."""

    MUST = "must"
    HIGH = "high"
    LOW = "low"


class Outcome(StrEnum):
    """What became of a request."""

    OK = "ok"
    REFUSED = "refused"
    """By policy, deadline, load or its own malformed input; the client was told why."""
    FAILED = "failed"


class RequestRecord(msgspec.Struct, frozen=True, array_like=True):
    """One request, as the worker saw it. Array-like: fields are only ever appended."""

    at_unix_ms: int
    model: str
    version: str
    data_class: str
    outcome: Outcome
    latency_us: int
    served_site: str
    served_node: str
    served_tier: str
    reason: str
    bytes_in: int
    bytes_upstream: int
    """Content bytes that left this site for the request; 0 where it was answered here."""
    forwarded_for: str = ""
    """The site it came from, where another site's node forwarded it here."""
    tokens_in: int = 0
    """Tokens that a language model read; 0 for other models."""
    tokens_out: int = 0


LATENCY_EDGES_US: tuple[int, ...] = tuple(round(100 * 2 ** (step / 4)) for step in range(72))
"""Upper edges of the latency buckets: 100 us to about 22 s, four per doubling (19 % wide)."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts and latencies of like requests in one span of time; summaries add up.

    `latency_counts` has one more entry than `LATENCY_EDGES_US`: the last is *slower*.
    """

    from_unix_ms: int
    to_unix_ms: int
    site: str
    node: str
    model: str
    version: str
    data_class: str
    outcome: Outcome
    served_site: str
    served_tier: str
    reason: str
    forwarded: bool
    count: int
    latency_us_sum: int
    latency_counts: dict[int, int]
    """Bucket index to count; empty buckets are left out."""
    bytes_in: int
    bytes_upstream: int
    tokens_in: int = 0
    tokens_out: int = 0
    journal: str = ""
    """Where in the node's journal the records begin that were counted: no two summaries of a
    node agree in it and in everything else, unless one of them was counted twice."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, for people and for the audit."""

    kind: str
    """Dotted, for example `model.swapped`, `release.reverted`, `target.refused`."""
    at_unix_ms: int
    site: str
    node: str
    text: str
    detail: dict[str, str | int | float | bool] = {}


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A record on its way up.

    `key` is `<region>.<site>.<node number>.<boot>.<n>`, n counting from 1 in that boot;
    `kind` is `summary` or `event`; `body` is the JSON of that document.
    """

    key: str
    keep: Keep
    kind: str
    at_unix_ms: int
    body: msgspec.Raw
