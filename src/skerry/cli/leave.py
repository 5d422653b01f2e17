"""`skerry leave`: take skerry off a machine, keys first."""

from pathlib import Path

import click

from skerry.base.errors import Exit
from skerry.cli.output import json_option, print_json, say


@click.command("leave")
@click.option(
    "--state",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="State folder of the node, region or central that leaves.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def command(state: Path, yes: bool, as_json: bool) -> int:
    """Overwrite the keys of a state folder and remove it; the process must be stopped.

    Says first what is lost with it: records that were not delivered, an authority, the
    only copy of something. The program itself is removed as it was installed.
    """
    from skerry.local.leave import leave, survey

    found = survey(state)
    for line in found.losses:
        say(f"lost with it: {line}")
    if not yes and not click.confirm(f"Remove {state} with {found.keys} keys?", err=True):
        say("nothing was changed")
        return Exit.INTERRUPTED
    leave(state)
    if as_json:
        print_json("leave", {"state": str(state), "keys": found.keys, "losses": found.losses})
    say(f"{state} is gone, its {found.keys} keys were overwritten first")
    return Exit.DONE
