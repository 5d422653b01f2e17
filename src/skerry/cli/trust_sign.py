"""`skerry trust sign`: see what a signing file changes, then add one holder's signature."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import Exit, UsageError
from skerry.cli.output import json_option, print_json, say, say_next
from skerry.cli.trust_secret import open_keys

if TYPE_CHECKING:
    from skerry.trust.ceremony import Known, SigningFile


@click.command("sign")
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option(
    "--keys",
    "folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    required=True,
    help="Your key folder.",
)
@click.option("--yes", is_flag=True, help="Do not ask; for a change that you have read already.")
@click.option(
    "--root",
    "root_fingerprint",
    default="",
    help="Fingerprint of the fleet's first root, as told by somebody you trust; for a first use.",
)
@json_option
def sign(file: Path, folder: Path, yes: bool, root_fingerprint: str, as_json: bool) -> int:
    """Show what FILE changes, ask, and sign it with the keys in your folder.

    Needs no network. The file is written back with your signature in it.
    """
    from skerry.base.clock import SystemClock
    from skerry.base.files import write_atomic
    from skerry.trust import ceremony
    from skerry.trust.ceremony_keys import (
        HOLDER_FILE,
        public_key,
        read_anchor,
        read_holder,
        write_anchor,
    )

    asked = ceremony.read_signing(file.read_bytes())
    own = read_holder(folder / HOLDER_FILE)
    ids = {public_key(own.name, pem).keyid for pem in own.keys.values()}
    known = ceremony.check_published(asked.published, read_anchor(folder), ids)
    ceremony.check_offered(asked, SystemClock().unix_s())
    show(asked, known)
    if known is ceremony.Known.FIRST_USE and asked.published.roots:
        _check_fingerprint(asked, root_fingerprint)
    if not yes and not _agreed(own.name):
        say("Nothing was signed.")
        return Exit.INTERRUPTED
    keys = open_keys(folder)
    signed = ceremony.sign(asked, keys.all_signers(), keys.holder)
    write_atomic(file, ceremony.write_signing(signed))
    if asked.published.roots:
        write_anchor(folder, asked.published.roots[-1])
    whole = ceremony.is_complete(signed)
    if as_json:
        wanted = [
            {"role": one.standing.role, "by": one.by, "missing": one.standing.missing}
            for one in ceremony.wanted(signed)
        ]
        print_json("trust-sign", {"file": str(file), "complete": whole, "wanted": wanted})
    for one in ceremony.wanted(signed):
        say(f"  {one}")
    say_next(
        f"skerry trust publish {file}   (where central is reached)"
        if whole
        else f"skerry trust sign {file} --keys FOLDER   (another holder)"
    )
    return Exit.DONE


def show(file: "SigningFile", known: "Known") -> None:
    """Print what a file changes, and why its published part is believed."""
    from skerry.trust.ceremony import fingerprint, wanted
    from skerry.trust.ceremony_show import changes, plain

    say(f"fleet {plain(file.fleet)}: {plain(file.why)}   (its maker's words)")
    if file.published.roots:
        first = fingerprint(file.published.roots[0])
        say(f"on top of root version {len(file.published.roots)}, {known.value}")
        say(f"first root  {first}")
    else:
        say(f"a new fleet; first root  {fingerprint(file.offered['root'])}")
    for line in changes(file):
        click.echo(line)
    say("signatures")
    for one in wanted(file):
        say(f"  {plain(str(one))}")


def _check_fingerprint(file: "SigningFile", told: str) -> None:
    """A holder who never saw this fleet compares its root by voice, once."""
    from skerry.trust.ceremony import fingerprint

    wanted = fingerprint(file.published.roots[0])
    if not told:
        told = str(click.prompt("First root, as another holder reads it to you", err=True))
    if "".join(told.split()).lower() != wanted.replace(" ", ""):
        raise UsageError(
            "that is another root: this file may belong to another fleet, or be made up",
            "sign nothing until two of you read the same fingerprint",
        )


def _agreed(who: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("sign asks, and nobody can answer here", "read the change, then say --yes")
    return bool(click.confirm(f"Sign this as {who}?", default=False, err=True))
