"""Randomised requests through live nodes with faults injected: 0 leaks, or what leaked.

    python benchmarks/leaks_live.py [--requests 1000000] [--seed 7] [--connections 6]

Real node workers as processes, with real certificates, over mutual TLS between them. The
policy is swapped for another random one again and again; nodes are killed (and started
again) and frozen; classes, models, deadlines, origins (forged ones among them) are
random. Requests are pipelined over kept connections.

A leak is marked content among the bytes that a process received, although the policy
keeps that content from that process's site. A request may be under way while the policy
is swapped, so content of generation g is judged by g and by g + 1: it leaks where both
forbid it. The oracle is written from the policy's words and shares no code with the
product. `--broken` switches the filter off in every node: the run must then fail.

Prints one JSON document; exits 0 only if nothing leaked and the run was worth something.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httptools
import msgspec
import numpy as np
from leaks_node import Tally, marked

from skerry.base.ports import free_ports
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings, write_settings
from skerry.schema.desired import Desired, Gate, Peer
from skerry.schema.oip import InferRequest, Tensor
from skerry.schema.oip_http import encode_request
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.trust.acceptance import AcceptedDesired
from skerry.trust.authority import Authority
from skerry.trust.spiffe import node_id

DOMAIN = "leaks.example"
TIERS = ("closet", "room", "cloud")
PLACES = {  # site: region, jurisdiction, tier, nodes
    "oslo": ("north", "NO", "closet", 2),
    "bergen": ("north", "NO", "closet", 1),
    "hamburg": ("middle", "DE", "closet", 1),
    "frankfurt": ("middle", "DE", "room", 1),
    "virginia": ("far", "US", "cloud", 1),
}
SITES = tuple(PLACES)
CLASSES = ("health", "personal", "internal", "public", "nonsense")
UNNAMED = len(CLASSES)
"""The mark of a request that names no class: it is of its model's first, which is `health`."""
MODELS = {"near": SITES, "far": ("frankfurt", "virginia"), "some": ("bergen", "virginia")}
MODELS_ASKED = ("near", "far", "far", "some")
LANDS = ("NO", "DE", "US", "SE")
GENERATIONS_MAX = 60
FROZEN_S = 0.3
FAULT_S = 0.4
BATCH = 4
ANSWER_S_MAX = 20.0


def random_policy(rng: Random, generation: int) -> Policy:
    """Return a policy with random rules; the class `gen-<n>` tells which one a node follows."""
    classes = {
        name: Residency(
            stays=rng.choice((*Stays, Stays.ANYWHERE)),
            jurisdictions=tuple(rng.sample(LANDS, rng.randint(0, 2))),
        )
        for name in CLASSES[:-1]
    }
    classes[f"gen-{generation}"] = Residency(stays=Stays.SITE)
    return Policy(
        fleet="leaks",
        generation=generation,
        data_classes=classes,
        model_classes={model: tuple(classes) for model in MODELS},
        places={
            site: Place(site=site, region=region, jurisdiction=land)
            for site, (region, land, _, _) in PLACES.items()
        },
    )


def may(policy: Policy, data_class: str, origin: str, site: str) -> bool:
    """The oracle: the policy's words, read again. Content is always at home where it came in."""
    if site == origin:
        return True
    rule = policy.data_classes.get(data_class)
    if rule is None:
        return False
    here, there = PLACES[origin], PLACES[site]
    return (
        rule.stays.value == "anywhere"
        or (rule.stays.value == "region" and here[0] == there[0])
        or (rule.stays.value == "jurisdictions" and there[1] in rule.jurisdictions)
    )


