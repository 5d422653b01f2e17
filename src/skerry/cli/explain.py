"""`skerry help CODE`: what an error code means, without a network."""

import importlib
import pkgutil

import click

from skerry.base.errors import SkerryError, UsageError
from skerry.cli.output import json_option, print_json


@click.command(name="help")
@click.argument("code")
@json_option
def command(code: str, as_json: bool) -> None:
    """Explain an error code such as E0312."""
    for kind in sorted(_error_classes(), key=lambda kind: kind.__name__):
        if kind.code == code.upper() and "code" in vars(kind):
            text = " ".join((kind.__doc__ or "").split())
            if as_json:
                document = {"code": kind.code, "name": kind.__name__, "text": text}
                print_json("help", {**document, "exit_code": int(kind.exit_code)})
                return
            click.echo(f"{kind.code}  {kind.__name__}  (exit code {int(kind.exit_code)})")
            click.echo(text)
            return
    raise UsageError(
        f"there is no error code {code!r}",
        "codes look like E0312 and stand in brackets after error",
    )


def _error_classes() -> set[type[SkerryError]]:
    """Import every `errors` module and its neighbours that can be imported here."""
    package = importlib.import_module("skerry")
    for module in pkgutil.walk_packages(package.__path__, "skerry."):
        if module.name.endswith(("__main__", "_pb2", "_pb2_grpc")):
            continue
        try:
            importlib.import_module(module.name)
        except ImportError:  # an extra that is not installed has no errors to explain
            continue
    found: set[type[SkerryError]] = set()
    waiting: list[type[SkerryError]] = [SkerryError]
    while waiting:
        kind = waiting.pop()
        found.add(kind)
        waiting += kind.__subclasses__()
    return found
