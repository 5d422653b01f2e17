"""Outbox, uplink, region, relay, central: every record once, whatever is killed on the way."""

import os
import random
import signal
from typing import Any

import anyio
import msgspec
import pytest

from skerry.base.clock import SystemClock
from skerry.schema.records import Envelope, Keep
from skerry.spine import subjects
from skerry.spine.errors import SpineError
from skerry.spine.ingest import Ingest
from skerry.spine.outbox import Entry, Outbox
from skerry.spine.relay import Relay, travels
from skerry.spine.uplink import Uplink
from skerry.testing.bus import MemoryHub

pytestmark = pytest.mark.anyio


def entries(keep: Keep, start: int, count: int) -> list[Entry]:
    return [Entry(keep, "summary", n, b'{"n":%d}' % n) for n in range(start, start + count)]


class Stored:
    """Central's store: a key counts once, and how often it came is remembered."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.came = 0
        self.fail = 0

    async def __call__(self, envelopes: list[Envelope]) -> None:
        if self.fail:
            self.fail -= 1
            raise OSError("disk full")
        self.came += len(envelopes)
        for envelope in envelopes:
            assert self.bodies.setdefault(envelope.key, bytes(envelope.body)) == bytes(
                envelope.body
            )


def outbox(folder: Any, site: str = "oslo") -> Outbox:
    return Outbox(folder / f"{site}.db", region="eu", site=site, node_number=1, boot="b1")


async def test_every_record_arrives_once_while_both_servers_are_killed(
    tiers: Any, until: Any, tmp_path: Any
) -> None:
    total, clock, stored = 3000, SystemClock(), Stored()
    await tiers.start("central")
    await tiers.start("eu")
    node, region, central = await tiers.node(), await tiers.region(), await tiers.central()
    box = outbox(tmp_path)
    uplink = Uplink(
        box, node, region="eu", site="oslo", node_number=1, clock=clock, rng=random.Random(1)
    )
    relay = Relay(region, region="eu", clock=clock, rng=random.Random(2), stream_bytes_max=64 << 20)
    ingest = Ingest(central, stored, clock=clock, rng=random.Random(3), stream_bytes_max=64 << 20)
    keys: list[str] = []
    async with anyio.create_task_group() as tasks:
        for loop in (ingest, relay, uplink):
            tasks.start_soon(loop.run)
        for start in range(0, total, 300):
            keys += box.put_many(entries(Keep.MUST, start, 300))
            uplink.nudge()
            if start in (300, 1200, 2100):
                name = "central" if start == 1200 else "eu"
                os.kill(tiers.servers[name].pid, signal.SIGKILL)
                await tiers.servers[name].watch()
                await tiers.start(name)
            await anyio.sleep(0.02)
        await until(lambda: len(stored.bodies) >= total, within_s=40, what="all records")
        assert set(stored.bodies) == set(keys)
        assert len(set(stored.bodies.values())) == total
        assert sum(box.stats().records.values()) == 0
        tasks.cancel_scope.cancel()


async def test_only_what_may_travel_leaves_the_region(tmp_path: Any, clock: Any, rng: Any) -> None:
    hub, stored = MemoryHub(), Stored()
    bus, box = hub.bus(), outbox(tmp_path)
    relay = Relay(bus, region="eu", clock=clock, rng=rng)
    ingest = Ingest(bus, stored, clock=clock, rng=rng)
    await relay.ensure()
    await ingest.ensure()
    for keep in Keep:
        box.put_many(entries(keep, 0, 4))
    box.put_many([Entry(Keep.MUST, "raw", 0, b"{}")])
    uplink = Uplink(box, bus, region="eu", site="oslo", node_number=1, clock=clock, rng=rng)
    assert await uplink.drain_once() == 13
    assert await relay.move_once() == 13
    assert await ingest.store_once() == 8
    assert (relay.counts.forwarded, relay.counts.withheld) == (8, 5)
    assert relay.counts.withheld_bytes > 0
    assert uplink.counts.bytes == relay.counts.forwarded_bytes + relay.counts.withheld_bytes
    assert len(stored.bodies) == 8


async def test_a_node_cannot_speak_under_another_ones_key(clock: Any, rng: Any) -> None:
    bus = MemoryHub().bus()
    relay = Relay(bus, region="eu", clock=clock, rng=rng)
    await relay.ensure()
    forged = Envelope(
        key="eu.bergen.1.b.1", keep=Keep.MUST, kind="event", at_unix_ms=0, body=msgspec.Raw(b"{}")
    )
    where = subjects.telemetry("eu", "oslo", 1, Keep.MUST)
    await bus.publish_kept(where, msgspec.json.encode(forged), msg_id=forged.key)
    await bus.publish_kept(where, b"\xff not json", msg_id="x")
    assert await relay.move_once() == 2
    assert (relay.counts.damaged, relay.counts.forwarded) == (2, 0)


async def test_nothing_is_acknowledged_below_before_it_is_stored_above(
    tmp_path: Any, clock: Any, rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skerry.testing.bus.ACK_WAIT_S", 0.0)
    bus, box, stored = MemoryHub().bus(), outbox(tmp_path), Stored()
    uplink = Uplink(box, bus, region="eu", site="oslo", node_number=1, clock=clock, rng=rng)
    relay = Relay(bus, region="eu", clock=clock, rng=rng)
    ingest = Ingest(bus, stored, clock=clock, rng=rng)
    box.put_many(entries(Keep.MUST, 0, 3))
    with pytest.raises(SpineError):
        await uplink.drain_once()  # the region has no stream yet
    assert box.stats().records[Keep.MUST] == 3
    await relay.ensure()
    assert await uplink.drain_once() == 3
    with pytest.raises(SpineError):
        await relay.move_once()  # central has no stream yet
    await ingest.ensure()
    assert await relay.move_once() == 3  # they came again
    stored.fail = 1
    with pytest.raises(OSError, match="disk full"):
        await ingest.store_once()
    assert await ingest.store_once() == 3
    assert len(stored.bodies) == 3


def test_the_default_filter_keeps_low_and_unknown_kinds_home() -> None:
    def one(keep: Keep, kind: str) -> Envelope:
        return Envelope(key="k", keep=keep, kind=kind, at_unix_ms=0, body=msgspec.Raw(b"{}"))

    assert travels(one(Keep.MUST, "event"))
    assert travels(one(Keep.HIGH, "summary"))
    assert not travels(one(Keep.LOW, "summary"))
    assert not travels(one(Keep.MUST, "request"))
