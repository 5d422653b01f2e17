"""What commands print: data on stdout, words on stderr, one JSON document with `--json`.

Every JSON document carries `schema` and `generated_at`. Nothing is coloured.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from skerry.base.errors import SkerryError

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Add `--json` (as the parameter `as_json`) to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def print_json(schema: str, document: object) -> None:
    """Print a document with its schema name and the time; `document` must be a mapping."""
    fields = msgspec.to_builtins(document)
    stamped = {"schema": f"skerry.cli.{schema}/1", "generated_at": _now(), **fields}
    click.echo(msgspec.json.format(msgspec.json.encode(stamped), indent=2).decode())


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print left-aligned columns, numbers (cells that start with a digit) to the right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    numeric = [
        bool(rows) and all(row[i][:1].isdigit() or row[i] == "-" for row in rows)
        for i in range(len(heads))
    ]
    for row in (heads, *rows):
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def say(text: str) -> None:
    """Print words, to stderr."""
    click.echo(text, err=True)


def say_next(command: str) -> None:
    """End a success with the command that people most often want after it."""
    say(f"Next:  {command}")


def print_error(error: SkerryError, *, as_json: bool) -> None:
    """Print an error in its four parts, to stderr; as JSON where the command was asked for it."""
    if as_json:
        document = {
            "error": {
                "code": error.code,
                "kind": type(error).__name__,
                "text": str(error),
                "hint": error.hint,
                "exit_code": int(error.exit_code),
            }
        }
        click.echo(msgspec.json.encode(document).decode(), err=True)
        return
    click.echo(f"error[{error.code}]: {error}", err=True)
    if error.hint:
        click.echo(f"  = help: {error.hint}", err=True)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
