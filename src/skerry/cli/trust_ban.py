"""`skerry trust ban | lift | remove`: cut a machine off, take it back, or forget a site."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next

_reason = click.option("--reason", required=True, help="Why; it is kept, and others read it.")


@click.command()
@click.argument("node", metavar="SITE/NUMBER")
@_reason
@folder_option
@json_option
def ban(node: str, reason: str, folder: Path, as_json: bool) -> None:
    """Cut a node off: its live connections at once, and no certificate any more."""
    _decide(folder, node, banned=True, reason=reason, as_json=as_json)
    say(f"{node} is banned: {reason}")
    say_next(f"skerry trust lift {node} --reason WHY   (to take it back)")


@click.command()
@click.argument("node", metavar="SITE/NUMBER")
@_reason
@folder_option
@json_option
def lift(node: str, reason: str, folder: Path, as_json: bool) -> None:
    """Take a banned node back: its enrolment key is good again."""
    _decide(folder, node, banned=False, reason=reason, as_json=as_json)
    say(f"{node} is not banned any more; it comes back by itself")


@click.command()
@click.argument("what", metavar="SITE|SITE/NUMBER")
@_reason
@folder_option
@json_option
def remove(what: str, reason: str, folder: Path, as_json: bool) -> None:
    """Remove a node, or a whole site that the applied fleet file no longer has, for good.

    Its certificates and logins are cut, and it disappears from `status`. What it sent
    stays at central. The machines themselves are cleaned with `skerry leave`.
    """
    fleet_reach = reach(folder)
    central = fleet_reach.central
    gone = [
        (one.node, one.region)
        for one in central.status().nodes
        if what in (one.node, one.site) and one.region in fleet_reach.region_urls
    ]
    if not gone:
        raise UsageError(f"no node of {what!r} is registered", "skerry status lists the nodes")
    applied = central.applied().fleet
    if "/" not in what and applied and any(site.name == what for site in applied.sites):
        raise UsageError(
            f"{what} is a site of the applied fleet file",
            f"take it out of fleet.yaml, skerry apply, then: skerry trust remove {what}",
        )
    for node, region in gone:
        fleet_reach.region(region).ban(node, banned=True, reason=reason, forget=True)
        say(f"{node} is cut off and forgotten")
    if as_json:
        print_json("trust-remove", {"nodes": [node for node, _ in gone], "reason": reason})
    say_next("skerry leave --state FOLDER   (on each of its machines)")


def _decide(folder: Path, node: str, *, banned: bool, reason: str, as_json: bool) -> None:
    """Have the node's own region ban it, or lift its ban."""
    fleet_reach = reach(folder)
    region = next((n.region for n in fleet_reach.central.status().nodes if n.node == node), None)
    if region is None:
        raise UsageError(f"no node {node!r} is registered", "skerry status lists the nodes")
    found = fleet_reach.region(region).ban(node, banned=banned, reason=reason)
    if as_json:
        print_json("trust-ban", {"node": node, "banned": found.banned, "reason": reason})
