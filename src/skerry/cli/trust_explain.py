"""`skerry trust explain`: why somebody may or may not do something, now or in the past."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import Exit, UsageError
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say

if TYPE_CHECKING:
    from skerry.schema.access import Decision
    from skerry.schema.access_api import Explanation


@click.command("explain")
@click.argument("who", default="")
@click.argument("action", default="")
@click.argument("what", default="")
@click.option("--from", "origin", default="", help="For open-data: the site that received it.")
@click.option("--decision", default="", help="The id of a past decision, in place of the rest.")
@click.option("--region", default="", help="Ask this region in place of central.")
@folder_option
@json_option
def explain(
    who: str,
    action: str,
    what: str,
    origin: str,
    decision: str,
    region: str,
    folder: Path,
    as_json: bool,
) -> int:
    """Say why WHO may or may not do ACTION, or why a past decision was made.

    For data: WHO is a site, ACTION is open-data, WHAT a data class, and --from the site that
    received it. Exits 6 where the answer is no.
    """
    from skerry.client.access import AccessCalls
    from skerry.schema.access_api import ExplainRequest

    place = reach(folder)
    calls = AccessCalls(place.region(region) if region else place.central)
    if decision:
        past = calls.decision(decision).decision
        if as_json:
            print_json("trust-decision", past)
        else:
            _tell_past(past)
        return Exit.DONE if past.allowed else Exit.REFUSED
    if not who or not action:
        raise UsageError(
            "explain wants WHO and ACTION, or --decision ID", "skerry trust explain ann apply"
        )
    told = calls.explain(ExplainRequest(who=who, action=action, what=what, origin=origin))
    if as_json:
        print_json("trust-explain", told)
    else:
        _tell(told)
    return Exit.DONE if told.allowed else Exit.REFUSED


def _tell(told: "Explanation") -> None:
    verb = "may" if told.allowed else "may not"
    click.echo(f"{told.who} {verb} {told.action}{f' {told.what}' if told.what else ''}")
    click.echo(f"  because   {told.text}")
    if told.roles:
        click.echo(f"  roles     {', '.join(told.roles)}")
    if told.second_person:
        click.echo("  but       once a second person approves, it is done")
    click.echo(f"  policy    generation {told.policy_generation}, {told.policy_sha256[:12]}")


def _tell_past(past: "Decision") -> None:
    at = datetime.datetime.fromtimestamp(past.at_unix_s, datetime.UTC)
    verb = "might" if past.allowed else "might not"
    click.echo(f"{at:%Y-%m-%d %H:%M:%S} UTC  {past.who} {verb} {past.action}: {past.what}")
    click.echo(f"  because   {past.text}")
    click.echo(f"  roles     {', '.join(past.roles) or 'none'}, by {past.door}")
    click.echo(f"  policy    generation {past.policy_generation}, {past.policy_sha256[:12]}")
    for error in past.errors:
        say(f"  error     {error}")
