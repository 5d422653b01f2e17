"""`skerry audit`: look at the audit ledgers, check them, hand them on, erase a person."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.base.errors import Exit, SkerryError, UsageError
from skerry.cli.output import json_option, print_json, print_table, say, say_next

if TYPE_CHECKING:
    from skerry.trust.ledger_verify import Verdict

PAGE = 1000
ERASE_S_MAX = 30.0


def place_argument(command: Any) -> Any:
    """Add the argument that says whose ledgers are meant."""
    return click.argument(
        "place",
        metavar="[FOLDER]",
        type=click.Path(exists=True, path_type=Path),
        default=Path(),
    )(command)


@click.group("audit")
def command() -> None:
    """Look at audit ledgers, check them offline, hand them on, erase a person.

    FOLDER is a state folder of central, a region or a node, the folder of a fleet that runs
    here, or a copy of one; every ledger below it counts.
    """


@command.command("verify")
@click.argument("place", metavar="FILE|FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--witness",
    "witnesses",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Also hold it against this: a checkpoint file, or a witness's audit folder.",
)
@json_option
def verify(place: Path, witnesses: tuple[Path, ...], as_json: bool) -> int:
    """Check that ledgers, or an export of one, are what was written. Needs no network.

    Ends with 1 and names the first entry that cannot be trusted if one is not.
    """
    from skerry.trust.ledger_verify import verify_folder, verify_lines
    from skerry.trust.ledger_witness import seen_notes

    notes = [note for path in witnesses for note in seen_notes(path)]

    def one(path: Path) -> "Verdict":
        if path.is_file():
            with path.open("rb") as file:
                return verify_lines((line.rstrip(b"\n") for line in file), str(path))
        own = [note for note in notes if note.checkpoint.origin == _chain_of(path)]
        return verify_folder(path, witnessed=own)

    found: list[tuple[Path, Verdict | None, str]] = []
    bad = 0
    for path in [place] if place.is_file() else _ledgers(place):
        try:
            found.append((path, one(path), ""))
        except SkerryError as error:
            bad += 1
            found.append((path, None, str(error)))
    if as_json:
        rows = [
            {"path": str(path), "verdict": verdict, "problem": problem}
            for path, verdict, problem in found
        ]
        print_json("audit-verify", {"ledgers": rows, "bad": bad})
    for path, verdict, problem in found:
        if verdict is None:
            say(f"BAD  {problem}")
        elif not as_json:
            click.echo(f"ok   {path}  {_told(verdict)}")
    return int(Exit.BAD_OUTCOME if bad else Exit.DONE)


def _told(verdict: "Verdict") -> str:
    words = f"{verdict.entries} entries"
    if verdict.checkpoints:
        words += f", {verdict.signed} of them signed"
    if verdict.witnessed:
        words += f", {verdict.witnessed} as a witness saw them"
    for first, last in verdict.gaps:
        words += f", {first} to {last} not in this export"
    return words


@command.command("show")
@place_argument
@click.option("--kind", default="", help="Only this kind: ban, join, apply, tamper, ...")
@click.option("--actor", default="", help="Only what this actor did; a part of the name is enough.")
@click.option("--last", type=click.IntRange(1), default=50, show_default=True, help="How many.")
@click.option("--personal", is_flag=True, help="Show personal fields in the clear.")
@json_option
def show(place: Path, kind: str, actor: str, last: int, personal: bool, as_json: bool) -> None:
    """Show who did what to what, oldest first."""
    from skerry.trust.ledger_ocsf import event_of, sealed_of
    from skerry.trust.ledger_people import People

    found: list[dict[str, Any]] = []
    for folder in _ledgers(place):
        people = People(folder) if personal else None
        for chain, entry in _entries(folder):
            event, at_unix_ms = event_of(entry.body)
            if (kind and event.kind != kind) or actor not in event.actor:
                continue
            row: dict[str, Any] = {
                "at_unix_ms": at_unix_ms,
                "chain": chain,
                "seq": entry.seq,
                "event": event,
            }
            sealed = sealed_of(entry.body)
            if people and sealed:
                clear = people.open(sealed, chain=chain, seq=entry.seq)
                row["personal"] = "erased" if clear is None else clear
            found.append(row)
    found.sort(key=lambda row: (row["at_unix_ms"], row["chain"], row["seq"]))
    found = found[-last:]
    if as_json:
        print_json("audit-show", {"entries": found})
        return
    rows = []
    for row in found:
        event = row["event"]
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row["at_unix_ms"] / 1000))
        told = [event.target.removeprefix("spiffe://"), event.reason, event.text]
        told += [str(row["personal"])] if "personal" in row else []
        who = event.actor.removeprefix("spiffe://")
        what = "; ".join(part for part in told if part)
        rows.append((when, row["chain"], str(row["seq"]), event.kind, event.outcome, who, what))
    print_table(("UTC", "ledger", "seq", "kind", "outcome", "actor", "what"), rows)


@command.command("export")
@place_argument
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File; else to stdout."
)
@click.option("--after", type=click.IntRange(0), default=0, help="Only entries after this number.")
def export(place: Path, out: Path | None, after: int) -> None:
    """Write a ledger as OCSF events, one JSON line each; `verify` checks the file again."""
    from skerry.trust.ledger_ocsf import line_of
    from skerry.trust.ledger_store import LedgerStore

    (folder,) = _only_one(_ledgers(place))
    store, count = LedgerStore(folder, writable=False), 0
    previous = store.previous(after + 1)
    with click.open_file(str(out or "-"), "wb") as file:
        for chain, entry in _entries(folder, after):
            line = line_of(
                entry.body, chain=chain, seq=entry.seq, previous=previous, leaf=entry.leaf
            )
            file.write(line + b"\n")
            previous, count = entry.leaf, count + 1
    store.close()
    say(f"{count} entries of {store.origin}")
    if out:
        say_next(f"skerry audit verify {out}")


@command.command("erase")
@click.argument("person")
@place_argument
@click.option("--actor", default="", help="Who asks for it.", show_default="your user name")
@click.option("--reason", default="", help="Why, for the record of it; no personal facts here.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def erase(person: str, place: Path, actor: str, reason: str, yes: bool, as_json: bool) -> None:
    """Throw away the key that a person's facts are encrypted with, in every ledger below FOLDER.

    The erasure itself is noted first; the chain stays whole. It cannot be undone. Where the fleet
    wants two people for it, central and regions do it: skerry trust erase.
    """
    import getpass

    from skerry.trust.ledger_people import People

    folders = _ledgers(place)
    for folder in folders:
        check_alone(folder)
    if not yes:
        question = f"Erase {person!r} from {len(folders)} ledgers for ever?"
        click.confirm(question, abort=True, err=True)
    done = []
    for folder in folders:
        people = People(folder)
        if people.ask(person, actor=actor or getpass.getuser(), reason=reason):
            _wait_erased(folder, people)
            done.append(str(folder))
        people.close()
    if as_json:
        print_json("audit-erase", {"ledgers": done})
    say(f"erased from {len(done)} of {len(folders)} ledgers")


def check_alone(folder: Path) -> None:
    """Refuse where the fleet of a ledger's state folder wants two people for an erasure."""
    from skerry.schema.access import Action
    from skerry.trust.access_channel import policies_on_disk
    from skerry.trust.access_errors import AloneError

    for document in policies_on_disk(folder.parent):
        if document.people and Action.ERASE_AUDIT in document.two_person:
            raise AloneError(str(folder))


