"""How every `skerry plan` verb shows its report: on the terminal, as JSON, as a page.

A verb's module makes a `PlanReport` and hands it to `show`. The options that verbs share
are added by `plan_options` (`--json`, `--report`), `assumption_options` (`--set`,
`--assume`) and `write_option` (`--file`, `--write`).
"""

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from skerry import __version__
from skerry.cli.out_file import PageFile, unwritable
from skerry.cli.output import json_option, print_json, print_table, say
from skerry.schema.plan_report import Answer, Cell, PlanReport, Table, Tornado

Command = TypeVar("Command", bound=Callable[..., Any])
ROWS_SHOWN_MAX = 40


def plan_options(command: Command) -> Command:
    """Add `--report PAGE` (`page_path`) and `--json` (`as_json`)."""
    page = click.option(
        "--report",
        "page_path",
        type=PageFile(),
        help="Write the whole report to this HTML page.",
    )
    return page(json_option(command))


def assumption_options(command: Command) -> Command:
    """Add `--set NAME=VALUE` (`settings`) and `--assume FILE` (`assume_path`)."""
    one = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Put your own value (or LOW..VALUE..HIGH) in place of an assumption.",
    )
    many = click.option(
        "--assume",
        "assume_path",
        type=click.Path(dir_okay=False, path_type=Path),
        help="A CSV of assumptions that replace the shipped ones.",
    )
    return one(many(command))


def fleet_option(command: Command) -> Command:
    """Add `-f FILE` (`fleet_path`), the fleet file of this folder unless given."""
    return click.option(
        "-f",
        "--file",
        "fleet_path",
        type=click.Path(path_type=Path),
        default=Path("fleet.yaml"),
        show_default=True,
        help="The fleet file.",
    )(command)


def write_option(command: Command) -> Command:
    """Add `-f FILE` (`fleet_path`) and `--write` (`write`): the advice goes into that file.

    A verb names the values in `PlanReport.changes` and gives `show` the file as `write_path`.
    """
    flag = click.option(
        "--write", is_flag=True, help="Put the advice into the fleet file, and show what changed."
    )
    return fleet_option(flag(command))


def show(
    report: PlanReport,
    *,
    as_json: bool,
    page_path: Path | None,
    write_path: Path | None = None,
) -> None:
    """Print a report; write its page and its changes to a fleet file where they are wanted."""
    report = _stamped(report)
    if page_path is not None:
        write_page(report, page_path)
    changed = _write(write_path, report.changes) if write_path is not None else None
    if as_json:
        written = {} if write_path is None else {"written_lines": changed}
        print_json(f"plan.{report.verb}", {**report.figures, **_beside(report), **written})
        return
    _print(report)
    if changed is not None:
        say(f"{write_path}: {'changed' if changed else 'has these values already'}")
        for line in changed:
            say(f"  {line}")
    if page_path is not None:
        say(f"the page: {page_path}")


def write_page(report: PlanReport, path: Path) -> None:
    """Write a report's page, whole or not at all."""
    from skerry.proof.plan_page import plan_html

    _put(path, plan_html(_stamped(report)).encode())


def _stamped(report: PlanReport) -> PlanReport:
    """Return a report that says when it was made, by what, and how to make it again."""
    return msgspec.structs.replace(
        report,
        command=report.command or shlex.join(["skerry", *sys.argv[1:]]),
        at_unix_s=report.at_unix_s or time.time(),
        version=__version__,
    )


def _beside(report: PlanReport) -> dict[str, object]:
    """Return what stands beside the figures in JSON; empty parts are left out."""
    parts: dict[str, object] = {
        "answer": report.answer.value,
        "lead": report.lead,
        "advice": report.advice,
        "changes": report.changes,
        "goals": report.goals,
        "prediction_error_ratio": report.prediction_error_ratio,
        "assumptions": report.assumptions,
        "notes": report.notes,
        "command": report.command,
    }
    return {name: part for name, part in parts.items() if part}


def _write(path: Path, changes: Mapping[str, str]) -> list[str]:
    """Change a fleet file, whole or not at all; return the lines taken away and put in.

    Raises `EditError` for a place it has not, `FleetFileError` where the result is no fleet.
    """
    from skerry.fleet.load import load_fleet
    from skerry.schema.fleet_edit import EditError, with_values

    path = path / "fleet.yaml" if path.is_dir() else path
    if not changes:
        raise EditError(str(path), "this plan has no value for a fleet file")
    load_fleet(path)  # says what is wrong with it in its own words
    before = path.read_bytes().decode("utf-8-sig")  # its line ends stay as they are
    after = with_values(before, changes)
    trial = path.with_name(f".{path.stem}.changed{path.suffix}")
    try:
        _put(trial, after.encode())
        load_fleet(trial)
    finally:
        trial.unlink(missing_ok=True)
    if after != before:
        _put(path, after.encode())
    lines = unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def _put(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; what stops it is named with the file."""
    from skerry.base import files

    try:
        files.write_atomic(path, data)
    except OSError as error:
        raise unwritable(path, error) from error


def _print(report: PlanReport) -> None:
    word = "" if report.answer is Answer.NONE else f"{report.answer.value}: "
    click.echo(f"{word}{report.lead}")
    for one in report.advice:
        say(f"choose {one.choice}: {one.reason}")
        if one.runner_up:
            say(f"  next best: {one.runner_up}" + (f"; it wins if {one.flip}" if one.flip else ""))
        if one.regret is not None:
            say(
                f"  regret on {one.regret.unseen}: {one.regret.ratio:.1%}"
                f" (best there: {one.regret.best})"
            )
        elif one.no_regret:
            say(f"  no regret figure: {one.no_regret}")
    for section in report.sections:
        tables = [block for block in section.blocks if isinstance(block, Table)]
        for table in tables:
            click.echo()
            click.echo(table.title)
            shown = table.rows[:ROWS_SHOWN_MAX]
            print_table(table.heads, [[_cell(cell) for cell in row] for row in shown])
            if len(table.rows) > len(shown):
                say(f"... {len(table.rows) - len(shown)} more rows in --json and --report")
            if table.note:
                say(table.note)
        for block in section.blocks:
            if isinstance(block, Tornado) and not tables:
                click.echo()
                click.echo(f"{block.title} ({block.unit})")
                heads = ("input", "at its low end", "at its high end")
                rows = [[name, _cell(low), _cell(high)] for name, low, high in block.rows]
                print_table(heads, rows)
    for goal, error in report.prediction_error_ratio.items():
        say(f"predicted against measured: {goal} {error:+.1%}")
    for note in report.notes:
        say(f"note: {note}")


def _cell(cell: Cell) -> str:
    """Write a cell: numbers to four digits that matter, None as a dash."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 10_000 else f"{cell:.4g}"
    return str(cell)
