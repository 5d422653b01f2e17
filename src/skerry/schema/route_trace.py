"""How one request was routed: every candidate and its verdict, every attempt, and why.

Asked for with `skerry-explain-route: true`, it comes back as JSON in the reply
parameter `skerry-route`. It names nodes and sites and holds no content.

Units:  milliseconds, counted from when the router got the request.
"""

import msgspec

TRACE_SCHEMA = "skerry.route/1"


class CandidateSeen(msgspec.Struct, kw_only=True):
    """One node as it was judged. `place` counts from 1; 0 where it was ruled out."""

    node: str
    site: str
    tier: str
    verdict: str
    detail: str = ""
    place: int = 0
    expected_ms: float | None = None
    load: float | None = None
    """Requests under way there, as far as is known."""


class AttemptSeen(msgspec.Struct, kw_only=True):
    """One time that a node was asked. `cause` is empty for the first."""

    node: str
    model: str
    cause: str
    at_ms: float
    took_ms: float
    verdict: str


class CascadeSeen(msgspec.Struct, kw_only=True):
    """What a cascade made of its small model's answer."""

    small: str
    verdict: str
    """`sure`, `unsure`, `check` or `no-answer`."""
    confidence: float | None = None
    threshold: float
    checked: int = 0
    """Sure answers that were compared with the large model's so far."""
    disagreed: int = 0
    disagreement_low: float = 0.0
    disagreement_high: float = 1.0
    """The interval, at 95 %, of how often the two differ where the small one was sure."""


class RouteTrace(msgspec.Struct, kw_only=True):
    """The whole decision."""

    schema: str = TRACE_SCHEMA
    node: str
    site: str
    model: str
    data_class: str
    origin: str
    deadline_ms: float
    candidates: list[CandidateSeen] = []
    attempts: list[AttemptSeen] = []
    hedge_after_ms: float | None = None
    """How long the first candidate was to be waited for before a second is asked."""
    retry_tokens: float | None = None
    """Further attempts that were left in the budget."""
    cache: str = "off"
    """`off`, `miss` or `hit`."""
    cascade: CascadeSeen | None = None
    ensemble: list[str] = []
    """Who took part, and who did not and why."""
    reason: str = ""
    took_ms: float = 0.0
    there: "RouteTrace | None" = None
    """What the node that answered says of its own part."""