@dataclass
class Node:
    """One worker, its folder and its process."""

    name: str
    site: str
    folder: NodeFolder
    settings: NodeSettings
    tally: Path
    broken: bool
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the worker and wait until it answers."""
        command = [sys.executable, str(Path(__file__).with_name("leaks_node.py"))]
        command += ["--state", str(self.folder.root), "--tally", str(self.tally)]
        command += ["--parent", str(os.getpid()), *(["--broken"] if self.broken else [])]
        self.process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        ready = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert ready, f"{self.name} did not start"

    def send(self, number: signal.Signals) -> None:
        """Send the worker a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """Kill it and wait for its end, frozen or not."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def found(root: Path, *, broken: bool) -> list[Node]:
    """Make every node's folder: identity, models, settings; no policy yet."""
    names = [
        (f"{site}/{number}", site, number)
        for site, (_, _, _, nodes) in PLACES.items()
        for number in range(1, nodes + 1)
    ]
    ports = iter(free_ports(4 * len(names), "127.0.0.1"))
    now = time.time()
    authority = Authority.create_root(DOMAIN, now_unix_s=now)
    regions = {
        region: authority.issue_region(region, now_unix_s=now)
        for region in {region for region, _, _, _ in PLACES.values()}
    }
    model = echo_model()
    nodes = []
    for name, site, number in names:
        region, _, tier, _ = PLACES[site]
        folder = NodeFolder(root / name.replace("/", "-")).make()
        files = IdentityFiles(folder.identity)
        who = node_id(DOMAIN, region, site, number)
        regions[region].issue_identity(who, now_unix_s=now).save(files.identity)
        files.roots.write_bytes(authority.certificate_pem)
        for served, sites in MODELS.items():
            if site in sites:
                version = folder.serving / served / "1"
                version.mkdir(parents=True)
                (version / "model.onnx").write_bytes(model)
        settings = NodeSettings(
            fleet="leaks",
            domain=DOMAIN,
            region=region,
            site=site,
            number=number,
            tier=tier,
            region_url="https://127.0.0.1:9",
            region_host=f"{region}.{DOMAIN}",
            http_port=next(ports),
            grpc_port=next(ports),
            metrics_port=next(ports),
            peer_port=next(ports),
        )
        write_settings(folder.settings, settings)
        tally = root / f"{name.replace('/', '-')}.tally"
        nodes.append(Node(name, site, folder, settings, tally, broken))
    return nodes


def echo_model() -> bytes:
    """Return a model that gives its input back."""
    from onnx import TensorProto, helper

    shape = ["n", 32]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "echo",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, shape)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    return bytes(made.SerializeToString())


def give_policy(nodes: list[Node], policy: Policy) -> None:
    """Put a policy and the fleet's peers where each node reads them."""
    peers = tuple(
        Peer(
            node=node.name,
            site=node.site,
            region=PLACES[node.site][0],
            tier=PLACES[node.site][2],
            url=f"https://127.0.0.1:{node.settings.peer_port}",
            round_trip_ms=1.0,
        )
        for node in nodes
    )
    for node in nodes:
        region, land, tier, _ = PLACES[node.site]
        desired = Desired(
            generation=policy.generation,
            fleet="leaks",
            domain=DOMAIN,
            region=region,
            site=node.site,
            tier=tier,
            jurisdiction=land,
            models=(),
            policy_sha256="",
            tier_order=TIERS,
            peers=peers,
            gate=Gate(hold_s=1.0),
        )
        accepted = AcceptedDesired(desired=desired, desired_sha256="", manifests={}, policy=policy)
        accepted.save(node.folder.current)


