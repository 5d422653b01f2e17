"""The tamper watch: reads a node's sensors, and acts on them, with or without a network.

    reading -> debounce -> signed event on the disk -> what is to be done -> done -> upstream

Deciding is `skerry.trust.tamper`, plain functions. Here every sensor has a task of its own, so a
slow one holds up no other; what they found is taken in one after the other. An event is on the
disk before anything is done about it; only where the disk refuses it, the reaction comes first.

Units:   seconds; unix and monotonic milliseconds.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio
import anyio.to_thread
import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.units import MS_PER_SECOND
from skerry.node.folder import NodeFolder
from skerry.node.forget import Sealer, forget_keys
from skerry.node.identity import IdentityFiles
from skerry.node.papers import Papers
from skerry.node.quarantine import add_cause, lift_cause, read_quarantine
from skerry.node.settings import NodeSettings
from skerry.node.tamper_mqtt import MqttFeed
from skerry.node.tamper_sensors import Message, SensorReader, WebhookDoor, read_message
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.schema.custody import Signer
from skerry.schema.quarantine import QuarantineCause
from skerry.schema.records import Event, Keep
from skerry.schema.tamper import (
    Reaction,
    Sensor,
    SensorSource,
    SignedTamperEvent,
    TamperPolicy,
    TamperWord,
)
from skerry.spine.outbox import Entry, Outbox
from skerry.trust.floor import read_floor
from skerry.trust.identity import key_from_pem
from skerry.trust.tamper import Order, Watch, orders, watched
from skerry.trust.tamper_events import read_event, standing_of
from skerry.trust.tamper_journal import TamperJournal, TamperJournalError

WHO = "tamper"
"""Under which name the watch puts a node into quarantine."""
RAW_WAITING_MAX = 2000
"""Raw changes between two writes of the series; a flapping contact makes more, and they go."""
HEARD = (SensorSource.WEBHOOK, SensorSource.MQTT)
INBOX_S = 0.1
"""Time between two looks at what messages have said."""
LOOK_S = 2.0
"""Time between two looks at papers, and between two tries to send."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What the signed desired state says about tamper: how to react, and whose signature counts."""

    policy: TamperPolicy = field(default_factory=TamperPolicy)
    signers: Mapping[str, Signer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a reading: what the process has to do now."""

    events: int = 0
    keys_gone: bool = False
    quarantine_changed: bool = False


NOTHING = Done()


class TamperWatch:
    """One node's watch; it may be used without a running loop, for one reading at a time."""

    def __init__(
        self,
        folder: NodeFolder,
        settings: NodeSettings,
        outbox: Outbox,
        *,
        boot: str,
        demands: Callable[[], Demands],
        clock: Clock,
        sealers: Sequence[Sealer] = (),
        on_sent: Callable[[], None] = lambda: None,
        on_quarantine: Callable[[], None] = lambda: None,
        on_keys_gone: Callable[[], None] = lambda: None,
        on_note: Callable[[str], None] = lambda _: None,
        note: Callable[[AuditEvent], object] = lambda _: None,
    ) -> None:
        self._note = note
        self._folder, self._settings, self._outbox = folder, settings, outbox
        self._demands, self._clock, self._sealers = demands, clock, tuple(sealers)
        self._on_sent, self._on_quarantine = on_sent, on_quarantine
        self._on_keys_gone, self._on_note = on_keys_gone, on_note
        self._files = IdentityFiles(folder.identity)
        self._papers = Papers(folder.custody, settings.node)
        self._reader = SensorReader()
        self._raw: deque[tuple[str, int, str]] = deque(maxlen=RAW_WAITING_MAX)
        self._turn = threading.Lock()
        self._journal = TamperJournal(folder.tamper, node=settings.node, boot=boot)
        opened, self._done = standing_of(self._journal.events())
        now_s = clock.monotonic_s()
        self._watches = {
            sensor.name: Watch(heard_s=now_s, open=sensor.name in opened)
            for sensor in settings.sensors
        }
        self._sensors = {sensor.name: sensor for sensor in settings.sensors}

    async def run(self) -> None:
        """Watch for as long as the process lives."""
        await anyio.to_thread.run_sync(self.begin)
        door = None
        if any(sensor.source is SensorSource.WEBHOOK for sensor in self._settings.sensors):
            door = WebhookDoor(self._settings.tamper_port, self.accept)
        try:
            async with anyio.create_task_group() as tasks:
                for sensor in self._settings.sensors:
                    tasks.start_soon(self._follow, sensor)
                tasks.start_soon(self._look_around)
                if any(sensor.source is SensorSource.MQTT for sensor in self._settings.sensors):
                    tasks.start_soon(self._mqtt)
        finally:
            if door is not None:
                await anyio.to_thread.run_sync(door.close)

    def begin(self) -> None:
        """Write down that the watch has started; blocking, as everything below."""
        with self._turn:
            self._write(TamperWord.WATCH_STARTED, text=f"{len(self._sensors)} sensors")
            self._send()

    def close(self) -> None:
        """Close the journal."""
        with self._turn:
            self._journal.close()

    async def _follow(self, sensor: Sensor) -> None:
        while True:
            reading = await anyio.to_thread.run_sync(self._reader.read, sensor)
            self._tell(await anyio.to_thread.run_sync(partial(self.take, sensor.name, reading)))
            heard_of = sensor.source in HEARD  # it comes when it comes
            await self._clock.sleep(min(sensor.period_s, INBOX_S) if heard_of else sensor.period_s)

    async def _mqtt(self) -> None:
        settings = self._settings
        await MqttFeed(
            settings.mqtt,
            [one for one in settings.sensors if one.source is SensorSource.MQTT],
            self._folder.secrets,
            client_id=f"skerry-{settings.site}-{settings.number}",
            say=lambda name, opened: self._reader.say(name, opened=opened),
            on_note=self._on_note,
        ).run()

    async def _look_around(self) -> None:
        """Notice what no reading tells: a window that ended, papers that came, a line upstream."""
        while True:
            self._tell(await anyio.to_thread.run_sync(self.look))
            await self._clock.sleep(LOOK_S)

    def _tell(self, done: Done) -> None:
        if done.events:
            self._on_sent()
        if done.quarantine_changed:
            self._on_quarantine()
        if done.keys_gone:
            self._on_keys_gone()

    # --- one reading, one look ----------------------------------------------------------

    def take(self, name: str, reading: bool | None) -> Done:
        """Take a sensor's reading in, and do what follows from it."""
        sensor, now_s = self._sensors[name], self._clock.monotonic_s()
        demands = self._demands()
        with self._turn:
            before = self._watches[name]
            # A message or a latch in a management controller does not bounce.
            plain = sensor.source is SensorSource.FILE
            after, words = watched(
                before,
                reading,
                now_s,
                period_s=sensor.period_s,
                debounce_s=demands.policy.debounce_s if plain else 0.0,
            )
            self._watches[name] = after
            if after.raw is not before.raw:
                shown = {True: "open", False: "shut", None: "none"}[after.raw]
                self._raw.append((name, int(now_s * MS_PER_SECOND), shown))
            if not words and after.trouble is None:
                return NOTHING
            window = self._papers.open_window(demands.signers, self._unix_s())
            for word in words:
                self._write(word, sensor=sensor, window=window)
                self._note_end(word, name)
            return self._react(demands.policy, window, len(words))

    def look(self) -> Done:
        """Act on a window that has ended, on papers that have come, and send what waits."""
        demands = self._demands()
        with self._turn:
            window = self._papers.open_window(demands.signers, self._unix_s())
            done = self._react(demands.policy, window, 0)
            cleared = self._clear(demands)
            self._keep_raw()
            sent = self._send()
        return Done(
            events=done.events + sent,
            keys_gone=done.keys_gone,
            quarantine_changed=done.quarantine_changed or cleared,
        )

    def accept(self, name: str, body: bytes, signature: str) -> str:
        """Take a webhook's message; returns why it is refused, or nothing."""
        sensor = self._sensors.get(name)
        if sensor is None or sensor.source is not SensorSource.WEBHOOK:
            return "there is no such sensor here"
        try:
            secret = (self._folder.secrets / sensor.secret).read_bytes().strip()
        except OSError:
            secret = b""
        with self._turn:
            try:
                message = read_message(body, signature, secret, last_n=self._journal.counter(name))
                if not isinstance(message, Message):
                    return message
                self._journal.keep_counter(name, message.n)
            except TamperJournalError as error:
                self._on_note(str(error))
                return "it cannot be kept"
            self._reader.say(name, opened=message.open)
        return ""

    # --- doing, with the turn held --------------------------------------------------------

    def _react(self, policy: TamperPolicy, window: str, events: int) -> Done:
        troubles = {name: watch.trouble for name, watch in self._watches.items() if watch.trouble}
        keys_gone = quarantined = False
        for order in orders(troubles, policy, in_window=bool(window), done=self._done):
            self._done.add((order.sensor, order.word))
            words = []
            if order.reaction is Reaction.ZERO:
                forgotten = forget_keys(
                    self._files,
                    enrolment=policy.forget_enrolment,
                    sealers=self._sealers,
                    why=f"{order.word} {order.sensor}",
                )
                keys_gone = True
                words.append(str(forgotten))
            if order.reaction is not Reaction.ALARM:
                quarantined = self._quarantine(order) or quarantined
                words.append("in quarantine")
            self._write(
                TamperWord.REACTED,
                sensor=self._sensors[order.sensor],
                about=order.word.value,
                text="; ".join(words) or "alarm",
            )
            events += 1
        sent = self._send() if events else 0
        return Done(sent, keys_gone, quarantined)

    def _quarantine(self, order: Order) -> bool:
        kind = self._sensors[order.sensor].kind
        cause = QuarantineCause(
            word=order.word.value,
            text=f"sensor {order.sensor} ({kind}) of {self._settings.node}",
            at_unix_s=self._unix_s(),
        )
        try:
            add_cause(self._folder.quarantine, WHO, cause)
        except OSError as error:
            self._on_note(f"{self._folder.quarantine}: {error}")
            return False
        return True

    def _clear(self, demands: Demands) -> bool:
        """End the quarantine where every sensor is well and two people vouch for the node."""
        cause = read_quarantine(self._folder.quarantine).causes.get(WHO)
        watches = self._watches.values()
        if cause is None or any(watch.trouble or watch.raw is None for watch in watches):
            return False
        paper = self._papers.clearance(demands.signers, cause.at_unix_s)
        if not paper:
            return False
        self._write(TamperWord.CLEARED, text=f"custody entry {paper[:12]}")
        lift_cause(self._folder.quarantine, WHO)
        self._done.clear()
        return True

    def _note_end(self, word: TamperWord, name: str) -> None:
        """A sensor that is well again may be acted on anew."""
        ended = {
            TamperWord.LID_SHUT: (TamperWord.LID_OPEN,),
            TamperWord.SENSOR_BACK: (TamperWord.SENSOR_SILENT, TamperWord.SENSOR_FLAPPING),
        }.get(word, ())
        self._done.difference_update((name, one) for one in ended)

    def _write(
        self,
        word: TamperWord,
        *,
        sensor: Sensor | None = None,
        about: str = "",
        window: str = "",
        text: str = "",
    ) -> None:
        """Sign an event and put it on the disk; a disk that is full stops no reaction."""
        self._keep_raw()
        try:
            key_pem = self._files.enrolment_key.read_bytes()
            key = key_from_pem(key_pem, None, str(self._files.enrolment_key))
        except (OSError, SkerryError):
            key = None
        try:
            self._journal.append(
                word,
                at_unix_ms=int(self._clock.unix_s() * MS_PER_SECOND),
                monotonic_ms=int(self._clock.monotonic_s() * MS_PER_SECOND),
                sensor=sensor.name if sensor else "",
                kind=sensor.kind.value if sensor else "",
                about=about,
                window=window,
                text=text,
                enrolment_key=key,
            )
        except TamperJournalError as error:
            self._on_note(f"{word} could not be written: {error}")
        bad = word in (TamperWord.LID_OPEN, TamperWord.SENSOR_SILENT, TamperWord.SENSOR_FLAPPING)
        self._note(
            AuditEvent(
                kind=AuditKind.TAMPER,
                outcome=AuditOutcome.FAILED if bad else AuditOutcome.DONE,
                actor=f"sensor {sensor.name}" if sensor else self._settings.node,
                target=self._settings.node,
                reason=word.value,
                text=text,
                fields={"window": window} if window else {},
            )
        )

    def _keep_raw(self) -> None:
        if not self._raw:
            return
        try:
            self._journal.add_raw(list(self._raw))
            self._raw.clear()
        except TamperJournalError as error:
            self._on_note(str(error))

    def _send(self) -> int:
        """Hand events on to the outbox, in order; what it does not take waits in the journal."""
        count = 0
        try:
            for n, signed in self._journal.after(self._journal.sent()):
                self._outbox.put_many([self._entry(signed)])
                self._journal.mark_sent(n)
                count += 1
        except SkerryError as error:
            self._on_note(f"tamper events wait: {error}")
        return count

    def _entry(self, signed: SignedTamperEvent) -> Entry:
        event = read_event(signed)
        settings = self._settings
        told = Event(
            kind=f"tamper.{event.word.value.lower()}",
            at_unix_ms=event.at_unix_ms,
            site=settings.site,
            node=settings.node,
            text=" ".join(part for part in (event.sensor, event.about, event.text) if part),
            detail={"n": event.n, "signed": msgspec.json.encode(signed).decode()},
        )
        return Entry(Keep.MUST, "event", event.at_unix_ms, msgspec.json.encode(told))

    def _unix_s(self) -> float:
        """Return the time, never earlier than what signed state has shown to be past.

        So a clock that was set back does not open an old window once more.
        """
        return max(self._clock.unix_s(), read_floor(self._folder.trust).time_s)
