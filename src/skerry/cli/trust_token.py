"""`skerry trust token`: API tokens for programs, narrower and shorter than their person."""

import time
from pathlib import Path

import click

from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, print_table, say, say_next


@click.group("token")
def token() -> None:
    """Make, list and take back API tokens of your own."""


@token.command("create")
@click.argument("label")
@click.option(
    "--days",
    type=click.FloatRange(0, 366, min_open=True),
    default=30.0,
    show_default=True,
    help="How long it works.",
)
@click.option(
    "--only",
    "scope",
    multiple=True,
    help="An action it is for, for example look; give it again for several. Else all of yours.",
)
@folder_option
@json_option
def create(label: str, days: float, scope: tuple[str, ...], folder: Path, as_json: bool) -> None:
    """Make a token named LABEL and print it, once."""
    from skerry.base.units import SECONDS_PER_DAY
    from skerry.client.access import AccessCalls
    from skerry.schema.access_api import TokenWish

    wish = TokenWish(label=label, life_s=days * SECONDS_PER_DAY, scope=scope)
    made = AccessCalls(reach(folder).central).new_token(wish)
    if as_json:
        print_json("trust-token", made)
        return
    click.echo(made.token)
    say(f"It works for {days:g} days and is shown once: keep it where only your program reads it")
    say_next(f"skerry trust token revoke {made.row.id}   (when it is no longer needed)")


@token.command("list")
@folder_option
@json_option
def show(folder: Path, as_json: bool) -> None:
    """List your tokens and logins; everybody's, if you may change people."""
    from skerry.base.units import SECONDS_PER_DAY
    from skerry.client.access import AccessCalls

    reply = AccessCalls(reach(folder).central).tokens()
    if as_json:
        print_json("trust-tokens", reply)
        return
    now_unix_s = time.time()
    print_table(
        ("id", "who", "label", "only", "days left"),
        [
            (
                one.id,
                one.who,
                one.label,
                ", ".join(one.scope) or "all",
                f"{(one.ends_unix_s - now_unix_s) / SECONDS_PER_DAY:.1f}",
            )
            for one in reply.tokens
        ],
    )


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@folder_option
def revoke(token_id: str, folder: Path) -> None:
    """Take a token back, at once and for good."""
    from skerry.client.access import AccessCalls

    AccessCalls(reach(folder).central).revoke_token(token_id)
    say(f"token {token_id} is taken back")
