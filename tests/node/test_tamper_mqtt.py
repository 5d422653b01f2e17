"""Sensors over MQTT: a real broker with TLS and passwords, and messages that mean harm."""

import asyncio
import getpass
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.ports import free_ports
from skerry.node.settings import NodeSettings, wrong_in_broker, wrong_in_sensors
from skerry.node.tamper_mqtt import MqttFeed
from skerry.node.tamper_sensors import MESSAGE_BYTES_MAX, parse_mqtt
from skerry.schema.tamper import MqttBroker, Sensor, SensorSource
from skerry.trust.authority import Authority
from skerry.trust.spiffe import region_id

pytestmark = pytest.mark.anyio
DOOR = Sensor(
    name="door",
    source=SensorSource.MQTT,
    topic="room/door",
    field="contact",
    open_when="false",
    period_s=60.0,
)
CASE = Sensor(name="case", source=SensorSource.MQTT, topic="room/case", open_when="OPEN")
CONFIG = """\
user {user}
per_listener_settings false
listener {port} 127.0.0.1
certfile {folder}/broker.pem
keyfile {folder}/broker.pem
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/rights
persistence false
"""
RIGHTS = """\
user node
topic read room/#

user contact
topic write room/#
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Broker:
    """A mosquitto of its own."""

    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
        assert program
        self.child = subprocess.Popen(
            [program, "-c", str(self.folder / "mosquitto.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until_s = time.monotonic() + 10
        while not listens(self.port):
            assert self.child.poll() is None, "mosquitto did not start"
            assert time.monotonic() < until_s
            time.sleep(0.02)

    def stop(self) -> None:
        if self.child is not None:
            self.child.terminate()
            self.child.wait(10)
            self.child = None

    @property
    def settings(self) -> MqttBroker:
        return MqttBroker(
            url=f"mqtts://127.0.0.1:{self.port}",
            ca=str(self.folder / "ca.pem"),
            user="node",
            password="broker",
        )

    @asynccontextmanager
    async def contact(self, user: str = "contact") -> AsyncIterator[Any]:
        import aiomqtt

        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        async with aiomqtt.Client(
            "127.0.0.1", self.port, username=user, password=f"{user} secret", tls_context=context
        ) as client:
            yield client


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    path = "/usr/sbin:/usr/local/sbin:/usr/bin:/bin"
    if not shutil.which("mosquitto", path=path):
        pytest.skip("needs mosquitto")
    pytest.importorskip("aiomqtt", reason="needs aiomqtt")
    folder = tmp_path_factory.mktemp("broker")
    now = time.time()
    root = Authority.create_root("site.example", now_unix_s=now)
    identity = root.issue_region("room", now_unix_s=now).issue_identity(
        region_id("site.example", "room"), now_unix_s=now, loopback=True
    )
    identity.save(folder / "broker.pem")
    (folder / "ca.pem").write_bytes(root.certificate_pem)
    for name, more in (("node", ["-c"]), ("contact", [])):
        command = ["mosquitto_passwd", "-b", *more, str(folder / "passwords")]
        subprocess.run([*command, name, f"{name} secret"], check=True, capture_output=True)
    (folder / "rights").write_text(RIGHTS)
    found = Broker(folder)
    (folder / "mosquitto.conf").write_text(
        CONFIG.format(port=found.port, folder=folder, user=getpass.getuser())
    )
    found.start()
    try:
        yield found
    finally:
        found.stop()


@dataclass
class Heard:
    """A feed that runs, and what it said."""

    said: list[tuple[str, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    async def until(self, true: Callable[[], bool], *, within_s: float = 10.0) -> None:
        with anyio.fail_after(within_s):
            while not true():
                await anyio.sleep(0.01)


@asynccontextmanager
async def listening(
    settings: MqttBroker, folder: Path, *, password: str = "node secret"
) -> AsyncIterator[Heard]:
    heard = Heard()
    (folder / "broker").write_text(password + "\n")
    feed = MqttFeed(
        settings,
        [DOOR, CASE],
        folder,
        client_id="skerry-oslo-1",
        say=lambda name, opened: heard.said.append((name, opened)),
        on_note=heard.notes.append,
    )
    task = asyncio.create_task(feed.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def says(
    broker: Broker, heard: Heard, topic: str, text: str, *, retain: bool = False
) -> None:
    """Publish until it is heard: the feed may have yet to subscribe."""
    before = len(heard.said)
    async with broker.contact() as client:
        with anyio.fail_after(10):
            while len(heard.said) == before:
                await client.publish(topic, text, qos=1)
                await anyio.sleep(0.05)


async def test_a_contact_is_heard_over_tls_as_json_or_as_a_word(
    broker: Broker, tmp_path: Path
) -> None:
    async with listening(broker.settings, tmp_path) as heard:
        await says(broker, heard, "room/door", json.dumps({"contact": True, "battery": 97}))
        await says(broker, heard, "room/door", json.dumps({"contact": False}))
        await says(broker, heard, "room/case", "OPEN")
    assert heard.said[0] == ("door", False)
    assert ("door", True) in heard.said
    assert heard.said[-1] == ("case", True)
    assert not heard.notes


async def test_it_comes_back_after_the_broker_was_away(broker: Broker, tmp_path: Path) -> None:
    async with listening(broker.settings, tmp_path) as heard:
        await says(broker, heard, "room/case", "SHUT")
        broker.stop()
        await heard.until(lambda: bool(heard.notes))
        broker.start()
        await says(broker, heard, "room/case", "OPEN")
    assert heard.said[-1] == ("case", True)
    assert len(heard.notes) < 4  # a long outage is a line or two


async def test_a_kept_message_counts_where_it_says_open_and_a_kept_shut_is_no_sign_of_life(
    broker: Broker, tmp_path: Path
) -> None:
    async with broker.contact() as client:
        await client.publish("room/case", "OPEN", qos=1, retain=True)
        await client.publish("room/door", '{"contact": true}', qos=1, retain=True)
    try:
        async with listening(broker.settings, tmp_path) as heard:
            await heard.until(lambda: bool(heard.said))
            await anyio.sleep(0.2)
        assert heard.said == [("case", True)]
    finally:
        async with broker.contact() as client:
            for topic in ("room/case", "room/door"):
                await client.publish(topic, b"", qos=1, retain=True)


@pytest.mark.parametrize(
    ("change", "password", "why"),
    [
        ({}, "wrong", "(?i)not author"),
        ({"ca": ""}, "node secret", "(?i)certificate"),
        ({"password": "missing"}, "", "missing"),
    ],
)
async def test_without_the_right_password_or_certificate_nothing_is_heard_and_it_is_said(
    broker: Broker, tmp_path: Path, change: dict[str, str], password: str, why: str
) -> None:
    settings = msgspec.structs.replace(broker.settings, **change)
    async with listening(settings, tmp_path, password=password) as heard:
        await heard.until(lambda: bool(heard.notes))
        assert not heard.said
        assert any(re.search(why, one) for one in heard.notes), heard.notes
        assert not any("node secret" in one for one in heard.notes)


def test_what_a_message_says() -> None:
    assert parse_mqtt(b" OPEN\n", "", "OPEN") is True
    assert parse_mqtt(b"CLOSED", "", "OPEN") is False
    assert parse_mqtt(b'{"contact":false}', "contact", "false") is True
    assert parse_mqtt(b'{"contact":true}', "contact", "false") is False
    assert parse_mqtt(b'{"state":"on"}', "state", "on") is True
    nothing = (b"", b"  ", b'{"x":1}', b"[1]", b'{"contact":null}', b'{"contact":""}', b"\xff")
    for payload in nothing[2:]:
        assert parse_mqtt(payload, "contact", "false") is None
    assert parse_mqtt(b"", "", "OPEN") is None
    assert parse_mqtt(b"O" * (MESSAGE_BYTES_MAX + 1), "", "O") is None


@given(
    st.binary(max_size=2 * MESSAGE_BYTES_MAX)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=20,
    ).map(lambda one: json.dumps(one).encode()),
    st.sampled_from(["", "contact", "é"]),
)
def test_any_message_is_read_or_says_nothing(payload: bytes, name: str) -> None:
    began_s = time.monotonic()
    assert parse_mqtt(payload, name, "false") in (True, False, None)
    assert time.monotonic() - began_s < 0.1


def test_deep_json_says_nothing_quickly() -> None:
    payload = b'{"contact":' + b"[" * 900 + b"]" * 90 + b"}"
    assert parse_mqtt(payload, "contact", "false") is None


@pytest.mark.parametrize(
    ("broker", "wanted"),
    [
        (MqttBroker(url="mqtt://broker.site:1883"), "mqtts://"),
        (MqttBroker(url="https://broker.site"), "mqtts://host:port"),
        (MqttBroker(url="mqtts://broker.site:99999"), "mqtts://host:port"),
        (MqttBroker(url="mqtts://user:secret@broker.site:8883"), "mqtts://host:port"),
        (MqttBroker(url="mqtts://b:8883", ca="ca.pem"), "from / on"),
        (MqttBroker(url="mqtts://b:8883", user="n", password="../x"), "secrets/"),
        (MqttBroker(url="mqtts://b:8883", password="x"), "somebody"),
    ],
)
def test_a_broker_that_cannot_be_used_is_named(broker: MqttBroker, wanted: str) -> None:
    assert wanted in wrong_in_broker(broker)
    assert not wrong_in_broker(MqttBroker(url="mqtt://127.0.0.1:1883"))


def test_a_sensor_needs_a_broker_and_one_topic(node_settings: NodeSettings) -> None:
    def wrong(sensor: Sensor, url: str = "mqtts://b:8883") -> str:
        return wrong_in_sensors(
            msgspec.structs.replace(node_settings, sensors=(sensor,), mqtt=MqttBroker(url=url))
        )

    assert not wrong(DOOR)
    assert "mqtt.url" in wrong(DOOR, "")
    for topic in ("", "room/#", "+/door", "x" * 257):
        assert "one topic" in wrong(msgspec.structs.replace(DOOR, topic=topic))
