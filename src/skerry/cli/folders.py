"""Where a command finds its fleet: what runs from this folder, or the machines it names.

A local fleet (`skerry up`) comes first; where none runs, `.skerry/context.json` says
where central and the regions of a real fleet are, and as whom to ask.
"""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Reach:
    """One fleet as its operator reaches it."""

    folder: Path
    domain: str
    central: "Operator"
    region_urls: dict[str, str]
    identity: Path
    roots: Path
    offline: Path
    """The offline signing keys."""
    tuf_root: Path
    """Root metadata that trust begins with."""
    emulated: bool
    """Whether the links between its places are."""
    since_unix_s: float
    """When it was started, where that is known; 0 else."""

    def region(self, name: str) -> "Operator":
        """Return a region as the operator sees it."""
        from skerry.client.operator import Operator
        from skerry.trust.spiffe import region_id

        return Operator.with_identity(
            self.region_urls[name], region_id(self.domain, name).host, self.identity, self.roots
        )


def running(folder: Path) -> "tuple[LocalFolder, RunFile]":
    """Return what runs on this machine from a folder; raises `NotRunningError` if nothing does."""
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


def reach(folder: Path) -> Reach:
    """Return the fleet of a folder; raises `NotRunningError` where there is no way to one."""
    import msgspec

    from skerry.base.clock import SystemClock
    from skerry.base.errors import UsageError
    from skerry.client.access import read_session
    from skerry.client.operator import Operator
    from skerry.local.errors import NotRunningError
    from skerry.local.up import OPERATOR
    from skerry.schema.context import CONTEXT_FILE, read_context
    from skerry.trust.spiffe import central_id

    try:
        local, run = running(folder)
    except NotRunningError:
        try:
            context = read_context(folder)
        except msgspec.DecodeError as error:
            raise UsageError(f"{folder / CONTEXT_FILE}: {error}", "mend or remove it") from error
        if context is None:
            raise
        identity, roots = folder / context.identity, folder / context.roots
        session = read_session(folder, SystemClock().unix_s())
        shown = identity if context.identity and identity.exists() else None
        return Reach(
            folder=folder,
            domain=context.domain,
            central=Operator.with_identity(
                context.central_url,
                central_id(context.domain).host,
                shown,
                roots,
                token=session.token if session else "",
            ),
            region_urls=context.region_urls,
            identity=identity,
            roots=roots,
            offline=folder / context.offline,
            tuf_root=(folder / context.roots).with_name("1.root.json"),
            emulated=False,
            since_unix_s=0.0,
        )
    identity = local.keys / "operators" / f"{OPERATOR}.pem"
    session = read_session(local.root, SystemClock().unix_s())
    roots = local.keys / "roots.pem"
    return Reach(
        folder=local.root,
        domain=run.domain,
        central=Operator.with_identity(
            run.central_url,
            central_id(run.domain).host,
            identity,
            roots,
            token=session.token if session else "",
        ),
        region_urls={name: region.url for name, region in run.regions.items()},
        identity=identity,
        roots=roots,
        offline=local.keys / "offline",
        tuf_root=local.keys / "1.root.json",
        emulated=bool(run.links),
        since_unix_s=run.started_unix_s,
    )
