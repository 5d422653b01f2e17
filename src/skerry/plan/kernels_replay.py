"""The replay of `plan.replay`, compiled: the same decisions and figures, many times faster.

Every decision is the production function itself (`serve.admission`, `route.decide`,
`route.latency`); this file only walks a trace and keeps the queues. `plan.replay` does the
same in plain Python, and a test holds both equal to the last bit.

Units:   seconds; bytes.
Shapes:  tables are arrays of records, described below. A peer is a node as one asking site
         sees it; the peers of a site lie side by side, and so do a site's nodes.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import compiled, kernel, part
from skerry.route import decide, latency
from skerry.serve import admission

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Records = Any
"""An array of records of one of the types below."""

REQUEST: Final = np.dtype(
    [
        *(("at_s", np.float64), ("site", np.int64), ("model", np.int64)),
        *(("data_class", np.int64), ("content_bytes", np.int64)),
        *(("spread", np.float64), ("jitter", np.float64), ("draw", np.float64)),
    ]
)
SITE: Final = np.dtype(
    [("node", np.int64), ("nodes", np.int64), ("peer", np.int64), ("peers", np.int64)]
)
"""The first node and the first peer of a site, and how many."""
MODEL: Final = np.dtype([("service_s", np.float64), ("standin", np.int64)])
"""`standin` is a model, or -1."""
NODE: Final = np.dtype(
    [
        *(("site", np.int64), ("free_s", np.float64), ("shedding", np.int64)),
        *(("first", np.int64), ("waiting", np.int64)),
    ]
)
"""When a node has done all that it took, and where in its ring the runs ahead stand."""
PEER: Final = np.dtype(
    [
        *(("node", np.int64), ("site", np.int64), ("tier_rank", np.int64)),
        *(("in_site", np.bool_), ("round_trip_s", np.float64)),
        *(("jitter_s", np.float64), ("byte_s", np.float64)),
    ]
)
SEEN: Final = np.dtype([("mean_s", np.float64), ("at_s", np.float64)])
"""What a model's answers have taken lately, and when the last one was asked for."""


class Limits(NamedTuple):
    """Constants of a node and of the replay."""

    queue_len_max: int
    deadline_s: float
    lan_s: float
    step_s: float


class Tables(NamedTuple):
    """Who runs what and who may answer whom, and what changes as the trace goes on."""

    sites: Records
    models: Records
    nodes: Records
    peers: Records
    has_model: Flags
    """(sites, models)"""
    allowed: Flags
    """(classes, peers): whether the peer's site may answer the class for its asking site."""
    allowed_here: Flags
    """(classes, sites)"""
    ends_s: Floats
    """(nodes, ring): the ends of the runs ahead, the one under way first."""
    own: Records
    """(nodes, models) of SEEN"""
    seen: Records
    """(peers, models) of SEEN"""
    busy_s: Floats
    """(sites, steps)"""
    latency_s: Floats
    """(requests,): minus the last verdict where nobody answered."""
    tally: Ints
    """Local answers, answers of a stand-in, bytes sent upstream."""


_ADMIT: Final = admission.ADMIT
_REFUSE_FULL: Final = admission.REFUSE_QUEUE_FULL
_REFUSE_DEADLINE: Final = admission.REFUSE_DEADLINE
_FIT: Final = decide.FIT
_ABSENT: Final = decide.ABSENT
_BUSY: Final = decide.BUSY
_DEADLINE: Final = decide.DEADLINE
_CLOSED: Final = decide.CLOSED

_admit = compiled(admission.admit)
_fit = compiled(decide.fit)
_rank = compiled(decide.rank)
_standin_verdict = compiled(decide.standin_verdict)
_is_lighter = compiled(decide.is_lighter)
_mean_after_s = compiled(latency.mean_after_s)
_expected_s = compiled(latency.expected_s)


@part
def _load(node: Any, ends_s: Floats, at_s: float) -> float:
    """Return how many requests are under way at a node."""
    ring = len(ends_s)
    while node.waiting > 0 and ends_s[node.first] <= at_s:
        node.first = (node.first + 1) % ring
        node.waiting -= 1
    return float(node.waiting)


