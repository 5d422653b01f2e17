"""A node's settings: each has its line in the reference, and a bad value is named."""

import re
from pathlib import Path

import msgspec
import pytest

from skerry.node.errors import SettingsError
from skerry.node.settings import BOUNDS, NodeSettings, read_settings, write_settings
from skerry.schema.route import BOUNDS as ROUTE_BOUNDS
from skerry.schema.route import RouteSettings
from skerry.schema.shadow import BOUNDS as SHADOW_BOUNDS
from skerry.schema.shadow import ShadowRule
from skerry.schema.tamper import Sensor

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "node-settings.md"


def with_changes(path: Path, settings: NodeSettings, **changes: object) -> Path:
    document = {**msgspec.to_builtins(settings), **changes}
    path.write_bytes(msgspec.json.encode(document))
    return path


def test_what_was_written_is_read_and_private(tmp_path: Path, node_settings: NodeSettings) -> None:
    path = tmp_path / "node.json"
    write_settings(path, node_settings)
    assert read_settings(path) == node_settings
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"http_port": 65_536}, "http_port is 65536, wanted 0 to 65535"),
        ({"peer_port": -1}, "peer_port is -1"),
        ({"number": 0}, "number is 0, wanted 1 to"),
        ({"tick_s": 0.0}, "tick_s is 0, wanted 0.1 to 3600 s"),
        ({"status_s": 1e9}, "status_s is 1000000000"),
        ({"outbox_bytes_max": 10}, "outbox_bytes_max is 10"),
        ({"journal_bytes_max": -1}, "journal_bytes_max is -1"),
        ({"http_port": 8000, "grpc_port": 8000}, "two doors have one port"),
        ({"dial": {"region": "nowhere"}}, "wanted host:port"),
        ({"site": "../etc"}, "site"),
        ({"host_name": "x"}, "host_name"),
        ({"memory_bytes_max": -1}, "memory_bytes_max is -1, wanted 0 to"),
        ({"providers": ["cudaa"]}, "providers: execution provider 'cudaa'"),
        ({"route": {"retry_ratio": 7}}, "route.retry_ratio is 7, wanted 0 to 1"),
        ({"route": {"retries": 7}}, "retries"),
        (
            {"shadow": [{"model": "m", "to": "a/1", "share": 2}]},
            "shadow[0]: share is 2, wanted 0 to 1",
        ),
        ({"shadow": [{"model": "m"}]}, "shadow[0]: it compares a model with itself"),
        ({"shadow": [{"model": "m", "shares": 1}]}, "shares"),
        ({"sensors": [{"name": "Lid", "path": "/x"}]}, "sensors[0]: 'Lid' cannot name a sensor"),
        ({"sensors": [{"name": "a", "path": "/x"}] * 2}, "there are two sensors a"),
        ({"sensors": [{"name": "a", "path": "x"}]}, "path is 'x', wanted a file"),
        ({"sensors": [{"name": "a", "path": "/x", "period_s": 0}]}, "period_s is 0, wanted 0.02"),
        ({"sensors": [{"name": "a", "source": "ipmi"}]}, "period_s is 0.2, wanted 1 to 3600 s"),
        ({"sensors": [{"name": "a", "source": "webhook"}]}, "wanted a file name in secrets/"),
        (
            {"sensors": [{"name": "a", "source": "webhook", "secret": "../x"}]},
            "wanted a file name in secrets/",
        ),
        ({"sensors": [{"name": "a", "source": "webhook", "secret": "x"}]}, "needs tamper_port"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    tmp_path: Path, node_settings: NodeSettings, changes: dict[str, object], words: str
) -> None:
    path = with_changes(tmp_path / "node.json", node_settings, **changes)
    with pytest.raises(SettingsError, match=re.escape(words)) as caught:
        read_settings(path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b"x" * 300_000])
def test_a_torn_or_foreign_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(data)
    with pytest.raises(SettingsError):
        read_settings(path)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"node\.json"):
        read_settings(tmp_path / "node.json")


def test_the_reference_lists_every_setting_with_its_default_and_bounds() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.read_text(), flags=re.MULTILINE))
    fields = msgspec.structs.fields(NodeSettings)
    assert list(rows) == [field.name for field in fields]
    for field in fields:
        default = "required" if field.required else f"`{_default(field)}`"
        assert default in rows[field.name], field.name
        if field.name in BOUNDS:
            low, high, _ = BOUNDS[field.name]
            assert f"{low:.13g} to {high:.13g}" in rows[field.name], field.name


def test_the_reference_lists_every_setting_of_routing_with_its_bounds() -> None:
    rows = dict(re.findall(r"^\| `route\.(\w+)` \|(.*)\|$", PAGE.read_text(), flags=re.MULTILINE))
    fields = msgspec.structs.fields(RouteSettings)
    assert list(rows) == [field.name for field in fields]
    for field in fields:
        assert f"`{_default(field)}`" in rows[field.name], field.name
        if field.name in ROUTE_BOUNDS:
            low, high = ROUTE_BOUNDS[field.name]
            assert f"{low:g} to {high:.13g}" in rows[field.name], field.name


def test_the_reference_lists_every_setting_of_a_shadow_with_its_bounds() -> None:
    rows = dict(
        re.findall(r"^\| `shadow\[\]\.(\w+)` \|(.*)\|$", PAGE.read_text(), flags=re.MULTILINE)
    )
    fields = msgspec.structs.fields(ShadowRule)
    assert list(rows) == [field.name for field in fields]
    for field in fields:
        if not field.required:
            assert f"`{_default(field)}`" in rows[field.name], field.name
        if field.name in SHADOW_BOUNDS:
            low, high, _ = SHADOW_BOUNDS[field.name]
            assert (f"{low:.13g} to {high:.13g}" if high < 1e300 else "or more") in rows[field.name]


def test_the_reference_lists_every_setting_of_a_sensor() -> None:
    rows = dict(
        re.findall(r"^\| `sensors\[\]\.(\w+)` \|(.*)\|$", PAGE.read_text(), flags=re.MULTILINE)
    )
    fields = msgspec.structs.fields(Sensor)
    assert list(rows) == [field.name for field in fields]
    for field in fields:
        assert ("required" if field.required else f"`{_default(field)}`") in rows[field.name]


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return msgspec.json.encode(value).decode()
