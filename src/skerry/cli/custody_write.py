"""`skerry custody add`, `window` and `sign`: entries, made and signed by two people.

Both may sign at once, or one after the other on machines of their own: an entry with one
signature is a file that travels.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.base.errors import UsageError
from skerry.base.units import SECONDS_PER_HOUR
from skerry.cli.custody_book import book_option, open_book
from skerry.cli.folders import folder_option
from skerry.cli.output import json_option, print_json, say, say_next

if TYPE_CHECKING:
    from skerry.schema.custody import CustodyEntry, SignedEntry

STEPS = (
    *("made", "shipped", "received", "installed", "visit", "badge", "seal", "opened"),
    *("repaired", "scrapped"),
)
"""What `add` takes; a window has a verb of its own."""
_path = click.Path(dir_okay=False, path_type=Path)


def hands(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add who gives, who takes, and where the entry goes."""
    for option in (
        click.option("--giver", required=True, help="Who gives; a signer of the fleet file."),
        click.option("--taker", required=True, help="Who takes; a signer of the fleet file."),
        click.option("--giver-key", type=_path, help="The giver's key file, to sign now."),
        click.option("--taker-key", type=_path, help="The taker's key file, to sign now."),
        click.option("--text", default="", help="One sentence for people."),
        click.option(
            "--out", type=_path, help="File for the entry: to be signed on, or carried to the node."
        ),
        book_option,
        folder_option,
        json_option,
    ):
        function = option(function)
    return function


@click.command()
@click.argument("machine")
@click.argument("step", type=click.Choice(STEPS))
@click.option("--place", default="", help="Where it then is: a site, or SITE/NUMBER in service.")
@click.option(
    "--found",
    default=None,
    show_default="those that were left before",
    help="Seal numbers as read off, with commas.",
)
@click.option(
    "--left", default=None, show_default="those that were found", help="Seal numbers left on it."
)
@click.option("--badge", default="", help="The badge of who came.")
@click.option("--from", "starts", default="", help="Of a visit: YYYY-MM-DDTHH:MM, UTC.")
@click.option("--to", "ends", default="", help="Of a visit: YYYY-MM-DDTHH:MM, UTC.")
@click.option("--fact", multiple=True, metavar="NAME=VALUE", help="Of a factory record.")
@hands
def add(
    machine: str,
    step: str,
    place: str,
    found: str | None,
    left: str | None,
    badge: str,
    starts: str,
    ends: str,
    fact: tuple[str, ...],
    **rest: Any,
) -> None:
    """Add a STEP of a MACHINE's life: made, shipped, received, installed, visit, and so on.

    Seals are what was on it before, unless you say what you found.
    """
    from skerry.schema.custody import Step

    facts = dict(one.partition("=")[::2] for one in fact)
    fields = {
        "step": Step(step),
        "place": place,
        "badge": badge,
        "starts_unix_s": _moment(starts),
        "ends_unix_s": _moment(ends),
        "facts": facts,
    }
    if found is not None:
        fields["seals_found"] = _seals(found)
    if left is not None:
        fields["seals_left"] = _seals(left)
    _write(machine, fields, **rest)


@click.command()
@click.argument("machine")
@click.argument("node", metavar="SITE/NUMBER")
@click.option("--from", "starts", required=True, help="YYYY-MM-DDTHH:MM, UTC.")
@click.option(
    "--hours", type=click.FloatRange(0.1, 72), default=2.0, show_default=True, help="Its length."
)
@hands
def window(machine: str, node: str, starts: str, hours: float, **rest: Any) -> None:
    """Agree on a span in which the lid of a MACHINE may be open.

    The node takes it from its region, or from a file that somebody puts into its `custody` folder.
    """
    from skerry.schema.custody import Step

    start = _moment(starts)
    fields = {
        "step": Step.WINDOW,
        "place": node,
        "starts_unix_s": start,
        "ends_unix_s": start + int(hours * SECONDS_PER_HOUR),
    }
    _write(machine, fields, **rest)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option("--as", "name", required=True, help="Your name among the signers.")
