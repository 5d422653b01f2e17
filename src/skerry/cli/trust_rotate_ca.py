"""`skerry trust rotate-ca`: another root, or another authority of a region, while all goes on."""

import time
from pathlib import Path

import click

from skerry.base.errors import Exit, UsageError
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next

LOOK_S = 2.0


@click.command("rotate-ca")
@click.argument("what", metavar="root|REGION|add-root")
@click.option(
    "--keys",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the fleet's first keys, with root.pem; beside the offline keys by default.",
)
@click.option(
    "--with",
    "other",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For add-root: a root of your own CA (PEM), to be trusted beside the fleet's.",
)
@click.option("--stolen", is_flag=True, help="Shut the region's old authority out at once.")
@click.option("--passphrase", is_flag=True, help="Ask for the one that seals the root's key.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 86_400),
    default=0.0,
    show_default=True,
    help="Seconds to wait for everybody before giving back the prompt.",
)
@folder_option
@json_option
def command(
    what: str,
    keys: Path | None,
    other: Path | None,
    stolen: bool,
    passphrase: bool,
    wait_s: float,
    folder: Path,
    as_json: bool,
) -> int:
    """Change the fleet's root, or one region's authority, step by step.

    Each step waits until everybody has taken the one before it, and says who has not. Stop it
    anywhere; the same command goes on. Exits 7 while somebody is missing. With add-root a root of
    your own CA is trusted beside the fleet's.

    Example:  skerry trust rotate-ca region-eu --wait 600
    """
    from skerry.base.clock import SystemClock
    from skerry.central.bootstrap import TrustSet
    from skerry.fleet.load import load_fleet
    from skerry.local.rotate_ca import ADD_ROOT, ROOT, Rotation

    place = reach(folder)
    if what not in (ROOT, ADD_ROOT, *place.region_urls):
        known = ", ".join([ROOT, ADD_ROOT, *place.region_urls])
        raise UsageError(f"the fleet has no region {what!r}", f"one of {known}")
    if (other is None) == (what == ADD_ROOT):
        raise UsageError("add-root and --with go together", "skerry trust rotate-ca --help")
    if stolen and what not in place.region_urls:
        raise UsageError("--stolen is for a region's authority", "leave it out")
    rotation = Rotation(
        trust=TrustSet(keys or place.offline.parent, load_fleet(folder).name, place.domain),
        central=lambda: reach(folder).central,
        regions={
            name: lambda name=name: reach(folder).region(name)  # type: ignore[misc]
            for name in place.region_urls
        },
        clock=SystemClock(),
        passphrase=click.prompt("Passphrase", hide_input=True, err=True) if passphrase else None,
    )
    until_s = time.monotonic() + wait_s
    said = ""
    while True:
        standing = rotation.go_on(
            what, stolen=stolen, root_pem=other.read_bytes() if other else b""
        )
        line = f"{standing.step}: " + (
            f"not yet taken by {_names(standing.waiting)}" if standing.waiting else "taken by all"
        )
        if line != said and standing.step != "done":
            say(line)
        said = line
        if standing.step == "done":
            break
        if standing.waiting:
            if time.monotonic() >= until_s:
                break
            time.sleep(LOOK_S)
    if as_json:
        print_json("trust-rotate-ca", {"step": standing.step, "waiting": list(standing.waiting)})
    if standing.step != "done":
        say_next(f"skerry trust rotate-ca {what}   (again, once they have)")
        return int(Exit.TIMED_OUT)
    if what == ADD_ROOT:
        say("the root is trusted by all")
    else:
        say(f"{what} is changed, and what was before is refused")
    return 0


def _names(waiting: tuple[str, ...]) -> str:
    shown = ", ".join(waiting[:8])
    return shown + (f" and {len(waiting) - 8} more" if len(waiting) > 8 else "")
