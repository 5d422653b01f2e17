"""The control side in one process: update checks, decisions, the outbox, large fleet files.

    python benchmarks/control.py

What would cross the network is counted in bytes; no network is in these figures.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from measured import median_ms, tell

from skerry.base.units import SECONDS_PER_DAY
from skerry.fleet.load import load_fleet
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.schema.records import Keep
from skerry.spine.outbox import Entry, Outbox
from skerry.testing.clock import ManualClock
from skerry.trust.publisher import Publisher
from skerry.trust.residency import ResidencyTable
from skerry.trust.roles import OfflineKeys, OnlineKeys
from skerry.trust.update_client import UpdateClient

FLEET = Path(__file__).parent.parent / "examples" / "clinic" / "fleet.yaml"
SITES = 1000
TARGETS = 10_000
CHECKS = 20
SPOOLED = 100_000


def update_check(folder: Path, targets: int, name: str) -> None:
    """A node's look at central: its first ever, with nothing new, and after each kind of change."""
    clock, sent = ManualClock(), [0]
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

    def looks(client: UpdateClient, kind: str, changes: Sequence[Callable[[], object]]) -> None:
        took_ms, processor_ms, published_ms = [], [], []
        for change in changes:
            published_ms.append(median_ms(change, times=1, warm=0))
            sent[0], before_s, begun_s = 0, time.process_time(), time.perf_counter()
            client.refresh()
            assert client.target_bytes("desired/s1.json")
            took_ms.append((time.perf_counter() - begun_s) * 1000)
            processor_ms.append((time.process_time() - before_s) * 1000)
        tell(f"{name}-{kind}", statistics.median(took_ms), "ms")
        tell(f"{name}-{kind}-processor", statistics.median(processor_ms), "ms")
        tell(f"{name}-{kind}-bytes", sent[0] / 1000, "kB")
        if nothing not in changes:
            tell(f"{name}-{kind}-published", statistics.median(published_ms), "ms")

    def nothing() -> None:
        pass

    def documents(site: str) -> list[Callable[[], object]]:
        contents = [{f"desired/{site}.json": b"[-%d]" % turn} for turn in range(CHECKS)]
        return [partial(publisher.publish, desired=one) for one in contents]

    def signs_all() -> None:
        clock.advance(4 * SECONDS_PER_DAY)
        assert publisher.refresh()

    client = started()
    looks(client, "first", [nothing])
    looks(client, "unchanged", [nothing] * CHECKS)
    looks(started(), "restarted", [nothing])
    looks(client, "other-changed", documents("s2"))
    looks(client, "own-changed", documents("s1"))
    looks(client, "signed-again", [signs_all] * 3)


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
