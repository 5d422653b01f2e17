"""`skerry drill`: inject a fault on purpose, under traffic, and grade the outcome."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import Exit
from skerry.cli.folders import folder_option, reach, running
from skerry.cli.output import json_option, print_json, print_table, say, say_next
from skerry.schema.drill import DrillKind

if TYPE_CHECKING:
    from skerry.schema.drill import DrillRecord


@click.command("drill")
@click.argument("kind", type=click.Choice([kind.value for kind in DrillKind]))
@click.option("--site", default="", help="Site, for wan-cut and cold-start.")
@click.option("--node", default="", help="Node such as oslo/1, for black-hole and node-kill.")
@click.option("--region", default="", help="Region, for region-down and forged-update.")
@click.option(
    "--for",
    "for_s",
    type=click.FloatRange(1, 3600),
    default=6.0,
    show_default=True,
    help="How long the fault lasts, in seconds.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the traffic."
)
@folder_option
@json_option
def command(
    kind: str,
    site: str,
    node: str,
    region: str,
    for_s: float,
    seed: int,
    folder: Path,
    as_json: bool,
) -> int:
    """Break something in the running fleet and see whether every promise is kept.

    Sends traffic to all sites meanwhile. Without a target the first that fits is taken.
    `bad-release` applies the version of the first model that stands above the fleet
    file's in the model repository, and expects it to take itself back.
    """
    from skerry.local.range import open_range
    from skerry.local.run_drill import keep_record, run_kind

    local, run = running(folder)
    central = reach(folder).central
    say(f"{kind}: traffic first, then the fault, then a count of records")
    with open_range(local, run, central, seed=seed) as range_:
        record = run_kind(range_, DrillKind(kind), site=site, node=node, region=region, for_s=for_s)
    path = keep_record(local, record)
    central.put_drill(record)
    if as_json:
        print_json("drill", {"record": record, "path": str(path)})
    else:
        _show(record)
    say(f"{'Passed' if record.passed else 'Failed'}. Record: {path}")
    say_next("skerry logs")
    return Exit.DONE if record.passed else Exit.BAD_OUTCOME


def _show(record: "DrillRecord") -> None:
    for line in record.timeline:
        click.echo(line)
    click.echo()
    print_table(
        ("promise", "limit", "seen", "kept"),
        [
            (
                promise.name,
                f"{'≥' if promise.at_least else '≤'} {promise.limit:g} {promise.unit}",
                "not seen" if promise.seen is None else f"{promise.seen:.3g} {promise.unit}",
                "yes" if promise.kept else "NO",
            )
            for promise in record.promises
        ],
    )