@part
def _offer(
    node: Any,
    ends_s: Floats,
    queue_len_max: int,
    at_s: float,
    run_s: float,
    expected_run_s: float,
    left_s: float,
) -> float:
    """Return when the answer is ready, or minus the verdict why there will be none."""
    _load(node, ends_s, at_s)
    running = 1 if node.waiting > 0 else 0
    queue_len = node.waiting - running
    if queue_len == 0:
        node.shedding = 0
    verdict = _admit(queue_len, queue_len_max, running, expected_run_s, 1, left_s, node.shedding)
    if verdict == _REFUSE_FULL:
        node.shedding = 1
    if verdict != _ADMIT:
        return -float(_DEADLINE if verdict == _REFUSE_DEADLINE else _BUSY)
    ready_s: float = max(at_s, node.free_s) + run_s
    node.free_s = ready_s
    ends_s[(node.first + node.waiting) % len(ends_s)] = ready_s
    node.waiting += 1
    return ready_s


@part
def _ask_here(
    row: Any,
    node: Any,
    ends_s: Floats,
    known: Any,
    limits: Limits,
    service_s: float,
    busy_s: Floats,
) -> float:
    """Ask a model on the asking site's own node; return the latency, or minus the verdict."""
    expected_s = _expected_s(known.mean_s, 0.0, known.at_s, row.at_s)
    verdict = _fit(True, 0, _CLOSED, expected_s, limits.deadline_s)
    if verdict != _FIT:
        return -float(verdict)
    run_s = service_s * row.spread
    ready_s = _offer(
        node, ends_s, limits.queue_len_max, row.at_s, run_s, service_s, limits.deadline_s
    )
    if ready_s < 0:
        return ready_s
    known.mean_s = _mean_after_s(known.mean_s, known.at_s, ready_s - row.at_s)
    known.at_s = row.at_s
    busy_s[min(int(row.at_s / limits.step_s), len(busy_s) - 1)] += run_s
    took_s: float = ready_s - row.at_s + limits.lan_s
    return took_s


@part
def _ask_peer(
    row: Any,
    peer: Any,
    node: Any,
    ends_s: Floats,
    known: Any,
    limits: Limits,
    service_s: float,
    busy_s: Floats,
) -> float:
    """Send a request over a link; return the latency, or minus the verdict."""
    sending_s = 0.0 if peer.in_site else row.content_bytes * peer.byte_s
    travel_s = peer.round_trip_s + peer.jitter_s * row.jitter + sending_s
    arrives_s = row.at_s + sending_s + peer.round_trip_s / 2
    run_s = service_s * row.spread
    left_s = limits.deadline_s - travel_s
    ready_s = _offer(node, ends_s, limits.queue_len_max, arrives_s, run_s, service_s, left_s)
    if ready_s < 0:
        return ready_s
    took_s: float = travel_s + ready_s - arrives_s
    known.mean_s = _mean_after_s(known.mean_s, known.at_s, took_s)
    known.at_s = row.at_s
    busy_s[min(int(row.at_s / limits.step_s), len(busy_s) - 1)] += run_s
    return took_s + limits.lan_s


@part
def _insert(order: Ints, ranks: Floats, count: int, peer: int, own: float) -> None:
    """Put a peer behind all whose rank is not above its own, so that equals keep their order."""
    place = count
    while place > 0 and ranks[place - 1] > own:
        ranks[place] = ranks[place - 1]
        order[place] = order[place - 1]
        place -= 1
    ranks[place] = own
    order[place] = peer


@part
def _to_front(order: Ints, place: int) -> None:
    chosen = order[place]
    for back in range(place, 0, -1):
        order[back] = order[back - 1]
    order[0] = chosen


