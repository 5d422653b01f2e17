"""Records from a node to central's store: each once, through kills of everything on the way."""

import asyncio
from typing import Any

import msgspec
import pytest

from skerry.schema import api
from skerry.schema.records import Envelope, Event, Keep
from skerry.spine import subjects
from skerry.spine.errors import SpineError
from skerry.spine.nats_bus import NatsBus
from skerry.spine.nats_jwt import Credentials
from skerry.trust.tls import client_context

pytestmark = pytest.mark.anyio


def envelope(number: int) -> Envelope:
    event = Event(kind="t.record", at_unix_ms=number, site="oslo", node="oslo/1", text="x")
    return Envelope(
        key=f"region-eu.oslo.1.boot.{number}",
        keep=Keep.MUST,
        kind="event",
        at_unix_ms=number,
        body=msgspec.Raw(msgspec.json.encode(event)),
    )


async def hand_over(bus: NatsBus, record: Envelope) -> None:
    subject = subjects.telemetry("region-eu", "oslo", 1, record.keep)
    for _ in range(100):
        try:
            await bus.publish_kept(subject, msgspec.json.encode(record), msg_id=record.key)
            return
        except SpineError:
            await asyncio.sleep(0.1)
    pytest.fail(f"{record.key} was never taken")


@pytest.mark.slow
async def test_each_record_arrives_once_though_everything_is_killed_on_the_way(
    house: Any, wait_until: Any
) -> None:
    joined = await asyncio.to_thread(house.join, "oslo")
    bus = await NatsBus.connect(
        [joined.reply.nats_url],
        name="oslo/1",
        inbox_prefix=subjects.inbox_node("region-eu", "oslo", 1),
        tls=lambda: client_context(joined.identity, house.roots),
        tls_hostname=joined.reply.nats_host,
        credentials=lambda: Credentials(jwt=joined.reply.nats_jwt, seed=joined.login.seed),
    )
    for number in range(30):
        await hand_over(bus, envelope(number))
        if number == 10:
            await asyncio.to_thread(house.central.kill)
        if number == 15:
            await asyncio.to_thread(house.region.kill)
            await asyncio.to_thread(house.region.start)
        if number == 20:
            await asyncio.to_thread(house.central.start)
    for number in (0, 12, 29):  # a node that did not hear the answer sends again
        await hand_over(bus, envelope(number))
    await bus.close()

    def arrived() -> list[str]:
        page = house.ask("central", "GET", "/v1/events?kind=t.record&limit=1000", api.EventPage)
        return [one.key for one in page.events]

    def all_here() -> bool:
        return len(arrived()) >= 30

    await asyncio.to_thread(wait_until, all_here, "all records at central", deadline_s=30.0)
    await asyncio.sleep(0.5)  # a second copy would come now
    keys = arrived()
    assert sorted(keys) == sorted(envelope(number).key for number in range(30))
