"""A client that knows nothing but a folder: it puts a file there and sees where it goes."""

import itertools
import time
from pathlib import Path

from skerry.local.traffic import REQUEST_S_MAX, Answered
from skerry.pipeline.folder_source import DONE, FAILED

LOOK_S = 0.02
_numbers = itertools.count(1)


class Intake:
    """Drops files into a site's intake folder; one at a time."""

    def __init__(self, folder: Path, site: str, node: str, tier: str) -> None:
        self._folder, self._site, self._node, self._tier = folder, site, node, tier

    def ask(self, content: bytes, data_class: str) -> Answered:
        """Put one file there and wait until it has been handled."""
        name = f"{self._site}-{next(_numbers):06d}.bin"
        half = self._folder / f".{name}.part"
        half.write_bytes(content)
        half.rename(self._folder / name)
        deadline_s = time.monotonic() + REQUEST_S_MAX
        while time.monotonic() < deadline_s:
            for place in (self._folder / DONE).glob(f"*/{name}"):
                return self._answered(place.parent.name)
            if (self._folder / FAILED / name).exists():
                raise ValueError(f"{name} was refused")
            time.sleep(LOOK_S)
        raise TimeoutError(f"{name} was not handled in {REQUEST_S_MAX:g} s")

    def close(self) -> None:
        """Nothing is held."""

    def _answered(self, label: str) -> Answered:
        return Answered(
            label=label,
            served_site=self._site,
            served_node=self._node,
            served_tier=self._tier,
            model="",
            version="",
            reason="folder",
        )