def _wait_erased(folder: Path, people: Any) -> None:
    """Let the ledger's own process do it; where none runs, do it here."""
    from skerry.base.clock import SystemClock
    from skerry.base.files import FolderBusyError, FolderLock
    from skerry.trust.ledger import open_ledger

    until_s = time.monotonic() + ERASE_S_MAX
    while people.asked():
        try:
            with FolderLock(folder.parent):
                name = _chain_of(folder).rpartition("/")[0]
                open_ledger(folder, name, SystemClock()).close()
        except FolderBusyError as error:
            if time.monotonic() > until_s:
                raise UsageError(
                    f"process {error.holder} has not erased it in {ERASE_S_MAX:g} s",
                    "it is asked for and will be done; look again with: skerry audit show",
                ) from error
            time.sleep(0.2)


def _ledgers(place: Path) -> list[Path]:
    """Return the folders of all ledgers below a place."""
    from skerry.trust.ledger_store import LEDGER_FILE

    found = sorted(
        path.parent
        for path in place.rglob(LEDGER_FILE)
        if not path.parent.name.startswith("tampered-") or path.parent == place
    )
    if not found:
        raise UsageError(f"there is no audit ledger below {place}", "name a state folder")
    return found


def _only_one(folders: list[Path]) -> list[Path]:
    if len(folders) != 1:
        names = ", ".join(str(folder) for folder in folders)
        raise UsageError(f"there are {len(folders)} ledgers", f"name one of them: {names}")
    return folders


def _chain_of(folder: Path) -> str:
    from skerry.trust.ledger_store import LedgerStore

    store = LedgerStore(folder, writable=False)
    store.close()
    return store.origin


def _entries(folder: Path, after: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield chain and entry, in order."""
    from skerry.trust.ledger_store import LedgerStore

    store = LedgerStore(folder, writable=False)
    while page := store.entries(after, PAGE):
        for entry in page:
            yield store.origin, entry
        after = page[-1].seq
    store.close()
