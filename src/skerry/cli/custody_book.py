"""Which book of custody a command means, and whose signature counts in it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli.folders import reach

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.schema.custody import Signer
    from skerry.trust.custody_book import Book


def book_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--book` to a command."""
    return click.option(
        "--book",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder that keeps chains; without it, central does.",
    )(function)


def signers(folder: Path) -> "Mapping[str, Signer]":
    """Return whose signature counts, by the fleet file of a folder."""
    from skerry.fleet.load import load_fleet
    from skerry.trust.custody import signers_of

    return signers_of(load_fleet(folder).trust.custody)


def open_book(book: Path | None, folder: Path) -> "Book":
    """Return the book in a folder, or central's."""
    from skerry.client.custody import CentralBook
    from skerry.trust.custody_book import FolderBook

    if book is None:
        return CentralBook(reach(folder).central)
    return FolderBook(book, signers(folder))
