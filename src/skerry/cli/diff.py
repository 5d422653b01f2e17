"""`skerry diff`: the fleet file against what was applied last."""

from pathlib import Path

import click

from skerry.base.errors import Exit
from skerry.cli.output import json_option, print_json, say, say_next


@click.command("diff")
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    default=Path("fleet.yaml"),
    show_default=True,
    help="The fleet file, or a folder of objects.",
)
@click.option("--exit-code", is_flag=True, help="End with 4 where differences exist.")
@json_option
def command(file: Path, exit_code: bool, as_json: bool) -> int:
    """Show what apply would change: objects, the sites they reach, and what restarts."""
    import msgspec

    from skerry.fleet.applied import read_applied
    from skerry.fleet.diff import Op, differences, render_difference
    from skerry.fleet.load import load_fleet

    fleet = load_fleet(file)
    applied = read_applied(file if file.is_dir() else file.parent)
    difference = differences(applied, fleet)
    if as_json:
        print_json(
            "diff",
            {
                "applied": applied is not None,
                "add": difference.count(Op.ADD),
                "change": difference.count(Op.CHANGE),
                "remove": difference.count(Op.REMOVE),
                "unchanged": difference.unchanged,
                "changes": msgspec.to_builtins(difference.changes),
            },
        )
    else:
        if applied is None:
            say("Nothing has been applied from this folder yet: everything is new.")
        click.echo(render_difference(difference, hold_s=fleet.rollout.gate.hold_s))
        if difference.changes:
            say_next("skerry apply")
    return Exit.DIFFERENT if exit_code and difference.changes else Exit.DONE
