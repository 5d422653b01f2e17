"""`skerry join`: enrol this machine as a node, by a ticket with a one-time token."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.output import json_option, print_json, say, say_next


@click.command("join")
@click.option(
    "--ticket",
    "ticket_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The ticket file: from `skerry trust ticket`, works once.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for this node's keys, models and records.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address that the node's doors listen on.",
)
@click.option(
    "--tpm",
    default="",
    help="This machine's TPM 2.0, for example device:/dev/tpmrm0; it then shows what it booted.",
)
@click.option(
    "--hardware",
    default="",
    help="The kind of this machine, a machine type of the fleet file; some models want one.",
)
@json_option
def command(
    ticket_path: Path, state: Path, host: str, tpm: str, hardware: str, as_json: bool
) -> None:
    """Enrol this machine as a node.

    The enrolment key that is made here lasts: with it the node comes back from any
    absence with no human. The ticket's token works once.
    """
    import msgspec

    from skerry.base.clock import SystemClock
    from skerry.node.attester import attester_of
    from skerry.node.enrol import join
    from skerry.node.folder import NodeFolder
    from skerry.node.identity import identity_files
    from skerry.node.settings import NodeSettings, write_settings
    from skerry.node.worker import with_free_ports
    from skerry.schema.api import JoinTicket
    from skerry.trust.spiffe import SpiffeId

    try:
        ticket = msgspec.json.decode(ticket_path.read_bytes(), type=JoinTicket)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{ticket_path} is no join ticket: {error}", "make one with: skerry trust ticket"
        ) from error
    name = SpiffeId.parse(ticket.spiffe_id)
    folder = NodeFolder(state.resolve()).make()
    settings = with_free_ports(
        NodeSettings(
            fleet=ticket.fleet,
            domain=name.domain,
            region=name.region,
            site=name.site,
            number=name.number,
            tier=ticket.tier,
            region_url=ticket.region_url,
            region_host=ticket.region_host,
            host=host,
            hardware=hardware,
            tpm=tpm,
        )
    )
    join(
        identity_files(folder, settings),
        ticket,
        inference_url=f"https://{host}:{settings.peer_port}",
        clock=SystemClock(),
        attester=attester_of(settings),
    )
    write_settings(folder.settings, settings)
    if as_json:
        print_json("join", {"node": name.node, "spiffe_id": str(name), "state": str(folder.root)})
    say(f"{name.node} has joined as {name}")
    say_next(f"skerry up --role node --state {state}")
