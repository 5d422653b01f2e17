"""A bar on stderr for work that takes a while; nothing where stderr is no terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click


class Tell(Protocol):
    """Told how much is done, 0 to 1, and what is being done; called as often as one likes."""

    def __call__(self, share: float, what: str = "") -> None:
        """Move the bar to a share, 0 to 1; it never goes back."""


@contextmanager
def progress(label: str) -> Iterator[Tell]:
    """Show a bar while the block runs; give it the function to tell how far it is."""
    stream = sys.stderr
    steps = 1000
    with click.progressbar(
        range(steps),
        label=label,
        file=stream,
        hidden=not stream.isatty(),
    ) as bar:

        def tell(share: float, what: str = "") -> None:
            ahead = int(min(max(share, 0.0), 1.0) * steps) - bar.pos
            bar.label = f"{label}: {what}" if what else label
            if ahead > 0:
                bar.update(ahead)

        yield tell
