"""JSON whose text is not UTF-8 is torn JSON: it is refused or passed over as any other."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skerry.trust.acceptance import AcceptedDesired, accept_desired
from skerry.trust.errors import TargetUnreadable
from skerry.trust.floor import Floor, read_floor, write_floor


def test_a_floor_with_a_flipped_bit_falls_back_to_its_copy(tmp_path: Path) -> None:
    write_floor(tmp_path, Floor(time_s=7.0, versions={"root": 3}))
    first = tmp_path / "floor.json"
    first.write_bytes(first.read_bytes().replace(b"root", b"\xffoot"))
    assert read_floor(tmp_path).versions == {"root": 3}


def test_an_accepted_document_with_a_flipped_bit_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "accepted.json").write_bytes(b'{"desired_sha256":"\xff"}')
    assert AcceptedDesired.load(tmp_path / "accepted.json") is None


def test_a_signed_document_of_torn_text_is_refused_by_name() -> None:
    client: Any = SimpleNamespace(
        target_sha256=lambda _: "", target_bytes=lambda _: b'{"fleet":"\xff"}'
    )
    with pytest.raises(TargetUnreadable):
        accept_desired(client, "oslo")
