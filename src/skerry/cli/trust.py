"""`skerry trust`: let machines in."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.folders import folder_option, running
from skerry.cli.output import say, say_next


@click.group("trust")
def command() -> None:
    """Let machines into the fleet."""


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
def ticket(node: str, out: Path, minutes: int, folder: Path) -> None:
    """Make a join ticket for one node: it says where to go and whom to trust, and works once."""
    import msgspec

    from skerry.base.files import write_private
    from skerry.base.units import SECONDS_PER_MINUTE
    from skerry.fleet.load import load_fleet
    from skerry.local.up import operator_of
    from skerry.trust.spiffe import region_id

    site_name, _, number = node.partition("/")
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise UsageError(f"{node!r} is no node", "write SITE/NUMBER, for example oslo/3")
    local, run = running(folder)
    fleet = load_fleet(folder)
    try:
        site = fleet.site(site_name)
    except KeyError:
        known = ", ".join(one.name for one in fleet.sites)
        raise UsageError(f"the fleet file has no site {site_name!r}", f"it has {known}") from None
    region = operator_of(
        local,
        run.domain,
        run.regions[site.region].url,
        host=region_id(run.domain, site.region).host,
    )
    made = region.ticket(site.name, int(number), life_s=minutes * SECONDS_PER_MINUTE)
    made = msgspec.structs.replace(made, fleet=fleet.name, tier=site.tier)
    write_private(out, msgspec.json.encode(made))
    say(f"{out} lets one machine in as {node}, once, within {minutes} min; keep it secret")
    say_next(f"skerry join --ticket {out} --state FOLDER   (on that machine)")
