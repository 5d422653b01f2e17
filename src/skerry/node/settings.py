"""A node's settings: what cannot be derived from its identity or its desired state."""

import re
from pathlib import Path

import msgspec

from skerry.base.ids import IdError, token
from skerry.node.errors import SettingsError
from skerry.schema.audit_api import AuditSettings
from skerry.schema.route import RouteSettings, fault_of
from skerry.schema.settings_file import read_settings_file, write_settings_file
from skerry.schema.shadow import ShadowRule, wrong_in
from skerry.schema.tamper import MqttBroker, Sensor, SensorSource
from skerry.serve.errors import ProviderError
from skerry.serve.providers import read_wanted

_MIB = 1024 * 1024
_ADDRESS = re.compile(r"[A-Za-z0-9.\-]{1,253}:[0-9]{1,5}|\[[0-9A-Fa-f:.]{2,45}\]:[0-9]{1,5}")
_MIRROR = re.compile(rf"https://({_ADDRESS.pattern})/?")
_BROKER = re.compile(
    r"(?P<scheme>mqtts?)://(?P<host>[a-zA-Z0-9.-]+|\[[0-9a-f:]+\]):(?P<port>[0-9]{1,5})"
)
_TOPIC = re.compile(r"[^+#\x00]{1,256}")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

PORTS = ("http_port", "grpc_port", "metrics_port", "peer_port")

BOUNDS: dict[str, tuple[float, float, str]] = {
    **dict.fromkeys(PORTS, (0, 65_535, "")),
    "number": (1, 999_999, ""),
    "journal_bytes_max": (2 * _MIB, 1024 * 1024 * _MIB, " bytes"),
    "outbox_bytes_max": (_MIB, 1024 * 1024 * _MIB, " bytes"),
    "memory_bytes_max": (0, 1024 * 1024 * _MIB, " bytes"),
    "tamper_port": (0, 65_535, ""),
    "tick_s": (0.1, 3600, " s"),
    "status_s": (0.1, 3600, " s"),
}
"""Least and greatest value of each number, and its unit."""


class MirrorAddress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server beside the region's API that keeps the same files."""

    url: str
    """`https://host:port`."""
    host: str = ""
    """The name in its certificate; empty for the region's."""


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one node is told by whoever installs it; people may edit the file.

    Ports of 0 are replaced by free ones at the first start and kept from then on.
    """

    fleet: str
    """The fleet's name."""
    domain: str
    """The fleet's domain; every identity ends in it."""
    region: str
    """The region that the site belongs to."""
    site: str
    """The site that the machine stands at."""
    number: int
    """The node's number at its site, from 1."""
    tier: str
    """The tier that the site serves in."""
    region_url: str
    """The region's API, `https://host:port`."""
    region_host: str
    """The name in the region's certificate."""
    mirrors: tuple[MirrorAddress, ...] = ()
    """Where else signed state and model files may be fetched, tried in this order."""
    hardware: str = ""
    """The kind of this machine, a machine type of the fleet file; some models are for some only."""
    host: str = "127.0.0.1"
    """Where the doors listen; loopback unless told otherwise."""
    http_port: int = 0
    """OIP over HTTP for clients on this machine."""
    grpc_port: int = 0
    """OIP over gRPC for clients on this machine."""
    metrics_port: int = 0
    """Prometheus metrics."""
    peer_port: int = 0
    """OIP over HTTP with mutual TLS, for other nodes."""
    dial: dict[str, str] = {}
    """`<node>`, `region` or `nats` to `host:port`: dial there instead (an emulated link)."""
    journal_bytes_max: int = 256 * 1024 * 1024
    """Room for request records that the agent has not read yet, in bytes."""
    outbox_bytes_max: int = 512 * 1024 * 1024
    """Room for records that have not gone up yet, in bytes."""
    intake_folder: str = ""
    """A folder whose files are answered as they arrive; empty for none."""
    intake_model: str = ""
    """The model that answers them; without one the folder is not watched."""
    providers: tuple[str, ...] = ()
    """Execution providers by preference; empty takes what ONNX Runtime offers here."""
    memory_bytes_max: int = 0
    """Bound for the memory of all loaded models together, in bytes; 0 for none."""
    upstream_hosts: tuple[str, ...] = ()
    """Hosts other than loopback that the server behind a model may be at."""
    tpm: str = ""
    """The machine's TPM 2.0, for example `device:/dev/tpmrm0`; empty for none."""
    event_log: str = "/sys/kernel/security/tpm0/binary_bios_measurements"
    """Where the firmware's event log can be read."""
    tick_s: float = 10.0
    """Longest time between two looks at the region for a new desired state, in seconds."""
    status_s: float = 2.0
    """Time between two status reports, in seconds."""
    route: RouteSettings = RouteSettings()
    """How requests are routed: retries, balance, cache, cascades, ensembles."""
    audit: AuditSettings = AuditSettings()
    """Where audit events go besides this node's own ledger."""
    shadow: tuple[ShadowRule, ...] = ()
    """Shares of live requests that are copied to candidates and compared."""
    sensors: tuple[Sensor, ...] = ()
    """What watches the machine's lid; what is done about it is in the fleet file."""
    tamper_port: int = 0
    """Where sensors of source `webhook` send to, on loopback; needed where there is one."""
    mqtt: MqttBroker = MqttBroker()
    """The broker that sensors of source `mqtt` are heard from; needed where there is one."""

    @property
    def node(self) -> str:
        """Return the node's name, `<site>/<n>`."""
        return f"{self.site}/{self.number}"


