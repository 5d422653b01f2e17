"""`skerry trust`: make a fleet's first keys, let machines in."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import UsageError
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next
from skerry.cli.trust_ban import ban, lift, remove
from skerry.cli.trust_client_token import command as client_token
from skerry.cli.trust_explain import explain
from skerry.cli.trust_holder import holder
from skerry.cli.trust_publish import publish
from skerry.cli.trust_reference import reference
from skerry.cli.trust_rotate import renew, rotate
from skerry.cli.trust_rotate_ca import command as rotate_ca
from skerry.cli.trust_rotate_operator import command as rotate_operator
from skerry.cli.trust_secret import new_passphrase, open_keys
from skerry.cli.trust_sign import sign
from skerry.cli.trust_status import status
from skerry.cli.trust_token import token
from skerry.cli.trust_two import VERBS as TWO
from skerry.cli.trust_user import login, logout, user

if TYPE_CHECKING:
    from skerry.local.found import Holders


@click.group("trust")
def command() -> None:
    """Make a fleet's keys, sign and replace them, let machines in and cut them off."""


_VERBS = (
    holder,
    sign,
    publish,
    rotate,
    renew,
    rotate_ca,
    rotate_operator,
    client_token,
    status,
    ban,
    lift,
    remove,
    reference,
)
_PEOPLE = (user, login, logout, token, explain, *TWO)
for verb in (*_VERBS, *_PEOPLE):
    command.add_command(verb)


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
@click.option(
    "--holders",
    default="",
    help="Who signs, with commas: a NAME makes keys here, a holder.json brings them along.",
)
@click.option(
    "--threshold",
    default="",
    help="Signatures wanted, for example root=2,models=2; 1 for roles left out.",
)
@folder_option
@json_option
def init(
    out: Path,
    operator: str,
    listen: str,
    central_address: str,
    passphrase: bool,
    holders: str,
    threshold: str,
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
        holders=_holders(out, holders, threshold),
    )
    if as_json:
        print_json(
            "trust-init",
            {
                "keys": str(made.trust.folder),
                "central": str(made.central),
                "regions": {region: str(state) for region, state in made.regions.items()},
                "pending": str(made.pending or ""),
            },
        )
    say(f"{made.trust.folder}  offline keys: for a machine that is off, with a copy elsewhere")
    say(f"{made.central}  to central's machine: skerry up --role central --state central")
    for region, state in made.regions.items():
        say(f"{state}  to {region}'s machine: skerry up --role region --state {region}")
    if made.pending:
        say(f"{made.pending}  to be signed by the holders before anything is carried away")
        say_next(f"skerry trust sign {made.pending} --keys FOLDER   (each holder)")
        say(f"Then:  skerry trust publish {made.pending} --founding {out}")
        return
    say_next("skerry trust ticket SITE/1   (once central and the region run)")


def _holders(out: Path, names: str, threshold: str) -> "Holders | None":
    """Read --holders and --threshold; the keys of those who are only named are made here."""
    from skerry.base.ids import token
    from skerry.local.found import Holders, holders_folder
    from skerry.trust.ceremony_keys import read_holder
    from skerry.trust.roles import OFFLINE, OfflineKeys

    thresholds: dict[str, int] = {}
    for part in filter(None, threshold.split(",")):
        role, _, count = part.strip().partition("=")
        if role not in OFFLINE or not count.isdecimal() or int(count) < 1:
            raise UsageError(f"{part!r} is no threshold", f"write one of {', '.join(OFFLINE)}=N")
        thresholds[role] = int(count)
    if not names:
        if thresholds:
            raise UsageError("a threshold wants holders", "say --holders alice,bob,...")
        return None
    if (out / "central" / "repository").exists():
        say("the fleet is founded: its keys change by `skerry trust rotate`, not here")
        return None
    public, here = [], []
    for name in (part.strip() for part in names.split(",")):
        if name.endswith(".json"):
            public.append(read_holder(Path(name)))
            continue
        folder = holders_folder(out) / token("holder", name)
        if (folder / "root.pem").exists():
            keys = open_keys(folder)
        else:
            keys = OfflineKeys.create(folder, passphrase=new_passphrase(name), holder=name)
        here.append(keys)
        public.append(keys.public_holder())
    twice = {one.name for one in public if [two.name for two in public].count(one.name) > 1}
    if twice:
        raise UsageError(f"{min(twice)} is named twice", "each holder is one person")
    return Holders(public=public, here=here, thresholds=thresholds)


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
@click.option("--ek", default="", help="SHA-256 of a TPM's EK certificate: that machine only.")
@click.option("--machine", default="", help="Serial number: the TPM of its factory record only.")
@folder_option
@json_option
def ticket(
    node: str, out: Path, minutes: int, ek: str, machine: str, folder: Path, as_json: bool
) -> None:
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
    if machine:
        from skerry.cli.custody_book import tpm_of

        ek = tpm_of(machine, folder, fleet.trust.custody)
    region = reach(folder).region(site.region)
    made = region.ticket(site.name, int(number), life_s=minutes * SECONDS_PER_MINUTE, ek_sha256=ek)
    made = msgspec.structs.replace(made, fleet=fleet.name, tier=site.tier)
    write_private(out, msgspec.json.encode(made))
    if as_json:  # never the token itself: output ends up in logs
        print_json(
            "trust-ticket", {"node": node, "path": str(out), "ends_unix_s": made.ends_unix_s}
        )
    say(f"{out} lets one machine in as {node}, once, within {minutes} min; keep it secret")
    say_next(f"skerry join --ticket {out} --state FOLDER   (on that machine)")
