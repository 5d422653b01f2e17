"""`skerry trust requests`, `approve`, `withdraw`, `break-glass`: what takes two; emergencies."""

import datetime
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, print_table, say, say_next

if TYPE_CHECKING:
    from skerry.client.access import AccessCalls

region_option = click.option(
    "--region", default="", help="The region that keeps the request, in place of central."
)


def _calls(folder: Path, region: str) -> "AccessCalls":
    from skerry.client.access import AccessCalls

    place = reach(folder)
    return AccessCalls(place.region(region) if region else place.central)


@click.command("requests")
@region_option
@folder_option
@json_option
def requests(region: str, folder: Path, as_json: bool) -> None:
    """List what waits for a second person."""
    reply = _calls(folder, region).requests()
    if as_json:
        print_json("trust-requests", reply)
        return
    print_table(
        ("request", "who", "action", "until (UTC)", "what"),
        [
            (
                one.id,
                one.who,
                one.action,
                f"{datetime.datetime.fromtimestamp(one.ends_unix_s, datetime.UTC):%m-%d %H:%M}",
                one.what[:60],
            )
            for one in reply.requests
        ],
    )


@click.command("approve")
@click.argument("request")
@region_option
@folder_option
def approve(request: str, region: str, folder: Path) -> None:
    """Agree to another person's request: it is carried out, exactly as it was asked."""
    row = _calls(folder, region).settle(request, "approve").request
    say(f"done: {row.action} {row.what}, asked by {row.who}")
    say_next("skerry status")


@click.command("withdraw")
@click.argument("request")
@region_option
@folder_option
def withdraw(request: str, region: str, folder: Path) -> None:
    """Take back a request that waits."""
    row = _calls(folder, region).settle(request, "withdraw").request
    say(f"withdrawn: {row.action} {row.what}")


@click.command("break-glass")
@click.option("--reason", required=True, help="What happened; it is kept in the audit ledger.")
@region_option
@folder_option
def break_glass(reason: str, region: str, folder: Path) -> None:
    """Take the emergency role for 30 minutes, here only; everybody who audits will see it."""
    reply = _calls(folder, region).break_glass(reason)
    ends = datetime.datetime.fromtimestamp(reply.ends_unix_s, datetime.UTC)
    say(f"You hold the role break-glass until {ends:%H:%M} UTC. This is in the audit ledger.")


@click.command("erase")
@click.argument("person")
@click.option("--reason", required=True, help="Why; no personal facts here.")
@region_option
@folder_option
def erase(person: str, reason: str, region: str, folder: Path) -> None:
    """Have an audit ledger forget a person's facts; it takes two, and cannot be undone."""
    whom = hashlib.sha256(person.encode()).hexdigest()[:12]
    say(f"Whoever approves sees {person} as person {whom}")
    _calls(folder, region).erase(person, reason)
    say(f"the ledger forgets {person}; its chain stays whole")


VERBS = (requests, approve, withdraw, break_glass, erase)
