"""Settings files: what cannot be used is named with its path, in the reading room's own error."""

import re
from pathlib import Path

import msgspec
import pytest

from skerry.schema.settings_file import (
    SETTINGS_BYTES_MAX,
    read_settings_file,
    write_settings_file,
)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What some process is told."""

    port: int = 0
    life_s: float = 1.0


class OwnError(Exception):
    """Some room's own."""


def read(path: Path) -> Settings:
    return read_settings_file(path, Settings, OwnError, ports=("port",), above_zero=("life_s",))


def test_what_was_written_is_read_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_settings_file(path, Settings(port=65_535, life_s=0.5))
    assert read(path) == Settings(port=65_535, life_s=0.5)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"port": 65536}', "port is 65536, wanted 0 to 65535"),
        (b'{"port": -1}', "port is -1"),
        (b'{"life_s": 0}', "life_s is 0.0, wanted more than 0"),
        (b'{"prot": 1}', "prot"),
        (b"{", "truncated"),
        (b"\xff", "malformed"),
        (b" " * (SETTINGS_BYTES_MAX + 1), "is larger than 262144 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_why(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(OwnError, match=re.escape(words)) as caught:
        read(path)
    assert caught.value.args[0] == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OwnError, match="No such file"):
        read(tmp_path / "a.json")
