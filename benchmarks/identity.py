"""Identities under attack and without their authority, on hollow nodes with real NATS and TLS.

    python benchmarks/identity.py

The storm of logins comes from this machine too and takes its share of it, so what is said of
healthy nodes beside it is the worst case. The stampede after an authority's return is counted on
the nodes' own schedule, 10,000 of them, with no network in it.
"""

import multiprocessing
import random
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from measured import tell

from skerry.local.hollow_fleet import DOMAIN, HollowFleet, HollowNode
from skerry.local.hollow_load import HollowLoad
from skerry.node import renewal, uplink
from skerry.trust.authority import Authority
from skerry.trust.identity import Identity
from skerry.trust.spiffe import node_id
from skerry.trust.tls import client_context, verify_identity

CUTS = 10
ENROLMENTS = 20
STORM_S = 4.0
STORM_THREADS = 4
STORM_PROCESSES = 2
NODES = 10_000
FLOW_S = 1.0
ARRIVE_S_MAX = 30.0
AWAY_S = 2 * 3600.0 + 60  # without the spread, all would come four minutes later
MS = 1000.0


def p99(values: list[float]) -> float:
    """Return the 99th percentile; of few values, the greatest."""
    return sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)]


def revoke_to_cut(fleet: HollowFleet) -> None:
    """From the operator's word until the connection of the banned node is gone."""
    took_ms = []
    for number in range(1, CUTS + 1):
        node = fleet.node("banned", number)
        began_s = time.monotonic()
        fleet.operator("eu").ban(node.id.node, banned=True, reason="benchmark")
        while node.bus is not None and node.bus.connected:
            time.sleep(0.001)
        took_ms.append((time.monotonic() - began_s) * MS)
        fleet.loop.run(node.leave())
    tell("revoke-to-cut", max(took_ms), "ms")


def enrolment(fleet: HollowFleet) -> None:
    """Ticket, join and first login: everything that software does when a machine joins."""
    took_ms = []
    for number in range(1, ENROLMENTS + 1):
        began_s = time.monotonic()
        fleet.node("joined", number)
        took_ms.append((time.monotonic() - began_s) * MS)
    tell("enrolment", statistics.median(took_ms), "ms")


def alone(node: HollowNode) -> None:
    """Renewals with every authority above the site away: half an hour of them, and a day."""
    start_s, good = time.time(), 0
    times = [start_s + step * 1800.0 for step in range(1, 49)]
    for now_s in times:
        identity = node.files.renew_alone(now_unix_s=now_s)
        verify_identity(identity, node.files.trusted_pem(), now_unix_s=now_s)
        good += 1
    tell("renewals-alone", 100.0 * good / len(times), "%")
    node.renew()


def stampede() -> None:
    """How 10,000 nodes come back after two hours without their region."""
    seconds: Counter[int] = Counter()
    for number in range(NODES):
        rng = random.Random(number)
        at_s = uplink.AWAY_S + rng.uniform(0, renewal.HURRY_S_MAX)  # all lost it together
        retry_s = renewal.RETRY_S_FIRST
        while at_s < AWAY_S:
            at_s += renewal.spread_s(retry_s, rng)
            retry_s = min(2 * retry_s, renewal.RETRY_S_MAX)
        seconds[int(at_s - AWAY_S)] += 1
    mean = NODES / (max(seconds) + 1)
    tell("renew-storm-peak-over-mean", max(seconds.values()) / mean, "x")


def attack(
    identity: Identity, roots_pem: bytes, where: tuple[int, str], stop: Any, counts: Any
) -> None:
    """Be one attacker, a process of its own: knock with a foreign certificate until told."""
    tls, (port, host) = client_context(identity, roots_pem), where
    refused = Counter[str]()

    def knock() -> None:
        while not stop.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as raw:
                try:
                    with tls.wrap_socket(raw, server_hostname=host) as line:
                        line.recv(1)  # who is let in is waited for, not closed
                except TimeoutError:
                    continue
                except OSError:  # the alert, or the reset that follows on it
                    pass
                refused["bad"] += 1

    threads = [threading.Thread(target=knock) for _ in range(STORM_THREADS)]
    for thread in threads:
        thread.start()
    counts.put(0)
    for thread in threads:
        thread.join()
    counts.put(refused["bad"])


def login_storm(fleet: HollowFleet, node: HollowNode) -> None:
    """Bad certificates at the highest rate this machine offers, beside one healthy node."""
    stranger = Authority.create_root(DOMAIN, now_unix_s=time.time())
    foreign = stranger.issue_region("eu", now_unix_s=time.time()).issue_identity(
        node_id(DOMAIN, "eu", "oslo", 9), now_unix_s=time.time()
    )
    spawn = multiprocessing.get_context("spawn")
    counts, stop = spawn.Queue(), spawn.Event()
    where = (int(node.url.rpartition(":")[2]), node.host)
    attackers = [
        spawn.Process(target=attack, args=(foreign, node.files.trusted_pem(), where, stop, counts))
        for _ in range(STORM_PROCESSES)
    ]
    for attacker in attackers:
        attacker.start()
    for _ in attackers:
        counts.get()  # each says that it begins
    took_ms, began_s = [], time.monotonic()
    while time.monotonic() - began_s < STORM_S:
        once_s = time.monotonic()
        node.renew()
        took_ms.append((time.monotonic() - once_s) * MS)
        time.sleep(0.02)
    stop.set()
    refused = sum(counts.get() for _ in attackers)
    tell("login-storm-rate", refused / (time.monotonic() - began_s), "connects/s")
    for attacker in attackers:
        attacker.join()
    tell("login-storm-healthy-p99", p99(took_ms), "ms")


def operator_rotation(fleet: HollowFleet) -> None:
    """Every NATS key but those of nodes changes, while two nodes hand over records."""
    nodes = [fleet.node("flowing", number) for number in (1, 2)]
    with HollowLoad(fleet, nodes) as load:
        time.sleep(FLOW_S)
        began_s = time.monotonic()
        step = fleet.operator_change().go_on().step
        took_s = time.monotonic() - began_s
        time.sleep(FLOW_S)
    until_s = time.monotonic() + ARRIVE_S_MAX
    while load.missing() and time.monotonic() < until_s:
        time.sleep(0.2)
    tell("operator-rotation", took_s if step == "done" else float("inf"), "s")
    tell("operator-rotation-messages", len(load.kept), "messages")
    tell("operator-rotation-lost", load.missing(), "messages")
    tell("operator-rotation-doubled", load.doubled(), "messages")
    drops = sum(node.bus.lives - 1 for node in nodes if node.bus is not None)
    tell("operator-rotation-drops", drops, "connections")


def main() -> None:
    """Measure all of it on one fleet."""
    stampede()
    with tempfile.TemporaryDirectory() as folder:
        fleet = HollowFleet(Path(folder), regions=("eu",)).start()
        try:
            enrolment(fleet)
            revoke_to_cut(fleet)
            node = fleet.node("oslo")
            alone(node)
            operator_rotation(fleet)
            login_storm(fleet, node)
        finally:
            fleet.close()


if __name__ == "__main__":
    main()
