"""A click group that knows its verbs by name and imports one when it is needed."""

import difflib
from importlib import import_module
from typing import Any

import click

from skerry.base.errors import UsageError

Verbs = dict[str, tuple[str, str]]
"""Verb to the module that holds its command (named `command`), and its sentence."""


class LazyGroup(click.Group):
    """A group over a table of verbs; its help imports none of them."""

    def __init__(self, *args: Any, verbs: Verbs, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order people meet them."""
        return list(self._verbs)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; raises a usage error that names the nearest one."""
        if args and args[0] not in self._verbs and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._verbs, n=1)
            path = ctx.command_path
            advice = f"did you mean: {path} {near[0]}" if near else f"see: {path} --help"
            raise UsageError(f"there is no command {args[0]!r}", advice)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's module and return its command."""
        if cmd_name not in self._verbs:
            return None
        command = import_module(self._verbs[cmd_name][0]).command
        assert isinstance(command, click.Command)  # noqa: S101 - a slip in the table
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs from the table, importing none of them."""
        if self._verbs:
            with formatter.section("Commands"):
                formatter.write_dl([(name, words) for name, (_, words) in self._verbs.items()])
