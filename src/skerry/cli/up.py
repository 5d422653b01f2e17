"""`skerry up`: a whole fleet on this machine, or one role of a real one."""

import sys
from pathlib import Path

import click

from skerry.base.errors import Exit, UsageError
from skerry.cli.folders import folder_option
from skerry.cli.output import json_option, print_json, say, say_next


@click.command("up")
@folder_option
@click.option(
    "--role",
    type=click.Choice(["node", "region", "central"]),
    help="Run one role of a real fleet on this machine, from its --state folder.",
)
@click.option(
    "--state",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="State folder of the role.",
)
@click.option("--with-parent", type=int, default=0, hidden=True)
@json_option
def command(
    folder: Path, role: str | None, state: Path | None, with_parent: int, as_json: bool
) -> int:
    """Run the fleet of a folder as processes on this machine, until Ctrl-C.

    With --role, run one role of a real fleet: a node that has joined, a region, or central.
    """
    import anyio

    from skerry.base.processes import end_with_parent
    from skerry.cli.extras import need

    if with_parent:
        end_with_parent(with_parent)
    if role is None:
        need("aiohttp")  # central and the regions run as processes of their own
        anyio.run(_whole_fleet, folder, as_json)
        return Exit.DONE
    if state is None:
        raise UsageError("--role wants --state", f"skerry up --role {role} --state FOLDER")
    if role == "node":
        anyio.run(_node, state.resolve())
        return Exit.DONE
    return _become(role, state)


async def _whole_fleet(folder: Path, as_json: bool) -> None:
    from skerry.cli.until import until_stopped
    from skerry.local.up import LocalFleet, run_local_fleet

    def ready(fleet: LocalFleet) -> None:
        nodes = sum(site.nodes for site in fleet.fleet.sites)
        if as_json:
            print_json("up", {"ready": True, "run_file": str(fleet.folder.run_file)})
            sys.stdout.flush()
        say(f"{fleet.fleet.name} is up: {nodes} nodes in sync; keys are {fleet.trust.marker}")
        say(f"State and logs are in {fleet.folder.state}; stop with Ctrl-C")
        say_next("skerry status   (in another terminal)")

    await until_stopped(
        lambda: run_local_fleet(folder, say=lambda text: say(f"  {text}"), on_ready=ready)
    )


async def _node(state: Path) -> None:
    from skerry.cli.until import until_stopped
    from skerry.local.role import run_node

    await until_stopped(lambda: run_node(state, say))


def _become(role: str, state: Path) -> int:
    """Turn this process into the role's own: nothing is gained by standing in between."""
    import os

    os.execv(sys.executable, [sys.executable, "-m", f"skerry.{role}", "--state", str(state)])  # noqa: S606
