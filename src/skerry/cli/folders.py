"""Where a command finds its fleet: the folder that holds the fleet file, and what runs from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from skerry.client.operator import Operator
    from skerry.local.folder import LocalFolder
    from skerry.schema.run_file import RunFile


def folder_option(command: Any) -> Any:
    """Add `--folder` to a command."""
    return click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        show_default="the current folder",
        help="Folder of the fleet.",
    )(command)


def running(folder: Path) -> "tuple[LocalFolder, RunFile]":
    """Return what runs from a folder; raises `NotRunningError` where nothing does."""
    import msgspec

    from skerry.base.processes import is_alive
    from skerry.local.errors import NotRunningError
    from skerry.local.folder import LocalFolder
    from skerry.schema.run_file import read_run_file

    local = LocalFolder(folder.resolve())
    try:
        run = read_run_file(local.run_file)
    except (OSError, msgspec.DecodeError) as error:
        raise NotRunningError(str(local.root)) from error
    if not is_alive(run.supervisor_pid):  # it was killed and could not take its file with it
        raise NotRunningError(str(local.root))
    return local, run


def central_of(local: "LocalFolder", run: "RunFile") -> "Operator":
    """Return central as the local operator sees it."""
    from skerry.local.up import operator_of

    return operator_of(local, run.domain, run.central_url)