@click.option("--key", type=_path, required=True, help="Your key file.")
@book_option
@folder_option
@json_option
def sign(file: Path, name: str, key: Path, book: Path | None, folder: Path, as_json: bool) -> None:
    """Sign the entry in FILE; with both signatures on it, it is added to the chain."""
    from skerry.trust.custody_sign import entry_of, read_chain

    entries = read_chain(file)
    if len(entries) != 1:
        raise UsageError(f"{file} holds {len(entries)} entries", "sign one entry at a time")
    entry = entry_of(entries[0], str(file))
    if name not in (entry.giver, entry.taker):
        raise UsageError(
            f"{name} is neither giver nor taker", f"it waits for {entry.giver} and {entry.taker}"
        )
    say(f"{entry.machine}: {entry.step.value}, {entry.giver} to {entry.taker}, at {entry.place}")
    _settle(_signed(entries[0], name, key), file, book, folder, as_json=as_json)


def _write(
    machine: str,
    fields: dict[str, Any],
    *,
    giver: str,
    taker: str,
    giver_key: Path | None,
    taker_key: Path | None,
    text: str,
    out: Path | None,
    book: Path | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Make an entry on top of the chain, and sign it with the keys that are here."""
    from skerry.schema.custody import CustodyEntry
    from skerry.trust.custody_book import serial
    from skerry.trust.custody_sign import digest_of, draft, entry_of

    chain = open_book(book, folder).chain(serial(machine))
    on_it = entry_of(chain[-1]).seals_left if chain else ()
    found = fields.setdefault("seals_found", on_it)
    fields.setdefault("seals_left", found)
    entry = CustodyEntry(
        machine=machine,
        number=len(chain),
        previous=digest_of(chain[-1]) if chain else "",
        at_unix_s=int(time.time()),
        giver=giver,
        taker=taker,
        text=text,
        **fields,
    )
    signed = draft(entry)
    for name, key in ((giver, giver_key), (taker, taker_key)):
        if key is not None:
            signed = _signed(signed, name, key)
    if _waits_for(signed, entry) and out is None:
        raise UsageError(
            f"{' and '.join(_waits_for(signed, entry))} cannot sign without a key",
            "give both keys, or --out FILE to have the other sign it: skerry custody sign FILE",
        )
    _settle(signed, out, book, folder, as_json=as_json)


def _settle(
    signed: "SignedEntry", out: Path | None, book: Path | None, folder: Path, *, as_json: bool
) -> None:
    """Write the entry where it is wanted; with both signatures, add it to the chain too."""
    from skerry.base.files import write_atomic
    from skerry.trust.custody_sign import entry_of, to_line

    entry = entry_of(signed)
    waits = _waits_for(signed, entry)
    if not waits:
        open_book(book, folder).add(entry.machine, signed)
    if out is not None:
        write_atomic(out, to_line(signed))
    if as_json:
        print_json(
            "custody-entry", {"entry": entry, "waits_for": waits, "file": str(out) if out else ""}
        )
    if waits:
        say(f"{out} waits for the signature of {' and '.join(waits)}")
        say_next(f"skerry custody sign {out} --as {waits[0]} --key KEYFILE   (on their machine)")
    else:
        say(f"entry {entry.number} of {entry.machine}: {entry.step.value}, signed by both")
        say_next(f"skerry custody verify {entry.machine}")


def _waits_for(signed: "SignedEntry", entry: "CustodyEntry") -> list[str]:
    """Return whose signature is not on it yet."""
    there = {one.keyid for one in signed.signatures}
    return [name for name in dict.fromkeys((entry.giver, entry.taker)) if name not in there]


def _signed(signed: "SignedEntry", name: str, key: Path) -> "SignedEntry":
    """Sign with a key file, asking for its passphrase where it is sealed."""
    from skerry.trust.custody_sign import read_signing_key, signed_by

    secret = None
    if b"ENCRYPTED" in (key.read_bytes() if key.exists() else b""):
        secret = click.prompt(f"Passphrase of {name}", hide_input=True, err=True)
    return signed_by(signed, name, read_signing_key(key, secret))


def _seals(text: str) -> tuple[str, ...]:
    return tuple(seal for part in text.split(",") if (seal := part.strip()))


def _moment(text: str) -> int:
    """Return a time in seconds since 1970; 0 where none is given."""
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", "write 2027-03-01T10:00, UTC") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
