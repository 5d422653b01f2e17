"""Which book of custody a command means, and whose signature counts in it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.base.errors import UsageError
from skerry.cli.folders import reach
from skerry.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.schema.custody import CustodyPolicy, Signer
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


def tpm_of(machine: str, folder: Path, policy: "CustodyPolicy") -> str:
    """Return the digest of the TPM's certificate in a machine's factory record, from central.

    Says what is wrong with its papers: it will be let in, into quarantine.
    """
    from skerry.client.custody import CentralBook
    from skerry.trust.custody import judge, signers_of

    custody = judge(CentralBook(reach(folder).central).chain(machine), signers_of(policy))
    for gap in custody.gaps:
        say(f"CUSTODY_BROKEN: {gap}: it comes into quarantine only")
    stated = custody.entries[0].facts.get("ek_sha256", "") if custody.entries else ""
    if not stated:
        advice = "give it by --ek, or add a factory record with --fact ek_sha256=..."
        raise UsageError(f"no factory record at central names the TPM of {machine}", advice)
    return stated
