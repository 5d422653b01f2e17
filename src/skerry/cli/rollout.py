"""`skerry rollout`: how a change stands, and what a person decides about it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next

if TYPE_CHECKING:
    from skerry.schema.api import RolloutStatus

REASON = click.option("--reason", default="", help="Why; kept in the events.")


@click.group("rollout")
def command() -> None:
    """See how a change stands; hold it, let a ring begin, take it back.

    Example:  skerry rollout approve --reason "seen on the pilot for a day"
    """


@command.command()
@folder_option
@json_option
def show(folder: Path, as_json: bool) -> None:
    """Show the rollout under way, or the last one."""
    _tell(reach(folder).central.rollout(), as_json)


@command.command()
@REASON
@click.option("--any-time", is_flag=True, help="Waive the windows for the rest of this rollout.")
@folder_option
@json_option
def approve(reason: str, any_time: bool, folder: Path, as_json: bool) -> None:
    """Let the ring that waits for a person begin."""
    central = reach(folder).central
    _tell(central.steer_rollout("approve", reason, any_time=any_time), as_json)
    say_next("skerry rollout show")


@command.command()
@REASON
@folder_option
@json_option
def hold(reason: str, folder: Path, as_json: bool) -> None:
    """Release nothing more until `resume`; what was let out stays."""
    _tell(reach(folder).central.steer_rollout("pause", reason), as_json)
    say_next("skerry rollout resume")


@command.command()
@REASON
@folder_option
@json_option
def resume(reason: str, folder: Path, as_json: bool) -> None:
    """Go on after a hold; the present ring is watched anew."""
    _tell(reach(folder).central.steer_rollout("resume", reason), as_json)


@command.command()
@REASON
@folder_option
@json_option
def revert(reason: str, folder: Path, as_json: bool) -> None:
    """Take the change back now, wherever it was let out."""
    _tell(reach(folder).central.steer_rollout("revert", reason), as_json)
    say_next("skerry rollout show")


def _tell(status: "RolloutStatus", as_json: bool) -> None:
    if as_json:
        print_json("rollout", status)
        return
    say(f"generation {status.generation}: {status.phase}  {status.reason}".rstrip())
    for number, (name, sites) in enumerate(zip(status.ring_names, status.rings, strict=True)):
        mark = "done" if number < status.ring else "now" if number == status.ring else "later"
        say(f"  {name:<12} {mark:<6} {', '.join(sites)}")
