"""The loop over single requests, compiled: arrivals, machines' queues, who is asked next.

`plan.simulate_requests` says what is simulated, and calls it. Every decision is the
production function itself (`serve.admission`, `route.decide`).

Units:   seconds; bytes.
Shapes:  as `plan.simulate_requests` says; a machine is a record of MACHINE, and records
         are passed about instead of arrays, so that no reference is counted in the loop.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import compiled, kernel, part
from skerry.plan.replay import QUEUE_LEN_MAX
from skerry.plan.simulate.fleet_arrays import HERE, LAN_S, Floats, Ints
from skerry.plan.simulate.outages import Changes
from skerry.route import decide
from skerry.route.journey import DEADLINE_S
from skerry.serve import admission

_admit = compiled(admission.admit)
_fit = compiled(decide.fit)
_is_lighter = compiled(decide.is_lighter)

LATENCY_S_MIN: Final = 1e-5
STEP: Final = 1.004
BINS: Final = 4700
LOG_STEP: Final = math.log(STEP)
RUNS: Final = 4096
"""Run times relative to their mean: the quantiles of their spread, drawn with equal chance."""
REFUSALS: Final = ("no-way", "link-down", "queue-full", "deadline")
_NO_WAY, _LINK, _BUSY, _LATE = 0, 1, 2, 3
_RING: Final = QUEUE_LEN_MAX + 2
_ADMIT, _REFUSE_DEADLINE = admission.ADMIT, admission.REFUSE_DEADLINE
_REFUSE_QUEUE_FULL: Final = admission.REFUSE_QUEUE_FULL
_FIT, _CLOSED = decide.FIT, decide.CLOSED
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


class Columns(NamedTuple):
    """What a kernel reads of the fleet."""

    nodes: Ints
    flow_share: Floats
    service_s: Floats
    content_bytes: Floats
    ways: NDArray[np.uint8]
    round_trip_s: Floats
    jitter_s: Floats
    byte_s: Floats


MACHINE: Final = np.dtype(
    [
        *(("free_s", np.float64), ("held", np.int64), ("head", np.int64)),
        *(("shedding", np.int64), ("ends_s", np.float64, (QUEUE_LEN_MAX + 2,))),
    ]
)
"""When a machine has done all that it took, how many runs it holds, and where in the ring
of their ends the one under way stands."""
Machines = Any
"""An array of MACHINE: kernels that pass records about count no references."""


@part
def _mixed(state: Any) -> Any:
    """Return 64 random bits of a state that grows by `_GOLDEN` each time: SplitMix64.

    Source: Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@part
