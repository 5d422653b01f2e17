"""`skerry trust rotate` and `renew`: ask for other keys, or for another life, in a signing file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import UsageError
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next
from skerry.cli.trust_secret import ask_secret

if TYPE_CHECKING:
    from skerry.trust.ceremony import SigningFile
    from skerry.trust.ceremony_keys import Holder

ROLES = ("root", "targets", "models", "canary", "desired", "snapshot", "timestamp")
ONLINE = ("desired", "snapshot", "timestamp")

out_option = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    show_default="keys-<root version>.signing.json",
    help="The signing file to write.",
)


@click.command("rotate")
@click.argument(
    "roles", metavar="ROLE...", nargs=-1, required=True, type=click.Choice((*ROLES, "online"))
)
@click.option("--holder", default="", help="Make a new key for this holder here, in --keys.")
@click.option(
    "--keys",
    "key_folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=None,
    help="Key folder of --holder.",
)
@click.option(
    "--add",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    default=None,
    help="holder.json of who gets a place, or has a new key.",
)
@click.option("--remove", default="", help="Name of a holder who loses the place.")
@click.option("--threshold", type=click.IntRange(1, 64), default=None, help="Signatures wanted.")
@out_option
@folder_option
@json_option
def rotate(
    roles: tuple[str, ...],
    holder: str,
    key_folder: Path | None,
    add: Path | None,
    remove: str,
    threshold: int | None,
    out: Path | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Offer other keys for ROLE...: in, out, replaced, or another threshold.

    For `desired`, `snapshot` and `timestamp` (together: `online`) central makes fresh keys, and
    signs with them from the moment that the file is published.
    """
    from skerry.base.clock import SystemClock
    from skerry.client.signing import fetch_published
    from skerry.trust.ceremony_changes import Rotation, rotation, successors_of
    from skerry.trust.ceremony_keys import read_holder

    if "online" in roles:
        roles = (*(role for role in roles if role not in (*ONLINE, "online")), *ONLINE)
    offline = [role for role in roles if role not in ONLINE]
    if holder and (add or key_folder is None):
        raise UsageError(
            "--holder makes a key here",
            "name the folder with --keys; --add takes one made elsewhere",
        )
    fleet_reach = reach(folder)
    new = read_holder(add) if add else None
    if holder and key_folder is not None:
        new = _renewed(key_folder, holder, offline)
    change = Rotation(roles=tuple(roles), add=new, remove=remove, threshold=threshold)
    central = fleet_reach.central
    published = fetch_published(central)
    online = central.make_successors(successors_of(change)) if successors_of(change) else None
    file = rotation(
        fleet_reach.domain, published, change, now_unix_s=SystemClock().unix_s(), online=online
    )
    _write(file, out, as_json)


@click.command("renew")
@click.argument("roles", metavar="ROLE...", nargs=-1, required=True, type=click.Choice(ROLES[:4]))
@click.option(
    "--withdraw",
    metavar="PATH",
    multiple=True,
    help="Leave a signed file out, for example prod/model/magika/3.json; with one ROLE.",
)
@out_option
@folder_option
@json_option
def renew(
    roles: tuple[str, ...],
    withdraw: tuple[str, ...],
    out: Path | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Offer offline ROLE... for another life before it ends, unchanged or with files left out."""
    from skerry.base.clock import SystemClock
    from skerry.client.signing import fetch_published
    from skerry.trust.ceremony_changes import release, renewal

    if withdraw and roles not in (("models",), ("canary",)):
        raise UsageError("files are withdrawn from one role", "say models or canary, alone")
    fleet_reach = reach(folder)
    published = fetch_published(fleet_reach.central)
    fleet, now = fleet_reach.domain, SystemClock().unix_s()
    file = (
        release(
            *(fleet, published, roles[0], {}),
            withdraw=withdraw,
            now_unix_s=now,
            why=f"withdraw {', '.join(withdraw)}",
        )
        if withdraw
        else renewal(fleet, published, roles, now_unix_s=now)
    )
    _write(file, out, as_json)


def _renewed(folder: Path, holder: str, roles: list[str]) -> "Holder":
    """Make new keys in a folder that is at hand."""
    from skerry.trust.ceremony_keys import sealed_by
    from skerry.trust.roles import OfflineKeys

    secret = ask_secret(folder, sealed_by(folder))
    keys = OfflineKeys.load(folder, passphrase=secret)
    if keys.holder != holder:
        raise UsageError(f"{folder} holds the keys of {keys.holder}", f"wanted those of {holder}")
    for role in roles:
        keys.renew_key(role, passphrase=secret)
    return keys.public_holder()


def _write(file: "SigningFile", out: Path | None, as_json: bool) -> None:
    from skerry.base.files import write_atomic
    from skerry.trust import ceremony
    from skerry.trust.ceremony_show import changes

    path = out or Path(f"keys-{len(file.published.roots)}.signing.json")
    write_atomic(path, ceremony.write_signing(file))
    lines = changes(file)
    if as_json:
        print_json("trust-signing", {"file": str(path), "changes": lines})
    else:
        for line in lines:
            click.echo(line)
    for one in ceremony.wanted(file):
        say(f"  {one}")
    say(f"{path}  to be signed; it holds no secret and may travel by mail or stick")
    say_next(f"skerry trust sign {path} --keys FOLDER   (each holder)")
