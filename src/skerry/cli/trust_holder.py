"""`skerry trust holder`: make a key holder's keys, on that person's own machine."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.output import json_option, print_json, say, say_next
from skerry.cli.trust_secret import ask_secret, new_passphrase

ROLES = ("root", "targets", "models", "canary")


@click.command("holder")
@click.argument("name")
@click.option(
    "--keys",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    show_default="./NAME",
    help="Key folder, for example on a USB stick.",
)
@click.option(
    "--role",
    "roles",
    type=click.Choice(ROLES),
    multiple=True,
    help="A role to sign for; may be said again. All four if left out.",
)
@click.option("--module", default="", help="PKCS#11 library of a token, to make the keys there.")
@click.option("--token", default="", help="Label of that token.")
@click.option("--again", is_flag=True, help="Make a new key for each --role; old ones are kept.")
@json_option
def holder(
    name: str,
    folder: Path | None,
    roles: tuple[str, ...],
    module: str,
    token: str,
    again: bool,
    as_json: bool,
) -> None:
    """Make the keys of holder NAME, and `holder.json`, the public half that others need.

    Keys are sealed with a passphrase that is asked for, or stay on a PKCS#11 token.
    """
    from skerry.base.ids import token as check_name
    from skerry.trust.ceremony_keys import HOLDER_FILE, KEY_ID_SHOWN, TokenPlace, sealed_by
    from skerry.trust.roles import OfflineKeys

    folder = folder or Path(name)
    check_name("holder", name)
    if bool(module) != bool(token):
        raise UsageError("a token has a module and a label", "say both --module and --token")
    place = TokenPlace(module=module, token=token) if module else None
    known = (folder / HOLDER_FILE).exists()
    if again:
        if not known or not roles:
            raise UsageError(
                "--again renews keys that are there", "name the folder and each --role"
            )
        secret = ask_secret(folder, sealed_by(folder))
        keys = OfflineKeys.load(folder, passphrase=secret)
        for role in roles:
            keys.renew_key(role, passphrase=secret, place=place)
    else:
        if known:
            secret = ask_secret(folder, sealed_by(folder))
        elif place:
            secret = ask_secret(Path(token), "PIN")
        else:
            secret = new_passphrase(name)
        keys = OfflineKeys.create(
            folder, passphrase=secret, holder=name, roles=roles or ROLES, place=place
        )
    public = folder / HOLDER_FILE
    ids = {role: keys.key_id(role)[:KEY_ID_SHOWN] for role in sorted(keys.public())}
    if as_json:
        print_json("trust-holder", {"name": keys.holder, "file": str(public), "keys": ids})
    else:
        for role, key_id in ids.items():
            click.echo(f"{role}  {key_id}")
    say(f"{public}  public half of {keys.holder}; all else in {folder} is secret")
    say("read these ids to the other holders: they see them again before they sign")
    say_next(
        f"skerry trust rotate ROLE --add {public}   (where the fleet is reached)"
        if again
        else f"skerry trust init --holders {public},...   (where the fleet is founded)"
    )
