"""Write the reference pages that are made from the code: errors, commands, settings.

`python tools/make_docs.py` writes them, `--check` exits 1 if a page is not current.
"""

import ast
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

import skerry
from skerry.base.errors import SkerryError
from skerry.central.settings import CentralSettings
from skerry.cli.main import VERBS, cli
from skerry.region.settings import RegionSettings

REFERENCE = Path("docs/reference")


def error_classes() -> list[type[SkerryError]]:
    """Import every module of skerry and return its error classes, by code and name.

    Private ones, which no user can tell from their base, are left out.
    """
    for module in pkgutil.walk_packages(skerry.__path__, "skerry."):
        if not module.name.endswith(("__main__", "_pb2_grpc")):
            importlib.import_module(module.name)

    def below(kind: type[SkerryError]) -> Iterator[type[SkerryError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    found = {
        kind
        for kind in below(SkerryError)
        if kind.__module__.startswith("skerry.") and not kind.__name__.startswith("_")
    }
    return sorted(found, key=lambda kind: (kind.code, kind.__name__))


def errors_page() -> str:
    """Return `errors.md`: one line for each code."""
    rows = []
    for kind in error_classes():
        text = " ".join((kind.__doc__ or "").split()).replace("|", "\\|")
        rows.append(f"| `{kind.code}` | {kind.__name__} | {int(kind.exit_code)} | {text} |")
    return "\n".join(
        [
            "# Error codes",
            "",
            "Made from the code by `tools/make_docs.py`; `skerry help CODE` prints a line offline.",
            "What the exit codes mean is in [the environment](environment.md#exit-codes).",
            "",
            "| code | name | exit | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def default_text(option: click.Option) -> str:
    """Return an option's default as a person would type it; nothing for flags and none."""
    if option.required:
        return "needed"
    default = option.default
    if isinstance(default, bool) or not isinstance(default, str | int | float | Path):
        return ""
    return f"`{default}`" if str(default) not in ("", ".") else ""


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
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        yield "| option | default | meaning |"
        yield "|---|---|---|"
        for option in options:
            names = ", ".join([*option.opts, *option.secondary_opts])
            help_text = " ".join((option.help or "").split()).replace("|", "\\|")
            yield f"| `{names}` | {default_text(option)} | {help_text} |"
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


def sentences(document: type[msgspec.Struct]) -> dict[str, str]:
    """Return the sentence that stands below each field of a document's class."""
    body = ast.parse(inspect.getsource(document)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[field.target.id] = " ".join(below.value.value.split())
    return found


def setting_lines(title: str, file: str, document: type[msgspec.Struct]) -> Iterator[str]:
    """Yield the Markdown of one process's settings."""
    says = sentences(document)
    yield f"## {title}"
    yield ""
    yield f"`{file}` in the state folder."
    yield ""
    yield "| setting | default | what it is |"
    yield "|---|---|---|"
    for field in msgspec.structs.fields(document):
        if field.required:
            default = "needed"
        else:
            made = field.default_factory is not msgspec.NODEFAULT
            value = field.default_factory() if made else field.default
            default = f"`{msgspec.json.encode(value).decode()}`"
        yield f"| `{field.name}` | {default} | {says.get(field.name, '')} |"
    yield ""


def settings_page() -> str:
    """Return `process-settings.md`: every setting of central and of a region."""
    return "\n".join(
        [
            "# Settings of central and region",
            "",
            "Made from the code by `tools/make_docs.py`. Each file is one JSON object, written by",
            "`skerry up` in a local fleet; people may edit it. A setting that does not exist is",
            "refused by name. Settings are read when the process starts. Those of a node are in",
            "[node settings](node-settings.md).",
            "",
            *setting_lines("Central", "central.json", CentralSettings),
            *setting_lines("Region", "region.json", RegionSettings),
        ]
    )


def main() -> int:
    """Write or check the pages; return the exit code."""
    pages = {
        "errors.md": errors_page,
        "cli.md": cli_page,
        "process-settings.md": settings_page,
    }
    stale = []
    for name, make in pages.items():
        text = make()
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
