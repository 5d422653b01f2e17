"""`skerry trust`: make a fleet's first keys, let machines in."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next


@click.group("trust")
def command() -> None:
    """Make a fleet's first keys, and let machines in."""


@command.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("founding"),
    show_default=True,
    help="Folder for keys and state folders.",
)
@click.option("--operator", default="operator", show_default=True, help="Your name, a-z and 0-9.")
@click.option(
    "--listen",
    default="127.0.0.1",
    show_default=True,
    help="Address that central and regions listen on; 0.0.0.0 for real machines.",
)
@click.option(
    "--central-address",
    default="",
    show_default="the fleet's domain",
    help="Name or address that regions and you dial for central.",
)
@click.option("--passphrase", is_flag=True, help="Ask for one, and seal the offline keys with it.")
@folder_option
@json_option
def init(
    out: Path,
    operator: str,
    listen: str,
    central_address: str,
    passphrase: bool,
    folder: Path,
    as_json: bool,
) -> None:
    """Make a fleet's keys, and a state folder to carry to each machine.

    Run it on a machine that is off otherwise. What exists is kept, what is missing is
    added, so it also serves when the fleet file gets a new region.
    """
    from skerry.base.clock import SystemClock
    from skerry.fleet.load import load_fleet
    from skerry.local.found import found

    secret = None
    if passphrase:
        secret = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    made = found(
        load_fleet(folder),
        folder,
        out,
        operator=operator,
        listen=listen,
        central_address=central_address,
        passphrase=secret,
        clock=SystemClock(),
    )
    say(f"{made.trust.folder}  offline keys: for a machine that is off, with a copy elsewhere")
    say(f"{made.central}  to central's machine: skerry up --role central --state central")
    for region, state in made.regions.items():
        say(f"{state}  to {region}'s machine: skerry up --role region --state {region}")
    say_next("skerry trust ticket SITE/1   (once central and the region run)")


@command.command()
@click.argument("node", metavar="SITE/NUMBER")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("ticket.json"),
    show_default=True,
    help="File to write, readable by you only.",
)
@click.option(
    "--minutes",
    type=click.IntRange(1, 10_080),
    default=15,
    show_default=True,
    help="How long the ticket works.",
)
@folder_option
@json_option
def ticket(node: str, out: Path, minutes: int, folder: Path, as_json: bool) -> None:
    """Make a join ticket for one node: it says where to go and whom to trust, and works once."""
    import msgspec

    from skerry.base.files import write_private
    from skerry.base.units import SECONDS_PER_MINUTE
    from skerry.fleet.load import load_fleet

    site_name, _, number = node.partition("/")
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise UsageError(f"{node!r} is no node", "write SITE/NUMBER, for example oslo/3")
    fleet = load_fleet(folder)
    try:
        site = fleet.site(site_name)
    except KeyError:
        known = ", ".join(one.name for one in fleet.sites)
        raise UsageError(f"the fleet file has no site {site_name!r}", f"it has {known}") from None
    region = reach(folder).region(site.region)
    made = region.ticket(site.name, int(number), life_s=minutes * SECONDS_PER_MINUTE)
    made = msgspec.structs.replace(made, fleet=fleet.name, tier=site.tier)
    write_private(out, msgspec.json.encode(made))
    if as_json:  # never the token itself: output ends up in logs
        print_json(
            "trust-ticket", {"node": node, "path": str(out), "ends_unix_s": made.ends_unix_s}
        )
    say(f"{out} lets one machine in as {node}, once, within {minutes} min; keep it secret")
    say_next(f"skerry join --ticket {out} --state FOLDER   (on that machine)")
