"""`skerry apply`: show the difference, ask, seal, send, wait."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import Exit, UsageError
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next
from skerry.cli.trust_secret import open_keys

if TYPE_CHECKING:
    from skerry.fleet.diff import Difference
    from skerry.schema.api import RolloutStatus


@click.command("apply")
@folder_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the difference and stop.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow the rollout.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1, 86_400),
    default=600.0,
    show_default=True,
    help="Longest time to follow the rollout, in seconds.",
)
@click.option("--reason", default="", help="Why; kept in the events.")
@json_option
def command(
    folder: Path,
    yes: bool,
    dry_run: bool,
    wait: bool,
    timeout_s: float,
    reason: str,
    as_json: bool,
) -> int:
    """Bring the fleet to what the file says, ring by ring, and wait for the outcome.

    Models and policy are signed here by the offline keys (their passphrase is asked for),
    desired state by central. Where other holders must sign too, the release waits in a signing
    file, and the same command goes on from there.
    """
    from skerry.base.clock import SystemClock
    from skerry.client.change import apply
    from skerry.fleet.diff import differences, render_difference
    from skerry.fleet.load import load_fleet
    from skerry.local.folder import MODELS
    from skerry.local.release import follow

    fleet = load_fleet(folder)
    fleet_reach = reach(folder)
    central = fleet_reach.central
    applied = central.applied()
    difference = differences(applied.fleet, fleet)
    say(render_difference(difference, hold_s=fleet.rollout.gate.hold_s))
    if not difference.changes:
        _print(as_json, "unchanged", applied.generation, "")
        return Exit.DONE
    if dry_run:
        _print(as_json, "dry-run", applied.generation, "")
        return Exit.DONE
    if not yes and not _agreed(difference):
        say("Nothing was changed.")
        return Exit.INTERRUPTED
    reply = apply(
        fleet,
        folder / MODELS,
        open_keys(fleet_reach.offline, needed=False),
        central,
        expected_generation=applied.generation,
        reason=reason or "skerry apply",
        clock=SystemClock(),
    )
    say(f"generation {reply.generation}, rings: {', '.join(reply.ring_names)}")
    if not wait:
        _print(as_json, "sent", reply.generation, "")
        say_next("skerry status")
        return Exit.DONE
    outcome = follow(central, reply.generation, timeout_s=timeout_s, tell=_Progress())
    _print(as_json, outcome.phase, reply.generation, outcome.reason)
    if outcome.phase == "done":
        say(f"Done: {outcome.reason or 'every ring passed'}")
        say_next("skerry status")
        return Exit.DONE
    if outcome.phase in ("reverted", "reverting"):
        say(f"Reverted: {outcome.reason}")
        say_next("skerry logs --kind release.reverted")
        return Exit.BAD_OUTCOME
    say(f"Still {outcome.phase} after {timeout_s:g} s: {outcome.reason}; work goes on")
    say_next("skerry status")
    return Exit.TIMED_OUT


class _Progress:
    """One line per change of ring or phase, on stderr."""

    def __init__(self) -> None:
        self._told = ""

    def __call__(self, status: "RolloutStatus") -> None:
        number = min(status.ring + 1, len(status.ring_names))
        reason = f"  {status.reason}" if status.reason else ""
        line = (
            f"  [{number}/{len(status.ring_names)}] {status.ring_names[number - 1]}: {status.phase}"
        )
        kind = line + re.sub(r"[0-9.]+", "", reason)  # a count that moves is no news
        if kind != self._told:
            say(line + reason)
            self._told = kind


def _agreed(difference: "Difference") -> bool:
    """Ask, with the blast radius already on screen; `d` shows every field."""
    if not sys.stdin.isatty():
        raise UsageError(
            "apply asks before it changes anything, and nobody can answer here",
            "look at it with --dry-run, then say --yes",
        )
    while True:
        answer = click.prompt("Apply? [y/N/d]", default="N", show_default=False, err=True)
        match answer.strip().lower():
            case "y" | "yes":
                return True
            case "d":
                for change in difference.changes:
                    sites = ", ".join(change.sites) or "no site"
                    say(f"    {change.op} {change.kind} {change.name}: {change.detail} ({sites})")
            case _:
                return False


def _print(as_json: bool, outcome: str, generation: int, reason: str) -> None:
    if as_json:
        print_json("apply", {"outcome": outcome, "generation": generation, "reason": reason})
