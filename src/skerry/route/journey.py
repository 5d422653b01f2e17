"""One request on its way through the router, and the tables that it started with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from skerry.route import decide
from skerry.route.choose import Candidate, refusal
from skerry.route.decide import VERDICT_WORDS
from skerry.route.errors import (
    Considered,
    DeadlineExceededError,
    ModelAbsentError,
    NoCandidateError,
    RefusedByResidencyError,
    RouteError,
    UnknownDataClassError,
    UnknownModelError,
)
from skerry.route.health import Health
from skerry.schema.desired import Peer
from skerry.schema.oip import InferRequest
from skerry.schema.policy import Policy
from skerry.schema.route_trace import RouteTrace
from skerry.trust.residency import MODEL_UNKNOWN, Forbids, Refusal, ResidencyTable

DEADLINE_S: Final = 10.0
"""For requests that state none; a node's own model limit is stricter."""

Ticket = tuple[str, str | None, str | None]
"""A request's model, the class that it asks for, and its origin."""


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that `update` replaces, in one object.

    `admitted` remembers the class of each ticket that may be answered here; it holds
    words of the policy only, so it is bounded by the policy.
    """

    residency: ResidencyTable | None
    tier_ranks: Mapping[str, int]
    peers: tuple[Candidate, ...]
    standins: Mapping[str, str]
    admitted: dict[Ticket, str] = field(default_factory=dict)


def table_of(
    policy: Policy | None,
    tier_order: Sequence[str],
    peers: Sequence[Peer],
    standins: Mapping[str, str],
    *,
    node: str,
    before: Sequence[Candidate] = (),
    forbids: Forbids | None = None,
) -> Table:
    """Return new tables for a node; what is known of peers that stay is kept from `before`."""
    known = {(old.peer.node, old.peer.url): old.health for old in before}
    return Table(
        None if policy is None else ResidencyTable(policy, forbids),
        {tier: index for index, tier in enumerate(tier_order)},
        tuple(
            Candidate(peer, known.get((peer.node, peer.url)) or Health(peer.round_trip_ms / 1000))
            for peer in peers
            if peer.node != node
        ),
        dict(standins),
    )


@dataclass(slots=True)
class Journey:
    """What was settled about a request, and whom it has met. `cause` says why it is not local."""

    request: InferRequest
    table: Table
    data_class: str | None
    origin: str
    started_s: float
    deadline_s: float
    considered: list[Considered] = field(default_factory=list)
    cause: str = ""
    prefix: str = ""
    """A reason that goes before all others: why a cascade went on to its large model."""
    trace: RouteTrace | None = None


def admit(
    table: Table, request: InferRequest, *, site: str, node: str, tier: str, answers_here: bool
) -> str | None:
    """Return the request's settled class; refuse what may not even be answered here.

    A client's router sends from where it is (`answers_here` false), so its own site is
    judged like any other, later.
    """
    residency, data_class = table.residency, request.data_class
    if residency is not None:
        settled = residency.data_class_of(request.model, data_class)
        if isinstance(settled, Refusal):
            if settled.rule == MODEL_UNKNOWN:
                raise UnknownModelError(request.model, residency.models)
            raise UnknownDataClassError(request.model, data_class, settled.text)
        data_class = settled
    if answers_here:
        refused = refusal(residency, data_class, request.origin_site or site, site)
        if refused:
            own = Considered(node, site, tier, VERDICT_WORDS[decide.RESIDENCY], refused)
            raise RefusedByResidencyError(request.model, [own])
    if residency is not None and data_class is not None:
        table.admitted[request.model, request.data_class, request.origin_site] = data_class
    return data_class


def class_allows(journey: Journey, model: str) -> bool:
    """Another model takes the request's class only if the policy lists it for that one too."""
    residency = journey.table.residency
    if model == journey.request.model or residency is None:
        return True
    return not isinstance(residency.data_class_of(model, journey.data_class), Refusal)


def unanswered(journey: Journey, now_s: float) -> RouteError:
    """Return the error of a request that nobody answered, with every candidate's reason."""
    model, considered = journey.request.model, journey.considered
    verdicts = {candidate.verdict for candidate in considered}
    residency, absent = VERDICT_WORDS[decide.RESIDENCY], VERDICT_WORDS[decide.ABSENT]
    hops = VERDICT_WORDS[decide.HOPS]
    if journey.request.hops:  # it could go no further, so what others may take says nothing
        verdicts = verdicts - {hops, residency} or verdicts
    if residency in verdicts and verdicts <= {residency, absent}:
        return RefusedByResidencyError(model, considered)  # who may see it has no model
    if now_s >= journey.deadline_s or VERDICT_WORDS[decide.DEADLINE] in verdicts:
        return DeadlineExceededError(model, considered)
    if absent in verdicts and verdicts <= {absent, hops}:
        return ModelAbsentError(model, considered, "", decide.ABSENT_S)
    return NoCandidateError(model, considered, "", _retry_after_s(journey.table.peers, now_s))


def _retry_after_s(peers: Sequence[Candidate], now_s: float) -> float:
    links = (candidate.health.link for candidate in peers)
    waits = [link.until_s - now_s for link in links if link.phase == decide.OPEN]
    return max(min(waits, default=1.0), 0.1)
