"""Hands on a machine: a lid opened, a sensor cut or shaken, papers with a gap."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import msgspec
import pytest

from skerry.base.clock import SystemClock
from skerry.central.sqlite_store import SqliteStore
from skerry.node.folder import NodeFolder
from skerry.node.guard import Guard
from skerry.node.quarantine import read_quarantine
from skerry.node.settings import NodeSettings
from skerry.node.tamper import Demands, TamperWatch
from skerry.schema.custody import Step
from skerry.schema.oip import InferReply, InferRequest
from skerry.schema.policy import Policy, Residency, Stays
from skerry.schema.records import Keep
from skerry.schema.tamper import Sensor, SignedTamperEvent, TamperPolicy
from skerry.spine.errors import SpineError
from skerry.spine.ingest import Ingest
from skerry.spine.outbox import Outbox
from skerry.spine.relay import Relay
from skerry.spine.uplink import Uplink
from skerry.testing.bus import MemoryHub
from skerry.testing.clock import ManualClock
from skerry.testing.papers import NODE, POLICY, SIGNERS, Papers, delivered, installed
from skerry.testing.swtpm import SoftwareTpm, TestMaker
from skerry.testing.swtpm import installed as swtpm_installed
from skerry.trust.attest.errors import SealLostError
from skerry.trust.attest.sealer import Sealer
from skerry.trust.attest.tpm import Tpm
from skerry.trust.custody import GRAPH, Where, judge, quarantine_reason
from skerry.trust.enrol import load_or_create_enrolment_key
from skerry.trust.quarantine import QuarantinedError
from skerry.trust.tamper_events import check_events

KEYS = ("identity.pem", "login.json", "site-authority.pem")
KEYS_GONE_S_MAX = 1.0
RESIDENCY = Policy(
    fleet="clinic",
    generation=1,
    data_classes={
        "health": Residency(stays=Stays.SITE),
        "public": Residency(stays=Stays.ANYWHERE),
    },
    model_classes={"scan": ("health", "public")},
    places={},
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Machine:
    """A node's folder with keys, a lid that is a file, and its way up."""

    folder: NodeFolder
    value: Path
    outbox: Outbox

    def watch(self, clock: object, *, sealer: Sealer | None = None) -> TamperWatch:
        settings = NodeSettings(
            fleet="clinic",
            domain="clinic.example",
            region="region-eu",
            site="oslo",
            number=1,
            tier="closet",
            region_url="https://127.0.0.1:9",
            region_host="region-eu.clinic.example",
            sensors=(Sensor(name="lid", path=str(self.value), period_s=0.1),),
        )
        return TamperWatch(
            self.folder,
            settings,
            self.outbox,
            boot="b1",
            demands=lambda: Demands(TamperPolicy(), SIGNERS),
            clock=clock,  # type: ignore[arg-type]
            sealers=(sealer,) if sealer else (),
        )

    @property
    def keys(self) -> list[str]:
        return [name for name in KEYS if (self.folder.identity / name).exists()]

    def told(self) -> list[SignedTamperEvent]:
        return [
            msgspec.json.decode(detail["detail"]["signed"], type=SignedTamperEvent)
            for envelope in self.outbox.take(1000)
            for detail in (msgspec.json.decode(envelope.body),)
        ]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    folder = NodeFolder(tmp_path / "node").make()
    for name in KEYS:
        (folder.identity / name).write_bytes(b"SECRET " * 200)
    load_or_create_enrolment_key(folder.identity / "enrolment.pem")
    (tmp_path / "intrusion0_alarm").write_bytes(b"0\n")
    outbox = Outbox(folder.outbox, region="region-eu", site="oslo", node_number=1, boot="b1")
    yield Machine(folder, tmp_path / "intrusion0_alarm", outbox)
    outbox.close()


async def echo(request: InferRequest) -> InferReply:
    return InferReply(model=request.model, version="1", id="", outputs=[])


def asked(data_class: str) -> InferRequest:
    return InferRequest(model="scan", inputs=[], data_class=data_class)


A14 = pytest.mark.attack(
    row="A14",
    title="the lid is opened outside a maintenance window, with the network cut",
    refused="LID_OPEN",
    off={"skerry.node.tamper.orders": lambda *_, **__: ()},
)


