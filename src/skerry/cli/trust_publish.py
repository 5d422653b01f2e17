"""`skerry trust publish`: hand a file that enough holders have signed to central."""

from pathlib import Path

import click

from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next


@click.command("publish")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
)
@click.option(
    "--founding",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=None,
    help="The folder of `skerry trust init`, for the file that founds the fleet.",
)
@folder_option
@json_option
def publish(files: tuple[Path, ...], founding: Path | None, folder: Path, as_json: bool) -> None:
    """Publish FILE once every threshold is met; several copies are joined first.

    Refused as a whole, and nothing changed, while a signature is missing (TOO_FEW_SIGNATURES).
    """
    from skerry.base.clock import SystemClock
    from skerry.trust import ceremony

    clock = SystemClock()
    file = ceremony.merge([ceremony.read_signing(path.read_bytes()) for path in files])
    ceremony.check_offered(file, clock.unix_s())
    ceremony.check_complete(file)
    if founding is not None:
        from skerry.fleet.load import load_fleet
        from skerry.local.found import finish

        finish(founding, load_fleet(folder), file, clock=clock)
        versions = dict.fromkeys(file.offered, 1)
    else:
        from skerry.client.signing import send

        versions = send(reach(folder).central, file)
    if as_json:
        print_json("trust-publish", {"versions": versions})
    for role in file.offered:
        say(f"{role}  version {versions[role]} is published")
    say_next("skerry trust status" if founding is None else "carry central and regions away")
