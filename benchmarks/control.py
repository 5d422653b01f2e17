"""The control side in one process: update checks, decisions, the outbox, large fleet files.

    python benchmarks/control.py

What would cross the network is counted in bytes; no network is in these figures.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measured import median_ms, tell

from skerry.base.clock import SystemClock
from skerry.fleet.load import load_fleet
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.schema.records import Keep
from skerry.spine.outbox import Entry, Outbox
from skerry.trust.publisher import Publisher
from skerry.trust.residency import ResidencyTable
from skerry.trust.roles import OfflineKeys, OnlineKeys
from skerry.trust.update_client import UpdateClient

FLEET = Path(__file__).parent.parent / "examples" / "clinic" / "fleet.yaml"
SITES = 1000
TARGETS = 10_000
SPOOLED = 100_000


def update_check(folder: Path, targets: int, name: str) -> None:
    """A node's look at central: its first ever, the next, one after a restart, after a change."""
    clock, sent = SystemClock(), [0]
    offline, online = OfflineKeys.create(folder / "offline"), OnlineKeys.create(folder / "online")
    first = offline.found(online.public(), now_unix_s=clock.unix_s())
    publisher = Publisher.found(folder / "published", online, first, clock)
    publisher.publish(desired={f"desired/s{n}.json": b"[%d]" % n for n in range(targets)})

    def fetch(path: str, length_max: int) -> Iterator[bytes]:
        content = (folder / "published" / path).read_bytes()
        sent[0] += len(content)
        yield content[:length_max]

    def started() -> UpdateClient:
        return UpdateClient(folder / "node", first["root"], fetch, clock)

    def looks(client: UpdateClient, kind: str, times: int = 1) -> None:
        def check() -> None:
            client.refresh()
            assert client.target_sha256("desired/s1.json")

        sent[0] = 0
        tell(f"{name}-{kind}", median_ms(check, times=times, warm=0), "ms")
        tell(f"{name}-{kind}-bytes", sent[0] / times / 1000, "kB")

    client = started()
    looks(client, "first")
    looks(client, "again", times=20)
    looks(started(), "restarted")
    publisher.publish(desired={"desired/s2.json": b"[0]"})
    looks(client, "changed")


def decisions() -> None:
    """Whether a request may leave its site, at 1,000 sites."""
    places = {
        f"s{n}": Place(site=f"s{n}", region=f"r{n % 50}", jurisdiction=("NO", "DE", "US")[n % 3])
        for n in range(SITES)
    }
    policy = Policy(
        fleet="f",
        generation=1,
        data_classes={
            "health": Residency(stays=Stays.SITE),
            "internal": Residency(stays=Stays.JURISDICTIONS, jurisdictions=("NO", "DE")),
        },
        model_classes={},
        places=places,
    )
    table = ResidencyTable(policy)
    tell("policy-table", median_ms(lambda: ResidencyTable(policy), times=5), "ms")
    rounds = 1000

    def decide() -> None:
        for _ in range(rounds):
            table.may_go("internal", "s0", "s1")

    tell("policy-decision", median_ms(decide, times=50) / rounds * 1000, "us")


def outbox(folder: Path) -> None:
    """What a node's power cut costs: the time until the oldest spooled record is in hand."""
    path = folder / "outbox.db"
    names = {"region": "eu", "site": "oslo", "node_number": 1}
    box = Outbox(path, **names, boot="b1")
    body = b'{"model":"magika","requests":12,"latency_ms_p95":8.25}' * 4
    rows = 1000
    started_s = time.perf_counter()
    for n in range(SPOOLED // rows):
        box.put_many([Entry(Keep.HIGH, "summary", n * rows + one, body) for one in range(rows)])
    tell("outbox-put", SPOOLED / (time.perf_counter() - started_s), "records/s")
    box.close()

    def start() -> None:
        again = Outbox(path, **names, boot="b2")
        assert len(again.take(256)) == 256
        again.close()

    tell("outbox-start", median_ms(start, times=5, warm=0), "ms")
    tell("outbox-file", path.stat().st_size / 1e6, "MB")


def fleet_file(folder: Path) -> None:
    """Read, decode, check and resolve a fleet file of 1,000 sites more than the clinic's."""
    lines = FLEET.read_text().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if line.startswith("data:"))
    rest = "grid: DE, region: region-eu}\n"
    more = [
        f"  - {{name: s-{n}, tier: closet, at: [50.1, {n / 100:.2f}], {rest}" for n in range(SITES)
    ]
    path = folder / "fleet.yaml"
    path.write_text("".join(lines[:at] + more + lines[at:]))
    assert len(load_fleet(path).sites) > SITES
    tell("fleet-file", median_ms(lambda: load_fleet(path), times=3, warm=0), "ms")


def main() -> None:
    """Measure one after the other, each in a folder of its own."""
    root = Path(tempfile.mkdtemp())
    try:
        for name, targets in (("update-check", SITES), ("update-check-10k", TARGETS)):
            update_check(root / name, targets, name)
        decisions()
        outbox(root)
        fleet_file(root)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