@kernel
def through_fleet(
    requests: Records,
    tables: Tables,
    limits: Limits,
    begin: int,
    end: int,
) -> None:
    """Replay requests `begin` to `end`: the own node, its stand-in, then peers in order."""
    sites, models, nodes, peers, has_model, allowed, allowed_here = tables[:7]
    ends_s, own, seen, busy_s, latency_s, tally = tables[7:]
    peers_max = 1
    for s in range(len(sites)):
        peers_max = max(peers_max, sites[s].peers)
    order, ranks = np.empty(peers_max, np.int64), np.empty(peers_max)
    for index in range(begin, end):
        row = requests[index]
        site, s, large = sites[row.site], row.site, row.model
        mine = site.node + index % site.nodes if site.nodes > 0 else -1
        why = _ABSENT
        took_s = -1.0
        if mine >= 0 and allowed_here[row.data_class, s]:
            if has_model[s, large]:
                took_s = _ask_here(
                    row,
                    nodes[mine],
                    ends_s[mine],
                    own[mine, large],
                    limits,
                    models[large].service_s,
                    busy_s[s],
                )
                if took_s < 0:
                    why = int(-took_s)
            small = models[large].standin
            there = small >= 0 and has_model[s, small]
            if took_s < 0 and _standin_verdict(
                False,
                _BUSY if has_model[s, large] else _ABSENT,
                small >= 0,
                _FIT if there else _ABSENT,
            ):
                took_s = _ask_here(
                    row,
                    nodes[mine],
                    ends_s[mine],
                    own[mine, small],
                    limits,
                    models[small].service_s,
                    busy_s[s],
                )
                if took_s >= 0:
                    tally[1] += 1
            if took_s >= 0:
                tally[0] += 1
                latency_s[index] = took_s
                continue
        count = 0
        for p in range(site.peer, site.peer + site.peers):
            peer = peers[p]
            if peer.node == mine or not has_model[peer.site, large]:
                continue
            known = seen[p, large]
            expected_s = _expected_s(known.mean_s, peer.round_trip_s, known.at_s, row.at_s)
            verdict = _fit(allowed[row.data_class, p], 1, _CLOSED, expected_s, limits.deadline_s)
            if verdict == _FIT:
                value = _rank(peer.tier_rank, peer.in_site, expected_s)
                _insert(order, ranks, count, p, value)
                count += 1
            elif why == _ABSENT:
                why = verdict
        alike = 0
        while alike < count and peers[order[alike]].site == peers[order[0]].site:
            alike += 1
        if alike >= 2:  # the less loaded of two, as the router does
            drawn = row.draw * alike
            one = int(drawn)
            two = (one + 1 + int((drawn - one) * (alike - 1))) % alike
            a, b = peers[order[one]], peers[order[two]]
            known_a, known_b = seen[order[one], large], seen[order[two], large]
            first = _is_lighter(
                _load(nodes[a.node], ends_s[a.node], row.at_s),
                _expected_s(known_a.mean_s, a.round_trip_s, known_a.at_s, row.at_s),
                _load(nodes[b.node], ends_s[b.node], row.at_s),
                _expected_s(known_b.mean_s, b.round_trip_s, known_b.at_s, row.at_s),
            )
            _to_front(order, one if first else two)
        for place in range(count):
            p = order[place]
            peer = peers[p]
            took_s = _ask_peer(
                row,
                peer,
                nodes[peer.node],
                ends_s[peer.node],
                seen[p, large],
                limits,
                models[large].service_s,
                busy_s[peer.site],
            )
            if took_s >= 0:
                if peer.in_site:
                    tally[0] += 1
                else:
                    tally[2] += row.content_bytes
                break
            why = int(-took_s)
        latency_s[index] = took_s if took_s >= 0 else -float(why)


@kernel
def through_cloud(
    requests: Records,
    tables: Tables,
    limits: Limits,
    begin: int,
    end: int,
) -> None:
    """Replay requests with each sent to a cloud node in turn; peers are cloud nodes only."""
    sites, models, nodes, peers, has_model, _, _ = tables[:7]
    ends_s, _, seen, busy_s, latency_s, tally = tables[7:]
    for index in range(begin, end):
        row = requests[index]
        site = sites[row.site]
        p = site.peer + index % site.peers
        peer = peers[p]
        took_s = -float(_ABSENT)
        if has_model[peer.site, row.model]:
            took_s = _ask_peer(
                row,
                peer,
                nodes[peer.node],
                ends_s[peer.node],
                seen[p, row.model],
                limits,
                models[row.model].service_s,
                busy_s[peer.site],
            )
        latency_s[index] = took_s
        if took_s >= 0:
            if peer.in_site:
                tally[0] += 1
            else:
                tally[2] += row.content_bytes
