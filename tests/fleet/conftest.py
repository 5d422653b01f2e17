"""A small fleet to change, and ways to change it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.fleet.load import load_fleet
from skerry.schema.fleet import Fleet
from skerry.schema.lock import FleetLock, write_lock

EXAMPLE = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"
Edit = tuple[str, str]


@pytest.fixture
def clinic_with(tmp_path: Path) -> Callable[..., Fleet]:
    """Return a function that loads the example with texts replaced, models in the lock."""

    def load(*edits: Edit, locked: bool = True) -> Fleet:
        text = EXAMPLE.read_text()
        for old, new in edits:
            assert old in text, old
            text = text.replace(old, new, 1)
        (tmp_path / "fleet.yaml").write_text(text)
        if locked:
            lock = FleetLock()
            for version in (1, 2):
                for name in ("magika", "magika-small"):
                    lock = lock.with_model(name, version, f"{name}-{version}".ljust(64, "0"))
            write_lock(tmp_path, lock)
        return load_fleet(tmp_path / "fleet.yaml")

    return load


@pytest.fixture
def clinic(clinic_with: Callable[..., Fleet]) -> Fleet:
    """The example, with both models in its lock."""
    return clinic_with()
