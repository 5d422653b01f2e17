"""The tamper watch: an event first, then the keys; windows, papers, restarts and full disks."""

import hashlib
import hmac
import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.node.folder import NodeFolder
from skerry.node.forget import wipe
from skerry.node.quarantine import read_quarantine
from skerry.node.settings import NodeSettings
from skerry.node.tamper import Demands, TamperWatch
from skerry.node.tamper_sensors import (
    SensorReader,
    WebhookDoor,
    parse_ipmi,
    read_message,
    read_value,
)
from skerry.schema.custody import Step
from skerry.schema.records import Event, Keep
from skerry.schema.tamper import (
    Reaction,
    Sensor,
    SensorSource,
    SignedTamperEvent,
    TamperPolicy,
)
from skerry.spine.errors import OutboxFullError
from skerry.spine.outbox import Outbox
from skerry.testing.clock import ManualClock
from skerry.testing.papers import SIGNERS, START_UNIX_S, installed
from skerry.trust.custody_sign import to_lines
from skerry.trust.enrol import load_or_create_enrolment_key
from skerry.trust.floor import Floor, write_floor
from skerry.trust.tamper_events import check_events
from skerry.trust.tamper_journal import TamperJournal, TamperJournalError

KEYS = ("identity.pem", "site-authority.pem", "login.json")
LID = Sensor(name="lid", path="/sys/class/hwmon/hwmon0/intrusion0_alarm")
GPIO = Sensor(name="gpio", path="/sys/class/gpio/gpio17/value")


class Sealed:
    """A data key that can be forgotten."""

    forgotten = 0

    def forget(self, why: str) -> None:
        self.forgotten += 1


@dataclass
class Bench:
    """A watch on a clock that stands still, its keys as files, and what went upstream."""

    folder: NodeFolder
    settings: NodeSettings
    clock: ManualClock = field(default_factory=lambda: ManualClock(START_UNIX_S + 100_000.0))
    policy: TamperPolicy = field(default_factory=TamperPolicy)
    sealer: Sealed = field(default_factory=Sealed)
    notes: list[str] = field(default_factory=list)
    lives: int = 0

    def __post_init__(self) -> None:
        for name in KEYS:
            (self.folder.identity / name).write_bytes(b"SECRET " * 100)
        self.enrolment = load_or_create_enrolment_key(self.folder.identity / "enrolment.pem")
        self.start()

    def start(self) -> None:
        """Begin, or begin anew as after a restart."""
        self.lives += 1
        boot = f"b{self.lives}"
        self.outbox = Outbox(
            self.folder.outbox, region="region-eu", site="oslo", node_number=1, boot=boot
        )
        self.watch = TamperWatch(
            self.folder,
            self.settings,
            self.outbox,
            boot=boot,
            demands=lambda: Demands(self.policy, SIGNERS),
            clock=self.clock,
            sealers=[self.sealer],
            on_note=self.notes.append,
        )
        self.watch.begin()

    def read(self, name: str, reading: bool | None, times: int = 3) -> None:
        """Take readings in, one every 200 ms."""
        for _ in range(times):
            self.clock.advance(0.2)
            self.watch.take(name, reading)

    def papers(self, chain: object) -> None:
        """Put papers on the node's disk."""
        (self.folder.custody / "chain.jsonl").write_bytes(to_lines(chain.chain))  # type: ignore[attr-defined]

    @property
    def keys(self) -> list[str]:
        return [name for name in KEYS if (self.folder.identity / name).exists()]

    def signed(self) -> list[SignedTamperEvent]:
        """Return what waits in the outbox."""
        found = []
        for envelope in self.outbox.take(1000):
            assert envelope.keep is Keep.MUST
            event = msgspec.json.decode(envelope.body, type=Event)
            found.append(msgspec.json.decode(str(event.detail["signed"]), type=SignedTamperEvent))
        return found

    def told(self) -> list[str]:
        """Return what is told upstream, checked and in order."""
        events = check_events(
            self.signed(), node="oslo/1", enrolment_key=self.enrolment.public_key()
        )
        return [event.word for event in events]


