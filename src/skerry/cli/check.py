"""`skerry check`: validate and lint the fleet file, with a place for every word."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import Exit
from skerry.cli.output import json_option, print_json, say_next

if TYPE_CHECKING:
    from skerry.schema.file_errors import Problem


@click.command("check")
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    default=Path("fleet.yaml"),
    show_default=True,
    help="The fleet file, or a folder of objects.",
)
@click.option("--resolved", is_flag=True, help="Print the fleet with every value and unit named.")
@json_option
def command(file: Path, resolved: bool, as_json: bool) -> int:
    """Validate and lint the fleet file: errors, warnings and notes, each with its place."""
    import msgspec

    from skerry.fleet.load import load_checked
    from skerry.schema.file_errors import FleetFileError

    try:
        checked = load_checked(file)
    except FleetFileError as error:
        if not as_json:
            raise
        print_json("check", {"file": str(file), "ok": False, "problems": _rows(error.problems)})
        return Exit.FILE_INVALID
    fleet = checked.fleet
    if as_json:
        document = {"file": str(file), "ok": True, "problems": _rows(checked.advice)}
        if resolved:
            document["fleet"] = msgspec.to_builtins(fleet)
        print_json("check", document)
        return Exit.DONE
    if resolved:
        click.echo(msgspec.json.format(msgspec.json.encode(fleet), indent=2).decode())
        return Exit.DONE
    counts = ", ".join(
        f"{count} {noun}{'' if count == 1 else 's'}"
        for count, noun in (
            (len(fleet.sites), "site"),
            (len(fleet.models), "model"),
            (len(fleet.rules), "rule"),
        )
    )
    click.echo(f"{file}  {counts}  ok")
    for problem in checked.advice:
        click.echo()
        click.echo(problem.render())
    say_next("skerry plan")
    return Exit.DONE


def _rows(problems: "Sequence[Problem]") -> list[dict[str, object]]:
    return [
        {
            "code": problem.code,
            "grade": problem.grade.value,
            "path": problem.path,
            "text": problem.what,
            "hint": problem.hint,
            "file": problem.place.file if problem.place else None,
            "line": problem.place.line if problem.place else None,
            "column": problem.place.column if problem.place else None,
        }
        for problem in problems
    ]
