"""`skerry trust client-token`: a bearer token for a client of the inference doors."""

import click

from skerry.cli.output import json_option, print_json, say


@click.command("client-token")
@click.argument("name", metavar="NAME")
@json_option
def command(name: str, as_json: bool) -> None:
    """Make a bearer token for one client, and the line that lets it in.

    The token goes to the client and nowhere else; its hash goes under `trust: clients: tokens:`
    in the fleet file, or into the file of `skerry serve --client-tokens`.

    Example:  skerry trust client-token checkout
    """
    from skerry.base.ids import token as checked
    from skerry.serve.client_gate import new_token, token_sha256

    checked("client", name)
    token = new_token()
    if as_json:
        print_json(
            "trust-client-token", {"name": name, "token": token, "sha256": token_sha256(token)}
        )
        return
    say(f"{name} {token_sha256(token)}   (list this; it is no secret)")
    click.echo(token)
