"""Tamper: what watches a machine's lid, what a fleet wants done, and the signed events.

Units:   seconds; unix and monotonic milliseconds.
"""

from enum import StrEnum

import msgspec

TAMPER_SCHEMA = "skerry.tamper/1"


class SensorKind(StrEnum):
    """What a sensor feels."""

    LID = "lid"
    LIGHT = "light"
    TILT = "tilt"
    VOLTAGE = "voltage"
    PORT = "port"


class SensorSource(StrEnum):
    """How its value is read."""

    FILE = "file"
    """A file with one word: a GPIO's `value`, or `intrusion0_alarm` of a hwmon chip."""
    IPMI = "ipmi"
    """The chassis intrusion of `ipmitool chassis status`."""
    WEBHOOK = "webhook"
    """Messages over HTTP on loopback, signed with a shared secret."""
    MQTT = "mqtt"
    """Messages on a topic of the broker that the node's settings name."""


class Sensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sensor of one node, in its settings."""

    name: str
    kind: SensorKind = SensorKind.LID
    source: SensorSource = SensorSource.FILE
    path: str = ""
    """The file that a sensor of source `file` is read from."""
    open_when: str = "1"
    """What stands in the file, or in a message of `mqtt`, when the lid is open; else it is shut."""
    topic: str = ""
    """The topic that a sensor of source `mqtt` is heard on."""
    field: str = ""
    """The field of a JSON message of `mqtt` that says it; empty where the message is the word."""
    secret: str = ""
    """The file in `secrets/` whose bytes sign a webhook's messages."""
    period_s: float = 0.2
    """Time between two readings, or the longest between two messages of `webhook` or `mqtt`."""


class MqttBroker(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The one broker that sensors of source `mqtt` are heard from."""

    url: str = ""
    """`mqtts://host:port`; `mqtt://` on loopback only."""
    ca: str = ""
    """File of the roots that its certificate leads to; empty for those of the system."""
    user: str = ""
    """Whom to log in as; empty for nobody."""
    password: str = ""
    """The file in `secrets/` that holds the password."""


class Reaction(StrEnum):
    """How hard a node reacts; each does what those before it do as well."""

    ALARM = "alarm"
    """An event that is never dropped, and a warning in the node's state."""
    QUARANTINE = "quarantine"
    """No restricted data until two people have looked at the machine."""
    ZERO = "zero"
    """Keys are overwritten, and the sealed data key is forgotten."""


class TamperPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet wants done when a machine is touched outside a maintenance window."""

    on_open: Reaction = Reaction.ZERO
    on_lost: Reaction = Reaction.QUARANTINE
    """When a sensor is silent for three periods, or flaps."""
    forget_enrolment: bool = False
    """Whether `zero` takes the enrolment key too: then only a new ticket brings the node back."""
    debounce_s: float = 0.3
    """How long a sensor must read the same before it counts."""


class TamperWord(StrEnum):
    """What happened. Stable words: alarms and searches name them."""

    WATCH_STARTED = "WATCH_STARTED"
    LID_OPEN = "LID_OPEN"
    LID_SHUT = "LID_SHUT"
    SENSOR_SILENT = "SENSOR_SILENT"
    SENSOR_FLAPPING = "SENSOR_FLAPPING"
    SENSOR_BACK = "SENSOR_BACK"
    REACTED = "REACTED"
    """What was done about an event before it: keys gone, quarantine."""
    CLEARED = "CLEARED"
    """Two people looked at the machine and signed for it; the quarantine is over."""


class TamperEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event, as it is signed.

    Each names the public half of the key that signs the next one, and the key that signed it is
    then gone: whoever takes the machine over can sign what comes, and cannot change what was.
    """

    schema: str = TAMPER_SCHEMA
    node: str
    n: int
    """From 1, over all boots of the node."""
    boot: str
    at_unix_ms: int
    monotonic_ms: int
    """Of this boot; it never goes back, whatever the wall clock does."""
    word: TamperWord
    sensor: str = ""
    kind: str = ""
    """What the sensor feels."""
    about: str = ""
    """The word that `REACTED` answers."""
    window: str = ""
    """The digest of the custody entry whose maintenance window was open, or empty."""
    text: str = ""
    previous: str = ""
    """SHA-256 of the payload of the event before, in hex."""
    next_key: str
    """The Ed25519 public key of the next event, in base64."""


class SignedTamperEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its signature. `anchor` is the enrolment key's, where the node has one."""

    payload: bytes
    signature: bytes
    anchor: bytes = b""