class Answers(asyncio.Protocol):
    """One kept connection to a node's plain door: pipelined requests out, answers in."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.got: list[tuple[int, str]] = []
        self.wanted = 0
        self.served = ""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse answers."""
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep who answered."""
        if name.lower() == b"skerry-served-by":
            self.served = value.decode()

    def on_message_complete(self) -> None:
        """Count one answer."""
        self.got.append((self.parser.get_status_code(), self.served))
        self.served = ""
        if len(self.got) >= self.wanted and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if not self.done.done():
            self.done.set_exception(ConnectionError("lost"))

    async def ask(self, requests: list[bytes]) -> list[tuple[int, str]]:
        """Send requests and wait for their answers; raises `OSError` or `TimeoutError`."""
        self.got, self.wanted = [], len(requests)
        self.done = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            raise ConnectionError("closed")
        self.transport.write(b"".join(requests))
        await asyncio.wait_for(self.done, ANSWER_S_MAX)
        return self.got


@dataclass
class Run:
    """The load, the faults, and what came of them."""

    nodes: list[Node]
    rng: Random
    requests: int
    policies: list[Policy] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    under_way: Counter[int] = field(default_factory=Counter)
    sent: int = 0
    _heads: dict[tuple[str, int], tuple[bytes, bytes]] = field(default_factory=dict)

    @property
    def generation(self) -> int:
        """The policy that requests are marked with now."""
        return len(self.policies) - 1

    async def drive(self, node: Node) -> None:
        """Send batches to one node over one connection until all requests are sent."""
        loop, connection = asyncio.get_running_loop(), None
        while self.sent < self.requests:
            batch = min(BATCH, self.requests - self.sent)
            generation = self.generation
            requests = [self.request(node, generation) for _ in range(batch)]
            self.sent += batch
            self.under_way[generation] += 1
            try:
                if connection is None:
                    try:
                        _, connection = await loop.create_connection(
                            Answers, "127.0.0.1", node.settings.http_port
                        )
                    except OSError:
                        self.sent -= batch  # nobody is there, so nothing was sent
                        raise
                for status, served in await connection.ask(requests):
                    self.seen[f"status {status}"] += 1
                    if served:
                        away = not served.startswith(f"site={node.site};")
                        self.seen["answered elsewhere" if away else "answered at home"] += 1
            except (OSError, TimeoutError):
                if connection is not None:
                    self.seen["lost with a connection"] += batch
                    connection.transport.abort()
                connection = None
                await asyncio.sleep(0.02)
            finally:
                self.under_way[generation] -= 1
        if connection is not None:
            connection.transport.close()

    def request(self, node: Node, generation: int) -> bytes:
        """Return one random request, marked with what it is and where it comes in."""
        rng = self.rng
        data_class, model = rng.randrange(UNNAMED + 1), rng.choice(MODELS_ASKED)
        head, tail = self.head(model, data_class)
        forged = ""
        if rng.random() < 0.2:
            forged = f"skerry-origin: {rng.choice(SITES)}\r\nskerry-hops: {rng.randint(0, 2)}\r\n"
        deadline_ms = rng.choice((30, 500, 2000))
        mark = marked(data_class, SITES.index(node.site), generation)
        payload = mark + rng.randbytes(32 - len(mark))
        return b"%b%bskerry-deadline-ms: %d\r\n\r\n%b%b" % (
            head,
            forged.encode(),
            deadline_ms,
            tail,
            payload,
        )

    def head(self, model: str, data_class: int) -> tuple[bytes, bytes]:
        """Return a request's head and the JSON before its 32 bytes."""
        known = self._heads.get((model, data_class))
        if known is None:
            data = np.zeros((1, 32), np.uint8)
            request = InferRequest(model=model, inputs=[Tensor("x", "UINT8", (1, 32), data)])
            length, body = encode_request(request)
            whole = b"".join(bytes(part) for part in body) if isinstance(body, list) else body
            named = "" if data_class == UNNAMED else f"skerry-data-class: {CLASSES[data_class]}\r\n"
            head = (
                f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: n\r\n{named}"
                f"content-length: {len(whole)}\r\n"
                f"inference-header-content-length: {length}\r\n"
            )
            known = self._heads[model, data_class] = head.encode(), bytes(whole)[:length]
        return known

    async def swap(self) -> None:
        """Bring every node to a new policy, once nothing older than the last one is under way."""
        while any(count for gen, count in self.under_way.items() if gen < self.generation):
            await asyncio.sleep(0.01)
        policy = random_policy(self.rng, len(self.policies))
        give_policy(self.nodes, policy)
        for node in self.nodes:
            node.send(signal.SIGHUP)
        for node in self.nodes:
            while not await self.follows(node, policy.generation):
                await asyncio.sleep(0.02)
        self.policies.append(policy)
        self.seen["policies"] += 1

    async def follows(self, node: Node, generation: int) -> bool:
        """Ask a node with a class that only that policy knows."""
        head, tail = self.head("near", UNNAMED)
        request = b"%bskerry-data-class: gen-%d\r\n\r\n%b%b" % (head, generation, tail, bytes(32))
        try:
            transport, connection = await asyncio.get_running_loop().create_connection(
                Answers, "127.0.0.1", node.settings.http_port
            )
            with contextlib.closing(transport):
                ((status, _),) = await connection.ask([request])
        except (OSError, TimeoutError):
            return False
        return status == 200

    async def disturb(self) -> None:
        """Inject faults for as long as the load lasts; each ends before the next begins."""
        while True:
            await asyncio.sleep(FAULT_S * self.rng.random())
            fault = self.rng.choice(("kill", "freeze", "freeze", "swap", "swap"))
            if fault == "swap" and len(self.policies) >= GENERATIONS_MAX:
                fault = "freeze"
            node = self.rng.choice(self.nodes)
            self.seen[fault] += 1
            if fault == "kill":
                await node.kill()
                await node.start()
            elif fault == "freeze":
                node.send(signal.SIGSTOP)
                await asyncio.sleep(FROZEN_S)
                node.send(signal.SIGCONT)
            else:
                await self.swap()

    def leaks(self) -> list[dict[str, object]]:
        """Judge everything that was seen; return what was seen where it must not be."""
        found = []
        for node in self.nodes:
            for data_class, origin, generation, count in Tally(node.tally).sightings():
                name = (*CLASSES, "health")[data_class]
                home = SITES[origin]
                self.seen["seen at home" if home == node.site else "seen elsewhere"] += count
                rules = self.policies[generation : generation + 2]
                if not any(may(policy, name, home, node.site) for policy in rules):
                    found.append(
                        {
                            "class": name,
                            "from": home,
                            "at": node.name,
                            "generation": generation,
                            "times": count,
                        }
                    )
        return found