@pytest.fixture
def bench(node_folder: NodeFolder, node_settings: NodeSettings) -> Bench:
    return Bench(node_folder, msgspec.structs.replace(node_settings, sensors=(LID, GPIO)))


def test_an_open_lid_takes_the_keys_and_quarantines_with_no_network(bench: Bench) -> None:
    bench.read("lid", True)
    assert bench.keys == []
    assert bench.sealer.forgotten == 1
    assert "LID_OPEN: sensor lid" in read_quarantine(bench.folder.quarantine).reason
    assert bench.told() == ["WATCH_STARTED", "LID_OPEN", "REACTED"]
    assert (bench.folder.identity / "enrolment.pem").exists()


def test_the_enrolment_key_goes_where_the_fleet_says_so(bench: Bench) -> None:
    bench.policy = TamperPolicy(forget_enrolment=True)
    bench.read("lid", True)
    assert not (bench.folder.identity / "enrolment.pem").exists()
    assert bench.told() == ["WATCH_STARTED", "LID_OPEN", "REACTED"]  # signed all the same


def test_the_event_is_on_the_disk_before_the_keys_go(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    journal = bench.watch._journal

    def looked(*_: object, **__: object) -> object:
        seen.append([event.word for event in journal.events()])
        raise KeyboardInterrupt  # the power goes here

    monkeypatch.setattr("skerry.node.tamper.forget_keys", looked)
    with pytest.raises(KeyboardInterrupt):
        bench.read("lid", True)
    assert seen == [["WATCH_STARTED", "LID_OPEN"]]
    monkeypatch.undo()
    bench.start()
    bench.read("lid", True, times=1)
    assert bench.keys == []  # what was not done before the power went is done now


def test_a_disk_that_takes_no_event_keeps_no_key(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> object:
        raise TamperJournalError("tamper.db", "database or disk is full")

    monkeypatch.setattr(TamperJournal, "append", full)
    bench.read("lid", True)
    assert bench.keys == []
    assert any("disk is full" in note for note in bench.notes)


def test_what_was_done_is_not_done_again_after_a_restart(bench: Bench) -> None:
    bench.read("lid", True)
    (bench.folder.identity / "identity.pem").write_bytes(b"a new one, in quarantine")
    bench.start()
    bench.read("lid", True, times=20)
    assert bench.keys == ["identity.pem"]
    bench.read("lid", False)
    bench.read("lid", True)
    assert bench.keys == []  # opened once more


def test_in_a_maintenance_window_the_lid_may_be_open_and_after_it_not(bench: Bench) -> None:
    now = int(bench.clock.unix_s())
    bench.papers(installed().window(now - 60, now + 60))
    bench.read("lid", True)
    assert bench.keys == list(KEYS)
    bench.clock.advance(30)
    bench.watch.look()
    assert bench.keys == list(KEYS)
    bench.clock.advance(31)
    bench.watch.look()
    assert bench.keys == []
    assert bench.told() == ["WATCH_STARTED", "LID_OPEN", "REACTED"]
    events = check_events(bench.signed(), node="oslo/1")
    assert len(events[1].window) == 64


def test_a_window_that_nobody_who_may_has_signed_opens_nothing(bench: Bench) -> None:
    now = int(bench.clock.unix_s())
    window = installed().add(
        Step.WINDOW,
        "carrier",
        "anna",
        place="oslo/1",
        starts_unix_s=now - 60,
        ends_unix_s=now + 60,
    )
    bench.papers(window)
    bench.read("lid", True)
    assert bench.keys == []


def test_a_clock_set_back_into_an_old_window_opens_nothing(bench: Bench) -> None:
    """Signed state has shown that the time is past it."""
    now = int(bench.clock.unix_s())
    bench.papers(installed().window(now - 60, now + 60))
    write_floor(bench.folder.trust, Floor(time_s=now + 3600.0))
    bench.read("lid", True)
    assert bench.keys == []


def test_a_silent_sensor_quarantines_and_takes_no_key(bench: Bench) -> None:
    bench.read("gpio", None, times=60)
    assert bench.keys == list(KEYS)
    assert "SENSOR_SILENT" in read_quarantine(bench.folder.quarantine).reason
    assert bench.told() == ["WATCH_STARTED", "SENSOR_SILENT", "REACTED"]


def test_two_people_end_a_quarantine_and_an_old_paper_does_not(bench: Bench) -> None:
    bench.read("lid", True)
    bench.read("lid", False)
    bench.read("gpio", False)
    papers = installed().add(
        Step.VISIT, "site", "anna", place="oslo/1", starts_unix_s=1, ends_unix_s=2
    )
    bench.papers(papers)
    bench.watch.look()
    assert read_quarantine(bench.folder.quarantine).causes
    later = int(bench.clock.unix_s()) + 60
    papers.add(
        Step.VISIT,
        "site",
        "anna",
        place="oslo/1",
        at_unix_s=later,
        starts_unix_s=later - 50,
        ends_unix_s=later,
    )
    bench.papers(papers)
    bench.read("lid", True)
    bench.watch.look()
    assert read_quarantine(bench.folder.quarantine).causes  # it is still open
    bench.read("lid", False)
    bench.watch.look()
    assert not read_quarantine(bench.folder.quarantine).causes
    assert bench.told()[-1] == "CLEARED"


def test_a_fleet_that_wants_an_alarm_only_gets_one(bench: Bench) -> None:
    bench.policy = TamperPolicy(on_open=Reaction.ALARM)
    bench.read("lid", True, times=30)
    assert bench.keys == list(KEYS)
    assert not read_quarantine(bench.folder.quarantine).causes
    assert bench.told() == ["WATCH_STARTED", "LID_OPEN", "REACTED"]


def test_what_the_outbox_does_not_take_waits_and_goes_up_in_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> list[str]:
        raise OutboxFullError("outbox.db", 1, 1, "only must records are left")

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put_many", full)
        bench.read("lid", True)
    assert bench.keys == []
    assert bench.told() == ["WATCH_STARTED"]
    bench.watch.look()
    assert bench.told() == ["WATCH_STARTED", "LID_OPEN", "REACTED"]


def test_the_raw_series_is_kept_beside_the_events(bench: Bench) -> None:
    bench.read("lid", False)
    bench.read("lid", True)
    bench.watch.look()
    raw = [reading for _, reading in bench.watch._journal.raw("lid")]
    assert raw == ["shut", "open"]


# --- sources ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reading"),
    [(b"1\n", True), (b"0\n", False), (b"open", False), (b"", None), (b"\xff" * 100, False)],
)
def test_a_file_is_one_word(tmp_path: Path, content: bytes, reading: bool | None) -> None:
    (tmp_path / "value").write_bytes(content)
    assert read_value(str(tmp_path / "value"), "1") is reading
    assert read_value(str(tmp_path / "none"), "1") is None
    assert read_value(str(tmp_path), "1") is None


STATUS = b"System Power         : on\nChassis Intrusion    : %s\nFront-Panel Lockout  : inactive\n"


@pytest.mark.parametrize(
    ("said", "reading"), [(b"active", True), (b"inactive", False), (b"maybe", None)]
)
def test_the_chassis_status_is_read_as_ipmitool_prints_it(
    said: bytes, reading: bool | None
) -> None:
    assert parse_ipmi(STATUS % said) is reading
    assert parse_ipmi(b"Error: Unable to establish IPMI session") is None


@given(st.binary(max_size=500))
def test_any_chassis_status_is_a_reading_or_none(output: bytes) -> None:
    assert parse_ipmi(output) in (True, False, None)


SECRET = b"a shared secret"


def sign(body: bytes, secret: bytes = SECRET) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def test_a_message_counts_once_and_only_with_its_signature() -> None:
    body = b'{"n": 7, "open": true}'
    said = read_message(body, sign(body), SECRET, last_n=6)
    assert not isinstance(said, str)
    assert (said.n, said.open) == (7, True)
    assert "more than 7" in str(read_message(body, sign(body), SECRET, last_n=7))
    assert "signature" in str(read_message(body, sign(body, b"other"), SECRET, last_n=6))
    assert "no secret" in str(read_message(body, sign(body, b""), b"", last_n=6))
    far = b'{"n": 99999999999999999, "open": true}'
    assert "wanted more" in str(read_message(far, sign(far), SECRET, last_n=6))


@given(st.binary(max_size=300), st.text(max_size=80))
def test_any_message_is_taken_or_refused_in_words(body: bytes, signature: str) -> None:
    started_s = time.perf_counter()
    assert isinstance(read_message(body, signature, SECRET, last_n=0), str)
    assert isinstance(read_message(b"{}" + body, sign(b"{}" + body), SECRET, last_n=0), str)
    assert time.perf_counter() - started_s < 0.1


def post(port: int, path: str, body: bytes, signature: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", path, body, {"skerry-signature": signature})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def test_the_door_takes_signed_messages_and_says_what_is_wrong_with_others(
    node_folder: NodeFolder, node_settings: NodeSettings
) -> None:
    door_sensor = Sensor(name="door", source=SensorSource.WEBHOOK, secret="door", period_s=60.0)
    (node_folder.secrets / "door").write_bytes(SECRET + b"\n")
    bench = Bench(node_folder, msgspec.structs.replace(node_settings, sensors=(door_sensor,)))
    door = WebhookDoor(0, bench.watch.accept)
    try:
        body = b'{"n": 1, "open": true}'
        assert post(door.port, "/tamper/door", body, sign(body)) == (200, {})
        assert post(door.port, "/tamper/door", body, sign(body))[0] == 403
        assert post(door.port, "/tamper/lid", body, sign(body))[0] == 403
        assert post(door.port, "/", body, sign(body))[0] == 404
        assert post(door.port, "/tamper/door", b"x" * 2000, "")[0] == 413
    finally:
        door.close()
    bench.clock.advance(1)
    bench.watch.take("door", bench.watch._reader.read(door_sensor))
    assert bench.keys == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 2000,
        b"POST /tamper/door HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST /tamper/door HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /tamper/door HTTP/1.1\r\ncontent-length: \xb2\r\n\r\n",
        b"POST /tamper/door HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"".join(b"a%d: b\r\n" % n for n in range(500)),
    ],
)
def test_the_door_outlives_whatever_is_thrown_at_it(garbage: bytes) -> None:
    heard: list[str] = []

    def accept(name: str, body: bytes, signature: str) -> str:
        heard.append(name)
        return ""

    door = WebhookDoor(0, accept)
    try:
        with socket.create_connection(("127.0.0.1", door.port), timeout=5) as raw:
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65536):
                pass
        assert heard == []
        assert post(door.port, "/tamper/door", b"{}", "")[0] == 200
    finally:
        door.close()