def read_settings(path: Path) -> NodeSettings:
    """Read and check a settings file; raises `SettingsError`."""
    settings = read_settings_file(path, NodeSettings, SettingsError)
    for name, (low, high, unit) in BOUNDS.items():
        value = getattr(settings, name)
        if not low <= value <= high:
            wanted = f"{low:.13g} to {high:.13g}{unit}"
            raise SettingsError(str(path), f"{name} is {value:.13g}, wanted {wanted}")
    for kind, name in (("region", "region"), ("site", "site"), ("tier", "tier")):
        try:
            token(kind, getattr(settings, name))
        except IdError as error:
            raise SettingsError(str(path), str(error)) from error
    given = [getattr(settings, name) for name in PORTS if getattr(settings, name)]
    if len(given) != len(set(given)):
        raise SettingsError(str(path), f"two doors have one port: {sorted(given)}")
    wrong = fault_of(settings.route)
    if wrong:
        raise SettingsError(str(path), wrong)
    for index, rule in enumerate(settings.shadow):
        wrong = wrong_in(rule)
        if wrong:
            raise SettingsError(str(path), f"shadow[{index}]: {wrong}")
    for text in settings.providers:
        try:
            read_wanted(text)
        except ProviderError as error:
            raise SettingsError(str(path), f"providers: {error}; {error.hint}") from error
    wrong = wrong_in_sensors(settings) or wrong_in_broker(settings.mqtt)
    if wrong:
        raise SettingsError(str(path), wrong)
    for index, mirror in enumerate(settings.mirrors):
        if not _MIRROR.fullmatch(mirror.url):
            wrong = f"mirrors[{index}].url is {mirror.url!r}, wanted https://host:port"
            raise SettingsError(str(path), wrong)
    for name, address in settings.dial.items():
        if not _ADDRESS.fullmatch(address):
            raise SettingsError(str(path), f"dial.{name} is {address!r}, wanted host:port")
    return settings


def write_settings(path: Path, settings: NodeSettings) -> None:
    """Write a settings file, readable by this user only."""
    write_settings_file(path, settings)


SENSORS_MAX = 32
PERIOD_S_MIN = {
    SensorSource.FILE: 0.02,
    SensorSource.IPMI: 1.0,
    SensorSource.WEBHOOK: 0.02,
    SensorSource.MQTT: 0.02,
}
PERIOD_S_MAX = 3600.0


def wrong_in_sensors(settings: NodeSettings) -> str:
    """Say what is wrong with the sensors, or nothing."""
    if len(settings.sensors) > SENSORS_MAX:
        return f"{len(settings.sensors)} sensors, wanted at most {SENSORS_MAX}"
    names = [sensor.name for sensor in settings.sensors]
    for index, sensor in enumerate(settings.sensors):
        what = f"sensors[{index}]"
        try:
            token("sensor", sensor.name)
        except IdError as error:
            return f"{what}: {error}"
        if names.count(sensor.name) > 1:
            return f"{what}: there are two sensors {sensor.name}"
        least_s = PERIOD_S_MIN[sensor.source]
        if not least_s <= sensor.period_s <= PERIOD_S_MAX:
            return (
                f"{what}: period_s is {sensor.period_s:g}, wanted {least_s:g} to {PERIOD_S_MAX:g} s"
            )
        if sensor.source is SensorSource.FILE and not sensor.path.startswith("/"):
            return f"{what}: path is {sensor.path!r}, wanted a file, from / on"
        if sensor.source is SensorSource.WEBHOOK:
            if not sensor.secret or "/" in sensor.secret or sensor.secret.startswith("."):
                return f"{what}: secret is {sensor.secret!r}, wanted a file name in secrets/"
            if not settings.tamper_port:
                return f"{what}: a webhook needs tamper_port"
        if sensor.source is SensorSource.MQTT:
            if not settings.mqtt.url:
                return f"{what}: it needs a broker, mqtt.url"
            if not _TOPIC.fullmatch(sensor.topic):
                return f"{what}: topic is {sensor.topic[:64]!r}, wanted one topic, no + and no #"
    return ""


def wrong_in_broker(broker: MqttBroker) -> str:
    """Say what is wrong with the MQTT broker, or nothing."""
    if not broker.url:
        return ""
    found = _BROKER.fullmatch(broker.url)
    if found is None or not 1 <= int(found["port"]) <= 65_535:
        return f"mqtt.url is {broker.url!r}, wanted mqtts://host:port"
    if found["scheme"] == "mqtt" and found["host"] not in LOOPBACK:
        return f"mqtt.url is {broker.url!r}, wanted mqtts:// for a broker that is not on loopback"
    if broker.ca and not broker.ca.startswith("/"):
        return f"mqtt.ca is {broker.ca!r}, wanted a file, from / on"
    if broker.password and ("/" in broker.password or broker.password.startswith(".")):
        return f"mqtt.password is {broker.password!r}, wanted a file name in secrets/"
    if broker.password and not broker.user:
        return "mqtt.password without mqtt.user: a password is somebody's"
    return ""
