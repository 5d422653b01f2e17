"""`skerry custody events`: what a node's tamper sensors told, checked for what was changed."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import UsageError
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skerry.schema.tamper import SignedTamperEvent


@click.command()
@click.argument("node", metavar="SITE/NUMBER")
@click.option(
    "--state",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="State folder of the node, from a machine in your hands, instead of what central has.",
)
@folder_option
@json_option
def events(node: str, state: Path | None, folder: Path, as_json: bool) -> None:
    """Show what a node's tamper sensors told, and check that nothing was changed or cut out.

    Exits 6 where something was, and names the event; what stands before it holds.
    """
    from skerry.trust.tamper_events import check_events

    found = []
    for series in _series(_on_disk(node, state) if state else _at_central(node, folder)):
        found += check_events(series, node=node)
    if not found:
        raise UsageError(f"{node} told nothing", "has it sensors, and has it been in touch?")
    if as_json:
        print_json("custody-events", {"node": node, "events": found})
        return
    print_table(
        ("n", "when", "event", "sensor", "about", "window", "text"),
        [
            (
                str(event.n),
                time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event.at_unix_ms / 1000)),
                event.word.value,
                event.sensor,
                event.about,
                event.window[:12],
                event.text,
            )
            for event in found
        ],
    )
    say(f"{len(found)} events of {node}, each signed, none missing in between")


def _at_central(node: str, folder: Path) -> "Iterable[SignedTamperEvent]":
    """Return what the node sent, as it came."""
    import msgspec

    from skerry.schema.tamper import SignedTamperEvent

    site = node.partition("/")[0]
    for stored in reach(folder).central.events(site=site, kind="tamper"):
        if stored.event.node == node:
            text = str(stored.event.detail.get("signed", ""))
            try:
                yield msgspec.json.decode(text, type=SignedTamperEvent)
            except msgspec.DecodeError:  # it is checked, and then named
                yield SignedTamperEvent(payload=b"", signature=b"")


def _on_disk(node: str, state: Path) -> "Iterable[SignedTamperEvent]":
    """Return what lies in the node's own journal, without writing there."""
    from skerry.node.folder import NodeFolder
    from skerry.trust.tamper_journal import read_journal

    return read_journal(NodeFolder(state).tamper)


def _series(signed: "Iterable[SignedTamperEvent]") -> "list[list[SignedTamperEvent]]":
    """Split what came: a machine that took a dead one's place counts from 1 again."""
    from skerry.trust.tamper_events import read_event

    found: list[list[tuple[int, SignedTamperEvent]]] = []
    for one in signed:
        n = read_event(one).n
        again = bool(found) and any(n == m and one == other for m, other in found[-1])
        if not found or (n == 1 and not again):
            found.append([])
        if not again:  # it was sent twice
            found[-1].append((n, one))
    return [[one for _, one in sorted(part, key=lambda pair: pair[0])] for part in found]
