"""Hearing sensors over MQTT: one connection to one broker, for all of a node's topics.

    connect -> subscribe -> a message -> what it says -> the reader

TLS is wanted unless the broker is on this machine. While there is no connection nothing is heard,
and three periods of that are silence: a broker that is cut off is a sensor that is cut off.

Whoever may publish on a topic can say *shut* there, so a sensor's topic belongs to the sensor
alone. A message that the broker kept from earlier counts where it says *open*; a *shut* of then
says nothing of now, and would make a sensor that is gone look alive.

Units:   seconds.
Errors:  none to the watch; trouble is told to `on_note`, once for each kind.
"""

import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio

from skerry.node.tamper_sensors import parse_mqtt
from skerry.schema.tamper import MqttBroker, Sensor

log = logging.getLogger(__name__)

CONNECT_S_MAX = 5.0
KEEP_ALIVE_S = 10
WAITING_MAX = 1000
"""Messages that may wait to be read; those beyond are dropped by the client."""
RETRY_S_FIRST, RETRY_S_MAX = 0.5, 30.0
EXTRA = "sensors of source mqtt need aiomqtt: pip install 'skerry[mqtt]'"


class MqttFeed:
    """The sensors of one node that speak MQTT."""

    def __init__(
        self,
        broker: MqttBroker,
        sensors: Sequence[Sensor],
        secrets: Path,
        *,
        client_id: str,
        say: Callable[[str, bool], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._broker, self._secrets, self._client_id = broker, secrets, client_id
        self._topics: dict[str, list[Sensor]] = {}
        for sensor in sensors:
            self._topics.setdefault(sensor.topic, []).append(sensor)
        self._say, self._on_note, self._noted = say, on_note, ""

    async def run(self) -> None:
        """Listen for as long as the process lives."""
        try:
            import aiomqtt  # an extra: most nodes have no broker
        except ImportError:
            self._note(EXTRA)
            return
        retry_s = RETRY_S_FIRST
        while True:
            try:
                async with self._client(aiomqtt) as client:
                    for topic in self._topics:
                        await client.subscribe(topic, qos=1)
                    self._noted, retry_s = "", RETRY_S_FIRST
                    async for message in client.messages:
                        self.take(message.topic.value, message.payload, kept=message.retain)
            except (aiomqtt.MqttError, OSError, ValueError, TypeError) as error:
                self._note(f"mqtt: {self._broker.url}: {error or type(error).__name__}")
            await anyio.sleep(retry_s)
            retry_s = min(2 * retry_s, RETRY_S_MAX)

    def _client(self, aiomqtt: Any) -> Any:
        """Return a client that is not connected yet; the password is read anew for each."""
        broker, url = self._broker, urlsplit(self._broker.url)
        password = None
        if broker.password:
            password = (self._secrets / broker.password).read_text().strip()
        return aiomqtt.Client(
            url.hostname,
            url.port,
            username=broker.user or None,
            password=password,
            identifier=self._client_id,
            timeout=CONNECT_S_MAX,
            keepalive=KEEP_ALIVE_S,
            max_queued_incoming_messages=WAITING_MAX,
            tls_context=_tls(broker.ca) if url.scheme == "mqtts" else None,
            logger=log,
        )

    def take(self, topic: str, payload: object, *, kept: bool) -> None:
        """Take a message in; one that says nothing is as if it had not come."""
        if not isinstance(payload, bytes):
            return
        for sensor in self._topics.get(topic, ()):
            said = parse_mqtt(payload, sensor.field, sensor.open_when)
            if said is not None and (said or not kept):
                self._say(sensor.name, said)

    def _note(self, text: str) -> None:
        if text != self._noted:  # a long outage is one line
            self._noted = text
            self._on_note(text)


def _tls(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