def test_a_sender_that_stalls_holds_others_up_for_a_second_at_most() -> None:
    door = WebhookDoor(0, lambda *_: "")
    try:
        with socket.create_connection(("127.0.0.1", door.port), timeout=5) as stalled:
            stalled.sendall(b"POST /tamper/door HTTP/1.1\r\ncontent-length: 9\r\n\r\n{")
            started_s = time.monotonic()
            assert post(door.port, "/tamper/door", b"{}", "")[0] == 200
            assert time.monotonic() - started_s < 3.0
    finally:
        door.close()


def test_a_short_opening_between_two_readings_is_not_missed() -> None:
    reader, sensor = SensorReader(), Sensor(name="door", source=SensorSource.WEBHOOK)
    reader.say("door", opened=True)
    reader.say("door", opened=False)
    assert reader.read(sensor) is True
    assert reader.read(sensor) is None


def test_a_wiped_file_was_overwritten_where_it_lay(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"SECRET " * 20_000)
    (tmp_path / "link").hardlink_to(tmp_path / "key")
    assert wipe(tmp_path / "key")
    assert not (tmp_path / "key").exists()
    assert set((tmp_path / "link").read_bytes()) == {0}
    assert not wipe(tmp_path / "key")


def test_many_threads_take_readings_one_after_the_other(bench: Bench) -> None:
    def hammer(name: str) -> None:
        for _ in range(50):
            bench.watch.take(name, False)

    threads = [threading.Thread(target=hammer, args=(name,)) for name in ("lid", "gpio") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.told() == ["WATCH_STARTED"]