def _chance(bits: Any) -> float:
    """Return bits as a number from 0 up to 1."""
    return float(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@part
def _alias(weights: Floats, keep: Floats, other: Ints) -> float:
    """Make Walker's alias table (Vose's way) and return the weights' sum."""
    count, total = len(weights), float(weights.sum())
    small = np.empty(count, dtype=np.int64)
    large = np.empty(count, dtype=np.int64)
    smalls = larges = 0
    for i in range(count):
        keep[i] = weights[i] * count / total if total > 0.0 else 1.0
        other[i] = i
        if keep[i] < 1.0:
            small[smalls] = i
            smalls += 1
        else:
            large[larges] = i
            larges += 1
    while smalls > 0 and larges > 0:
        smalls -= 1
        i, j = small[smalls], large[larges - 1]
        other[i] = j
        keep[j] -= 1.0 - keep[i]
        if keep[j] < 1.0:
            larges -= 1
            small[smalls] = j
            smalls += 1
    return total


@part
def _load(machine: Any, at_s: float) -> int:
    """Forget the runs that have ended and return how many are under way or wait."""
    held, head = machine.held, machine.head
    while held > 0 and machine.ends_s[head] <= at_s:
        head = head + 1 if head + 1 < _RING else 0
        held -= 1
    machine.held = held
    machine.head = head
    return int(held)


@part
def _offer(
    machine: Any,
    at_s: float,
    run_s: float,
    mean_s: float,
    left_s: float,
) -> float:
    """Return when the answer is ready, or minus the reason why there will be none."""
    held = _load(machine, at_s)
    running = 1 if held > 0 else 0
    waiting = held - running
    if waiting == 0:
        machine.shedding = 0
    verdict = _admit(waiting, QUEUE_LEN_MAX, running, mean_s, 1, left_s, machine.shedding)
    if verdict == _REFUSE_QUEUE_FULL:
        machine.shedding = 1
    if verdict != _ADMIT:
        return -float(verdict)
    ready_s = max(at_s, machine.free_s) + run_s
    machine.free_s = ready_s
    tail = machine.head + held
    machine.ends_s[tail if tail < _RING else tail - _RING] = ready_s
    machine.held = held + 1
    return float(ready_s)


@part
def _ask(
    first: int,
    alive: int,
    at_s: float,
    run_s: float,
    mean_s: float,
    left_s: float,
    chance: float,
    lighter: bool,
    machines: Machines,
) -> float:
    """Ask a place's machines: one that chance picks, then the others.

    `lighter` asks the less loaded of two first, as a router does that sends work away; the
    machines of a request's own site take turns.
    """
    if alive == 1:
        return _offer(machines[first], at_s, run_s, mean_s, left_s)
    drawn = chance * alive
    start = int(drawn)
    if lighter:
        other = (start + 1 + int((drawn - start) * (alive - 1))) % alive
        load_one = float(_load(machines[first + start], at_s))
        load_two = float(_load(machines[first + other], at_s))
        if not _is_lighter(load_one, 0.0, load_two, 0.0):
            start = other
    ready_s = 0.0
    for k in range(alive):
        machine = machines[first + (start + k) % alive]
        ready_s = _offer(machine, at_s, run_s, mean_s, left_s)
        if ready_s > 0.0:
            break
    return ready_s


@part
def _bin(latency_s: float) -> int:
    """Return the histogram's bin of a latency."""
    if latency_s <= LATENCY_S_MIN:
        return 0
    return min(int(math.log(latency_s / LATENCY_S_MIN) / LOG_STEP), BINS - 1)


@part
def _walk(place: int, at_s: float, steps: Changes, state: Ints) -> float:
    """Apply a place's changes up to now; return when the next one is due."""
    k, end = state[0], steps.first[place + 1]
    while k < end and steps.at_s[k] <= at_s:
        state[1] += steps.nodes[k]
        state[2] += steps.down[k]
        state[3] += steps.cut[k]
        k += 1
    state[0] = k
    return steps.at_s[k] if k < end else math.inf


@kernel
def requests_of_region(
    first: int,
    last: int,
    room: int,
    seed: int,
    slices: Floats,
    slice_s: float,
    warm_s: float,
    rates: Floats,
    runs: Floats,
    fleet: Columns,
    steps: Changes,
    first_machine: Ints,
    machines: Machines,
    hist: Ints,
    answers: Ints,
    refused: Ints,
    up: Floats,
    totals: Floats,
) -> int:
    """Simulate one region's slices; return how many rows of `up` the clouds are asked.

    `rates` is (slices, sites of the region), per second; `up` gets one row per request
    that no site or room answered: arrival there, when asked, run, travel, mask, flow, site.
    """
    count, flows = last - first, fleet.flow_share.shape[1]
    stream = np.uint64(seed)
    state = np.zeros((count, 4), dtype=np.int64)
    due = np.zeros(count)
    turn = np.zeros(count, dtype=np.int64)
    room_state = np.zeros(4, dtype=np.int64)
    weights = np.empty(count * flows)
    keep = np.empty(count * flows)
    other = np.empty(count * flows, dtype=np.int64)
    site_of = np.empty(count * flows, dtype=np.int64)
    flow_of = np.empty(count * flows, dtype=np.int64)
    for i in range(count):
        state[i, 0] = steps.first[first + i]
        for f in range(flows):
            site_of[i * flows + f], flow_of[i * flows + f] = i, f
    room_state[0] = steps.first[room]
    nodes, ways = fleet.nodes, fleet.ways
    service_s, content_bytes = fleet.service_s, fleet.content_bytes
    round_trip_s, jitter_s, byte_s = fleet.round_trip_s, fleet.jitter_s, fleet.byte_s
    sent, up_bytes = 0, 0.0
    for n in range(len(slices)):
        begins_s = slices[n]
        until_s, counts_s = begins_s + slice_s, begins_s + warm_s
        for i in range(count):
            for f in range(flows):
                weights[i * flows + f] = rates[n, i] * fleet.flow_share[first + i, f]
            due[i] = -1.0
        total = _alias(weights, keep, other)
        if total <= 0.0:
            continue
        for m in range(len(machines)):
            machines[m].free_s, machines[m].held, machines[m].head = begins_s, 0, 0
            machines[m].shedding = 0
        room_due = -1.0
        at_s = begins_s
        while True:
            stream += _GOLDEN
            at_s -= math.log(1.0 - _chance(_mixed(stream))) / total
            if at_s >= until_s:
                break
            stream += _GOLDEN
            bits = _mixed(stream)
            drawn = float(bits >> np.uint64(32)) * (1.0 / 4294967296.0) * len(weights)
            pick = int(drawn)
            if drawn - pick >= keep[pick]:
                pick = other[pick]
            i, f = site_of[pick], flow_of[pick]
            s = first + i
            mean_s = service_s[f]
            run_s = mean_s * runs[np.int64(bits & np.uint64(RUNS - 1))]
            chance = float((bits >> np.uint64(12)) & np.uint64(0xFFFFF)) * (1.0 / 1048576.0)
            if at_s >= due[i]:
                due[i] = _walk(s, at_s, steps, state[i])
            mask = ways[s, f]
            alive = 0 if state[i, 2] > 0 else max(nodes[s] - state[i, 1], 0)
            why = _NO_WAY
            counted = at_s >= counts_s
            if mask & HERE and alive > 0:
                turn[i] += 1
                ready_s = _ask(
                    first_machine[i],
                    alive,
                    at_s,
                    run_s,
                    mean_s,
                    DEADLINE_S,
                    (turn[i] % alive + 0.5) / alive,
                    False,
                    machines,
                )
                if ready_s > 0.0:
                    if counted:
                        place = _bin(ready_s - at_s + LAN_S)
                        hist[0, place] += 1
                        hist[1, place] += 1
                        answers[s, f, 0] += 1
                    continue
                why = _LATE if int(-ready_s) == _REFUSE_DEADLINE else _BUSY
            if mask >> 1 == 0:
                if counted:
                    refused[why] += 1
                continue
            if state[i, 3] > 0:
                if counted:
                    refused[_LINK] += 1
                continue
            stream += _GOLDEN
            jitter = -math.log(1.0 - _chance(_mixed(stream)))
            if mask & 2:
                if at_s >= room_due:
                    room_due = _walk(room, at_s, steps, room_state)
                alive = 0 if room_state[2] > 0 else max(nodes[room] - room_state[1], 0)
                sending_s = content_bytes[f] * byte_s[s, 0]
                travel_s = round_trip_s[s, 0] + jitter_s[s, 0] * jitter + sending_s
                verdict = _fit(True, 1, _CLOSED, round_trip_s[s, 0], DEADLINE_S)
                if alive > 0 and verdict == _FIT:
                    arrives_s = at_s + sending_s + round_trip_s[s, 0] / 2
                    ready_s = _ask(
                        first_machine[count],
                        alive,
                        arrives_s,
                        run_s,
                        mean_s,
                        DEADLINE_S - travel_s,
                        chance,
                        True,
                        machines,
                    )
                    if ready_s > 0.0:
                        if counted:
                            place = _bin(travel_s + ready_s - arrives_s + LAN_S)
                            hist[0, place] += 1
                            hist[2, place] += 1
                            answers[s, f, 1] += 1
                            up_bytes += content_bytes[f]
                        continue
                    why = _LATE if int(-ready_s) == _REFUSE_DEADLINE else _BUSY
            if mask >> 2 == 0 or sent >= len(up):
                if counted:
                    refused[why] += 1
                continue
            row = up[sent]
            row[0] = at_s + content_bytes[f] * byte_s[s, 1] + round_trip_s[s, 1] / 2
            row[1], row[2], row[3] = at_s, run_s, jitter
            row[4], row[5], row[6] = 1.0 if counted else 0.0, float(f), float(s)
            row[7] = chance
            sent += 1
    totals[0] += up_bytes
    return sent


@kernel
def requests_of_clouds(
    first: int,
    order: Ints,
    asks: Floats,
    fleet: Columns,
    steps: Changes,
    first_machine: Ints,
    machines: Machines,
    hist: Ints,
    answers: Ints,
    refused: Ints,
    totals: Floats,
) -> None:
    """Let the clouds answer what came up, in the order in which it comes to the first."""
    nodes, ways = fleet.nodes, fleet.ways
    service_s, content_bytes = fleet.service_s, fleet.content_bytes
    round_trip_s, jitter_s, byte_s = fleet.round_trip_s, fleet.jitter_s, fleet.byte_s
    clouds = round_trip_s.shape[1] - 1
    state = np.zeros((clouds, 4), dtype=np.int64)
    due = np.full(clouds, -1.0)
    for c in range(clouds):
        state[c, 0] = steps.first[first + c]
    for n in order:
        row = asks[n]
        at_s, run_s, jitter, chance = row[1], row[2], row[3], row[7]
        counted, f, s = row[4] > 0.0, int(row[5]), int(row[6])
        mask = ways[s, f] >> 2
        mean_s, why, done = service_s[f], _NO_WAY, False
        for c in range(clouds):
            if not (mask >> c) & 1:
                continue
            if at_s >= due[c]:
                due[c] = _walk(first + c, at_s, steps, state[c])
            alive = 0 if state[c, 2] > 0 else max(nodes[first + c] - state[c, 1], 0)
            sending_s = content_bytes[f] * byte_s[s, c + 1]
            trip_s = round_trip_s[s, c + 1]
            travel_s = trip_s + jitter_s[s, c + 1] * jitter + sending_s
            if alive == 0 or _fit(True, 1, _CLOSED, trip_s, DEADLINE_S) != _FIT:
                continue
            arrives_s = at_s + sending_s + trip_s / 2
            ready_s = _ask(
                first_machine[c],
                alive,
                arrives_s,
                run_s,
                mean_s,
                DEADLINE_S - travel_s,
                chance,
                True,
                machines,
            )
            if ready_s > 0.0:
                if counted:
                    place = _bin(travel_s + ready_s - arrives_s + LAN_S)
                    hist[0, place] += 1
                    hist[3 + c, place] += 1
                    answers[s, f, 2 + c] += 1
                    totals[0] += content_bytes[f]
                done = True
                break
            why = _LATE if int(-ready_s) == _REFUSE_DEADLINE else _BUSY
        if not done and counted:
            refused[why] += 1
