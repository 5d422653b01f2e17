"""`skerry custody`: who had a machine, from the factory to the scrap heap, signed."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import UsageError
from skerry.cli.custody_book import book_option, open_book, signers
from skerry.cli.custody_events import events
from skerry.cli.custody_write import add, sign, window
from skerry.cli.folders import folder_option
from skerry.cli.output import json_option, print_json, print_table, say, say_next

if TYPE_CHECKING:
    from skerry.schema.custody import SignedEntry
    from skerry.trust.custody import Custody


@click.group("custody")
def command() -> None:
    """Say who had a machine, from the factory to the scrap heap, and prove it."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A chain as it was read, and what it says."""

    chain: "list[SignedEntry]"
    custody: "Custody"


def _read(machine: str, file: Path | None, book: Path | None, folder: Path) -> _Read:
    from skerry.trust.custody import judge
    from skerry.trust.custody_errors import CustodyFileError
    from skerry.trust.custody_sign import read_chain

    chain = read_chain(file) if file else open_book(book, folder).chain(machine)
    if not chain:
        raise CustodyFileError(machine or str(file), "has no entry")
    return _Read(chain, judge(chain, signers(folder)))


file_option = click.option(
    "--file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="A chain that was exported, instead of a book's.",
)


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--passphrase", is_flag=True, help="Ask for one, and seal the key with it.")
@json_option
def key(file: Path, passphrase: bool, as_json: bool) -> None:
    """Make a signing key of your own in FILE, and print what the fleet file has to say of it."""
    from skerry.trust.custody_sign import new_signing_key

    secret = None
    if passphrase:
        secret = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    public = new_signing_key(file, secret)
    if as_json:
        print_json("custody-key", {"file": str(file), "key": public})
    else:
        click.echo(public)
    say(f"{file} is your signature: keep it to yourself, with a copy elsewhere")
    say("Below trust.custody.signers of the fleet file stand your name, this key and what you may.")


@command.command()
@click.argument("machine", default="")
@file_option
@book_option
@folder_option
@json_option
def show(machine: str, file: Path | None, book: Path | None, folder: Path, as_json: bool) -> None:
    """Show a MACHINE's chain, or every machine that has one."""
    if not machine and file is None:
        machines = open_book(book, folder).machines()
        if as_json:
            print_json("custody-machines", {"machines": machines})
            return
        for name in machines:
            click.echo(name)
        say(f"{len(machines)} machines have papers")
        return
    found = _read(machine, file, book, folder)
    custody = found.custody
    if as_json:
        print_json("custody", {"custody": custody})
        return
    bad = {gap.number for gap in custody.gaps}
    print_table(
        ("", "entry", "when", "step", "giver", "taker", "place", "seals", "badge"),
        [
            (
                "✗" if entry.number in bad else "",
                str(entry.number),
                _when(entry.at_unix_s),
                entry.step.value,
                entry.giver,
                entry.taker,
                entry.place,
                ", ".join(entry.seals_left),
                entry.badge,
            )
            for entry in custody.entries
        ],
    )
    say(f"{custody.machine} is {custody.where} {custody.place}, held by {custody.holder}".rstrip())
    for gap in custody.gaps:
        say(f"CUSTODY_BROKEN: {gap}")


@command.command()
@click.argument("machine", default="")
@file_option
@book_option
@folder_option
@json_option
def verify(machine: str, file: Path | None, book: Path | None, folder: Path, as_json: bool) -> None:
    """Check a MACHINE's chain against the signers of the fleet file; needs no network for a file.

    Exits 6 where it is broken, and names the step.
    """
    from skerry.trust.custody_errors import CustodyBrokenError

    custody = _read(machine, file, book, folder).custody
    if as_json:
        print_json("custody-verify", {"whole": custody.whole, "custody": custody})
    if not custody.whole:
        raise CustodyBrokenError(custody.machine, "; ".join(str(gap) for gap in custody.gaps))
    say(
        f"{custody.machine}: {len(custody.entries)} entries, whole; "
        f"{custody.where} {custody.place}, seals {', '.join(custody.seals) or 'none'}"
    )


@command.command()
@click.argument("machine")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write; `--file` of show and verify reads it.",
)
@book_option
@folder_option
def export(machine: str, out: Path, book: Path | None, folder: Path) -> None:
    """Write a MACHINE's chain into a file, to be read and verified anywhere."""
    from skerry.base.files import write_atomic
    from skerry.trust.custody_sign import to_lines

    chain = open_book(book, folder).chain(machine)
    if not chain:
        raise UsageError(f"{machine} has no entry", "skerry custody show lists those that have")
    write_atomic(out, to_lines(chain))
    say(f"{out}: {len(chain)} entries of {machine}")
    say_next(f"skerry custody verify --file {out}")


def _when(unix_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(unix_s))


for _verb in (add, window, sign, events):
    command.add_command(_verb)
