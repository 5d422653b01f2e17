"""Walks through a running fleet, each as the people walk it whom it is for."""

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_a_file_in_the_intake_is_handled_and_its_bytes_are_kept_nowhere_else(
    fleet: Any, wait_for: Any
) -> None:
    intake = fleet.folder / "intake"
    markers: dict[Path, bytes] = {}
    for site in ("oslo", "bergen"):
        for number in range(3):
            marker = os.urandom(32)
            half = intake / site / f".{number}.part"
            half.write_bytes(b"a scan, and in it " + marker)
            half.rename(intake / site / f"{number}.bin")
            markers[intake / site / f"{number}.bin"] = marker

    def handled() -> list[Path]:
        return [path for path in intake.glob("*/*/**/*.bin") if ".work" not in path.parts]

    wait_for(lambda: len(handled()) == len(markers), "the end of every file")
    assert {path.relative_to(intake).parts[1] for path in handled()} == {"done"}
    assert {path.read_bytes()[-32:] for path in handled()} == set(markers.values())
    kept = [path for path in (fleet.folder / ".skerry").rglob("*") if path.is_file()]
    assert any(path.name == "outbox.db" for path in kept)
    for path in kept:
        content = path.read_bytes()
        assert not [marker for marker in markers.values() if marker in content], path
