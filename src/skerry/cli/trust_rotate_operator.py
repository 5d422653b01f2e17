"""`skerry trust rotate-operator`: other NATS keys for everybody but nodes, while all goes on."""

import time
from pathlib import Path

import click

from skerry.base.errors import Exit
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next

LOOK_S = 2.0


@click.command("rotate-operator")
@click.option(
    "--keys",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the fleet's first keys, with nats/; beside the offline keys by default.",
)
@click.option(
    "--restart", is_flag=True, help="Let servers start anew that do not know the next key yet."
)
@click.option(
    "--stolen", is_flag=True, help="Trust none of the keys known so far; servers start anew."
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 86_400),
    default=0.0,
    show_default=True,
    help="Seconds to wait for everybody before giving back the prompt.",
)
@folder_option
@json_option
def command(
    keys: Path | None, restart: bool, stolen: bool, wait_s: float, folder: Path, as_json: bool
) -> int:
    """Change the NATS operator's key, the accounts' keys and the logins of central and regions.

    New logins are used before old ones are revoked; no stream drops. Stop it anywhere; the same
    command goes on. Exits 7 while somebody is missing.

    Example:  skerry trust rotate-operator --wait 60
    """
    from skerry.base.clock import SystemClock
    from skerry.central.bootstrap import TrustSet
    from skerry.fleet.load import load_fleet
    from skerry.local.rotate_operator import OperatorChange

    place = reach(folder)
    change = OperatorChange(
        trust=TrustSet(keys or place.offline.parent, load_fleet(folder).name, place.domain),
        central=lambda: reach(folder).central,
        regions={
            name: lambda name=name: reach(folder).region(name)  # type: ignore[misc]
            for name in place.region_urls
        },
        clock=SystemClock(),
    )
    until_s = time.monotonic() + wait_s
    standing = change.go_on(restart=restart, stolen=stolen)
    while standing.waiting and not standing.unknowing and time.monotonic() < until_s:
        time.sleep(LOOK_S)
        standing = change.go_on(restart=restart, stolen=stolen)
    if as_json:
        print_json(
            "trust-rotate-operator", {"step": standing.step, "waiting": list(standing.waiting)}
        )
    if standing.unknowing:
        say(f"the servers of {', '.join(standing.unknowing)} do not know the next key yet")
        say_next("start them again when it suits, or: skerry trust rotate-operator --restart")
        return int(Exit.TIMED_OUT)
    if standing.waiting:
        say(f"{standing.step}: not yet taken by {', '.join(standing.waiting)}")
        say_next("skerry trust rotate-operator   (again, once they answer)")
        return int(Exit.TIMED_OUT)
    say("operator, accounts and logins have other keys; what was before is refused")
    say_next("docs/how-to/back-up-keys.md   (the folder nats/ has changed)")
    return 0
