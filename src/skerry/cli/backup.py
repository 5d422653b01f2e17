"""`skerry backup`: copy central, a region or the fleet's keys into one file, and bring it back."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.cli.output import json_option, print_json, say, say_next

if TYPE_CHECKING:
    from skerry.schema.backup import BackupFile


@click.group("backup")
def command() -> None:
    """Copy central, a region or the fleet's keys into one sealed file, and bring it back."""


_passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File whose first line is the passphrase; asked for without it.",
)
_file = click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))


@command.command()
@click.argument("state", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write; it must not be there yet.",
)
@_passphrase_option
@click.option("--plain", is_flag=True, help="Do not seal it: only for a medium that is encrypted.")
@click.option(
    "--blobs/--no-blobs",
    default=True,
    show_default=True,
    help="With model bytes, or without: they can be added again from where models come from.",
)
@json_option
def make(
    state: Path, out: Path, passphrase_file: Path | None, plain: bool, blobs: bool, as_json: bool
) -> None:
    """Copy a STATE folder of central, a region or the keys; the process may run meanwhile."""
    from skerry.base.clock import SystemClock
    from skerry.local.backup import make_backup

    secret = None if plain else _secret(passphrase_file, confirm=True)
    made = make_backup(state, out, passphrase=secret, clock=SystemClock(), blobs=blobs)
    if as_json:
        print_json("backup", {"file": str(out), "manifest": made})
    say(f"{out}: {made.of.value}, {len(made.files)} files, {_megabytes(made.files)}")
    if made.running:
        say("It ran meanwhile: records that its message server still held are not in it.")
    say_next(f"skerry backup verify {out}")


@command.command()
@_file
@_passphrase_option
@json_option
def verify(file: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Read a backup FILE to its end and check every byte of it."""
    from skerry.local.backup import needs_passphrase, verify_backup

    secret = _secret(passphrase_file) if needs_passphrase(file) else None
    found = verify_backup(file, passphrase=secret)
    if as_json:
        print_json("backup", {"file": str(file), "manifest": found})
    say(
        f"{file} is whole: {found.of.value} of {found.fleet or 'a fleet'}, {len(found.files)} files"
    )
    say_next(f"skerry backup restore {file} --state NEW-FOLDER")


@command.command()
@_file
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to restore into: absent or empty.",
)
@click.option(
    "--mirror",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A region's `mirror` folder, for what was signed after the backup.",
)
@_passphrase_option
@json_option
def restore(
    file: Path, state: Path, mirror: Path | None, passphrase_file: Path | None, as_json: bool
) -> None:
    """Unpack a backup FILE; a restored central counts on above what nodes have seen."""
    from skerry.base.clock import SystemClock
    from skerry.local.backup import needs_passphrase
    from skerry.local.restore import restore as bring_back

    secret = _secret(passphrase_file) if needs_passphrase(file) else None
    found = bring_back(file, state, passphrase=secret, clock=SystemClock(), mirror=mirror)
    if as_json:
        print_json("backup", {"state": str(state), "manifest": found})
    say(f"{state}: {found.of.value}, {len(found.files)} files")
    if found.of.value in ("central", "region"):
        say_next(f"skerry up --role {found.of.value} --state {state}")


def _secret(file: Path | None, *, confirm: bool = False) -> str:
    if file is not None:
        return file.read_text().partition("\n")[0]
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))


def _megabytes(files: "dict[str, BackupFile]") -> str:
    return f"{sum(one.size_bytes for one in files.values()) / 1e6:.1f} MB"
