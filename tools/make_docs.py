"""Write the reference pages that are made from the code: error codes and the command line.

`python tools/make_docs.py` writes them, `--check` exits 1 if a page is not current.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import skerry
from skerry.base.errors import SkerryError
from skerry.cli.main import VERBS, cli

REFERENCE = Path("docs/reference")


def error_classes() -> list[type[SkerryError]]:
    """Import every module of skerry and return its error classes, by code and name."""
    for module in pkgutil.walk_packages(skerry.__path__, "skerry."):
        if not module.name.endswith(("__main__", "_pb2_grpc")):
            importlib.import_module(module.name)

    def below(kind: type[SkerryError]) -> Iterator[type[SkerryError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    found = {kind for kind in below(SkerryError) if kind.__module__.startswith("skerry.")}
    return sorted(found, key=lambda kind: (kind.code, kind.__name__))


def errors_page() -> str:
    """Return `errors.md`: one line for each code."""
    rows = []
    for kind in error_classes():
        text = " ".join((kind.__doc__ or "").split())
        rows.append(f"| `{kind.code}` | {kind.__name__} | {int(kind.exit_code)} | {text} |")
    return "\n".join(
        [
            "# Error codes",
            "",
            "Made from the code by `tools/make_docs.py`; `skerry help CODE` prints it offline.",
            "Exit codes: 0 done, 1 ran and the outcome is bad, 2 wrong use, 3 file invalid,",
            "4 differences exist, 5 unreachable, 6 refused, 7 timed out, 130 interrupted.",
            "",
            "| code | name | exit | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def command_lines(name: str, command: click.Command) -> Iterator[str]:
    """Yield the Markdown of one command and of those below it."""
    context = click.Context(command, info_name=name)
    yield f"## {name}"
    yield ""
    yield " ".join((command.help or "").split("\n\n")[0].split())
    yield ""
    yield "```text"
    yield " ".join(command.collect_usage_pieces(context)).join((f"{name} ", ""))
    yield "```"
    yield ""
    options = [p for p in command.params if isinstance(p, click.Option) and p.help]
    if options:
        yield "| option | default | meaning |"
        yield "|---|---|---|"
        for option in options:
            has_default = option.default not in (None, False, ()) and isinstance(
                option.default, str | int | float
            )
            default = f"`{option.default}`" if has_default else ""
            help_text = " ".join((option.help or "").split()).replace("|", "\\|")
            yield f"| `{', '.join(option.opts)}` | {default} | {help_text} |"
        yield ""
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            child = command.get_command(context, verb)
            if child is not None:
                yield from command_lines(f"{name} {verb}", child)


def cli_page() -> str:
    """Return `cli.md`: every verb, from click's own parameter objects."""
    context = click.Context(cli, info_name="skerry")
    lines = ["# Commands", "", "Made from the code by `tools/make_docs.py`.", ""]
    for verb in VERBS:
        command = cli.get_command(context, verb)
        if command is not None:
            lines += command_lines(f"skerry {verb}", command)
    return "\n".join(lines)


def main() -> int:
    """Write or check the pages; return the exit code."""
    stale = []
    for name, text in (("errors.md", errors_page()), ("cli.md", cli_page())):
        path = REFERENCE / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            stale.append(f"{path} is not current: run .venv/bin/python tools/make_docs.py")
    if stale:
        print("\n".join(stale), file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