async def live(requests: int, seed: int, connections: int, *, broken: bool, root: Path) -> dict:
    """Found the fleet, put load and faults on it, and judge what every process received."""
    rng = Random(seed)
    nodes = found(root, broken=broken)
    run = Run(nodes, rng, requests)
    run.policies.append(random_policy(rng, 0))
    give_policy(nodes, run.policies[0])
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        started_s = time.perf_counter()
        faults = asyncio.ensure_future(run.disturb())
        load = asyncio.gather(*(run.drive(node) for node in nodes for _ in range(connections)))
        await asyncio.wait([faults, load], return_when=asyncio.FIRST_COMPLETED)
        if faults.done():  # it never ends but by an error
            await faults
        await load
        took_s = time.perf_counter() - started_s
        faults.cancel()
        await asyncio.gather(faults, return_exceptions=True)
    finally:
        await asyncio.gather(*(node.kill() for node in nodes))
    leaks = run.leaks()
    seen = run.seen
    worth = min(seen["answered elsewhere"], seen["status 403"]) > requests // 50
    return {
        "requests": run.sent,
        "seed": seed,
        "seconds": round(took_s, 1),
        "leaks": sum(int(leak["times"]) for leak in leaks),  # type: ignore[call-overload]
        "leaked": leaks[:10],
        "worth_something": worth and seen["seen elsewhere"] >= seen["answered elsewhere"],
        **dict(sorted(seen.items())),
    }


def main() -> int:
    """Run and print one JSON document; 0 only if nothing leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--connections", type=int, default=8, help="per node")
    parser.add_argument("--broken", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leaks-") as root:
        told = asyncio.run(
            live(
                chosen.requests,
                chosen.seed,
                chosen.connections,
                broken=chosen.broken,
                root=Path(root),
            )
        )
    sys.stdout.buffer.write(msgspec.json.format(json.dumps(told).encode(), indent=2) + b"\n")
    return int(bool(told["leaks"]) or not told["worth_something"])


if __name__ == "__main__":
    sys.exit(main())