@A14
@pytest.mark.anyio
async def test_a14_an_opened_lid_takes_the_keys_and_is_told_in_order_later(
    machine: Machine, tmp_path: Path
) -> None:
    clock, rng = SystemClock(), random.Random(1)
    bus = MemoryHub().bus()
    relay = Relay(bus, region="region-eu", clock=clock, rng=rng)
    store = SqliteStore(tmp_path / "central.db")

    async def keep(envelopes: list) -> None:  # type: ignore[type-arg]
        store.add_records(envelopes)

    ingest = Ingest(bus, keep, clock=clock, rng=rng)
    await relay.ensure()
    await ingest.ensure()
    uplink = Uplink(
        machine.outbox, bus, region="region-eu", site="oslo", node_number=1, clock=clock, rng=rng
    )
    bus.cut()
    watch = machine.watch(clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        await anyio.sleep(0.3)  # the watch has seen it shut
        machine.value.write_bytes(b"1\n")
        opened_s = time.monotonic()
        with anyio.move_on_after(10 * KEYS_GONE_S_MAX):
            while machine.keys:
                await anyio.sleep(0.005)
        took_s = time.monotonic() - opened_s
        await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    assert machine.keys == []
    assert took_s < KEYS_GONE_S_MAX

    guard = Guard(echo, lambda: RESIDENCY)
    guard.quarantine = read_quarantine(machine.folder.quarantine)
    await guard.infer(asked("public"))
    with pytest.raises(QuarantinedError, match="LID_OPEN"):
        await guard.infer(asked("health"))

    with pytest.raises(SpineError):
        await uplink.drain_once()
    bus.heal()
    await uplink.drain_once()
    await relay.move_once()
    await ingest.store_once()
    events = store.events(kind="tamper")
    kinds = [stored.event.kind for stored in events]
    assert kinds == ["tamper.watch_started", "tamper.lid_open", "tamper.reacted"]
    signed = [
        msgspec.json.decode(str(stored.event.detail["signed"]), type=SignedTamperEvent)
        for stored in events
    ]
    enrolment = load_or_create_enrolment_key(machine.folder.identity / "enrolment.pem")
    check_events(signed, node=NODE, enrolment_key=enrolment.public_key())
    store.close()


@A14
def test_a14_a_key_sealed_in_the_tpm_is_lost_to_who_opened_the_lid(
    machine: Machine, tmp_path: Path
) -> None:
    if not swtpm_installed():
        pytest.skip("needs swtpm")
    pytest.importorskip("tpm2_pytss", reason="needs tpm2-pytss")
    with SoftwareTpm(tmp_path / "tpm", TestMaker.create()) as tpm:
        sealed = tmp_path / "sealed.json"
        sealer = Sealer(lambda: Tpm(tpm.where), sealed)
        sealer.seal(b"the data key")
        copy = sealed.read_bytes()
        clock = ManualClock()
        watch = machine.watch(clock, sealer=sealer)
        for _ in range(6):
            clock.advance(0.1)
            watch.take("lid", True)
        sealed.write_bytes(copy)  # the disk was read before
        with pytest.raises(SealLostError):
            sealer.unseal()
        watch.close()


@pytest.mark.attack(
    row="A15",
    title="a tamper sensor is cut, or shaken a thousand times a second",
    refused="SENSOR_SILENT",
    off={
        "skerry.trust.tamper.is_silent": lambda *_: False,
        "skerry.trust.tamper.is_flapping": lambda *_: False,
    },
)
@pytest.mark.parametrize(
    ("readings", "step_s", "word"),
    [
        ([None] * 600, 0.1, "SENSOR_SILENT"),
        ([n % 2 == 0 for n in range(20_000)], 0.001, "SENSOR_FLAPPING"),
    ],
    ids=["cut", "shaken"],
)
def test_a15_a_sensor_cut_or_shaken_is_one_alarm(
    machine: Machine, readings: list[bool | None], step_s: float, word: str
) -> None:
    clock = ManualClock()
    watch = machine.watch(clock)
    watch.begin()
    for reading in readings:
        clock.advance(step_s)
        watch.take("lid", reading)
    watch.look()
    told = [event.word.value for event in check_events(machine.told(), node=NODE)]
    assert [one for one in told if one != "REACTED"] == ["WATCH_STARTED", word]
    assert machine.outbox.stats().records[Keep.MUST] <= 3  # the line upstream is not flooded
    raw = watch._journal.raw("lid")
    assert len(raw) >= (1000 if word == "SENSOR_FLAPPING" else 0)
    watch.close()


def anything(_where: Where, step: Step) -> tuple[str, Where]:
    """Let every step follow every other."""
    return "", next(after[step] for after in GRAPH.values() if step in after)


A16 = pytest.mark.attack(
    row="A16",
    title="a machine comes whose papers miss a step, or whose seal has another number",
    refused="CUSTODY_BROKEN",
    off={
        "skerry.trust.custody.missing_steps": anything,
        "skerry.trust.custody.wrong_seals": lambda *_: "",
    },
)


@A16
@pytest.mark.parametrize(
    ("papers", "named"),
    [
        (
            Papers()
            .add(Step.MADE, "maker", "maker", seals_left=("S1",))
            .add(Step.SHIPPED, "maker", "carrier")
            .add(Step.INSTALLED, "store", "site", place=NODE),
            "entry 2 (installed): received is missing before it",
        ),
        (
            delivered().add(Step.INSTALLED, "store", "site", place=NODE, seals_found=("S1", "S8")),
            "entry 3 (installed): found seals S1, S8, wanted S1, S2",
        ),
    ],
    ids=["gap", "seal"],
)
def test_a16_broken_papers_mean_quarantine_and_name_the_step(papers: Papers, named: str) -> None:
    refusal = quarantine_reason(judge(papers.chain, SIGNERS), POLICY, node=NODE)
    assert refusal is not None
    assert refusal.rule == "CUSTODY_BROKEN"
    assert named in refusal.text
    assert quarantine_reason(judge(installed().chain, SIGNERS), POLICY, node=NODE) is None
