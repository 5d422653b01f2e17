"""Where a page goes: a file whose folder takes files, tried before anything is computed."""

import tempfile
from pathlib import Path

import click

from skerry.base.errors import UsageError


class PageFile(click.Path):
    """A file to write; raises `UsageError` at once where its folder takes none."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path, after a file without a name was made in its folder and dropped."""
        path = Path(str(super().convert(value, param, ctx)))  # type: ignore[arg-type]
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                return path
        except OSError as error:
            raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UsageError:
    """Return what to say about a file that cannot be written."""
    why = error.strerror or str(error)
    return UsageError(
        f"{path} cannot be written: {why}",
        f"give a file in a folder that exists and takes files; {path.parent} is asked for",
    )
