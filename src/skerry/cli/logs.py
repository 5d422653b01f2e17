"""`skerry logs`: events of the fleet, oldest first."""

import time
from pathlib import Path

import click

from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say

FOLLOW_S = 1.0


@click.command("logs")
@folder_option
@click.option("--site", default="", help="Only this site.")
@click.option("--kind", default="", help="Only this kind, for example release.reverted.")
@click.option("--last", type=click.IntRange(1), default=50, show_default=True, help="How many.")
@click.option("--follow", is_flag=True, help="Go on as they come, until Ctrl-C.")
@json_option
def command(folder: Path, site: str, kind: str, last: int, follow: bool, as_json: bool) -> None:
    """Show what happened: swaps, reverts, refusals, renewals."""
    from skerry.schema.api import StoredEvent

    central = reach(folder).central
    events = central.events(site=site, kind=kind)
    shown = events[-last:]
    if as_json:
        print_json("logs", {"events": shown})
        return

    def show(stored: StoredEvent) -> None:
        event = stored.event
        at = time.strftime("%H:%M:%S", time.gmtime(event.at_unix_ms / 1000))
        click.echo(f"{at}Z  {event.node or event.site or 'central':<14} {event.kind}  {event.text}")

    for stored in shown:
        show(stored)
    if not shown:
        say("No event so far.")
    after = events[-1].n if events else 0
    while follow:
        time.sleep(FOLLOW_S)
        for stored in central.events(after=after, site=site, kind=kind):
            show(stored)
            after = stored.n
