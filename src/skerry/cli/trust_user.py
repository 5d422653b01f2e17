"""`skerry trust user`, `login`, `logout`: people with a password or at an OIDC provider."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, print_table, say, say_next


@click.group("user")
def user() -> None:
    """Add, list, change and remove people who log in with a password."""


def _roles_option(command: Callable[..., Any]) -> Callable[..., Any]:
    from skerry.schema.access import ROLES

    return click.option(
        "--role",
        "roles",
        multiple=True,
        type=click.Choice(ROLES),
        help="What they may; give it again for several.",
    )(command)


def _password(name: str, *, stdin: bool) -> str:
    """Ask for a password twice, or read it from stdin where no person types it."""
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    words = f"Password for {name}"
    return str(click.prompt(words, hide_input=True, confirmation_prompt=True, err=True))


@user.command("add")
@click.argument("name")
@_roles_option
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@folder_option
def add(name: str, roles: tuple[str, ...], password_stdin: bool, folder: Path) -> None:
    """Add a person; where two people are asked for, it waits for the second."""
    from skerry.client.access import AccessCalls
    from skerry.schema.access_api import PersonChange

    secret = _password(name, stdin=password_stdin)
    change = PersonChange(name=name, password=secret, roles=roles or ("viewer",))
    AccessCalls(reach(folder).central).change_person(change)
    say(f"{name} may log in, as {', '.join(change.roles or ())}")
    say_next(f"skerry trust login --name {name}   (on their machine)")


@user.command("remove")
@click.argument("name")
@folder_option
def remove(name: str, folder: Path) -> None:
    """Remove a person, with their logins and tokens."""
    from skerry.client.access import AccessCalls
    from skerry.schema.access_api import PersonChange

    AccessCalls(reach(folder).central).change_person(PersonChange(name=name, remove=True))
    say(f"{name} is removed; their logins and tokens have ended")


@user.command("role")
@click.argument("name")
@_roles_option
@folder_option
def role(name: str, roles: tuple[str, ...], folder: Path) -> None:
    """Give a person these roles, in place of those before."""
    from skerry.client.access import AccessCalls
    from skerry.schema.access_api import PersonChange

    AccessCalls(reach(folder).central).change_person(PersonChange(name=name, roles=roles))
    say(f"{name} is {', '.join(roles) or 'without a role'}")


@user.command("passwd")
@click.argument("name")
@click.option("--own", is_flag=True, help="Change your own; asks for the old one.")
@click.option("--password-stdin", is_flag=True, help="Read the new password from stdin.")
@folder_option
def passwd(name: str, own: bool, password_stdin: bool, folder: Path) -> None:
    """Give a person another password; their logins and tokens end."""
    from skerry.client.access import AccessCalls
    from skerry.schema.access_api import PersonChange

    calls = AccessCalls(reach(folder).central)
    if own:
        old = click.prompt("Old password", hide_input=True, err=True)
        calls.change_own_password(name, old, _password(name, stdin=password_stdin))
    else:
        secret = _password(name, stdin=password_stdin)
        calls.change_person(PersonChange(name=name, password=secret))
    say(f"{name} has another password")


@user.command("list")
@folder_option
@json_option
def show(folder: Path, as_json: bool) -> None:
    """List everybody with a password."""
    from skerry.client.access import AccessCalls

    reply = AccessCalls(reach(folder).central).people()
    if as_json:
        print_json("trust-users", reply)
        return
    print_table(("name", "roles"), [(one.name, ", ".join(one.roles)) for one in reply.people])


@click.command("login")
@click.option("--name", default="", help="Who you are, for a password.")
@click.option("--oidc", is_flag=True, help="Log in at the provider that central believes.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@folder_option
def login(name: str, oidc: bool, password_stdin: bool, folder: Path) -> None:
    """Log in; the following commands in this folder go by it, for 8 hours."""
    import webbrowser

    from skerry.client.access import AccessCalls, forget_session, keep_session
    from skerry.trust.oidc_flow import log_in

    place = reach(folder)
    calls = AccessCalls(place.central)
    if oidc:

        def open_page(url: str) -> None:
            say(f"Open this page, if it does not open by itself:\n  {url}")
            webbrowser.open(url)

        answer = log_in(calls.oidc_facts(), open_page)
        session = calls.oidc_login(answer.id_token, answer.nonce)
    else:
        name = name or click.prompt("Name", err=True)
        if password_stdin:
            secret = _password(name, stdin=True)
        else:
            secret = click.prompt("Password", hide_input=True, err=True)
        session = calls.login(name, secret)
    forget_session(place.folder)
    keep_session(place.folder, session)
    say(f"You are {session.name}: {', '.join(session.roles)}")
    say_next("skerry status")


@click.command("logout")
@folder_option
def logout(folder: Path) -> None:
    """End the login of this folder; your certificate, if you have one, speaks again."""
    from skerry.base.errors import SkerryError
    from skerry.client.access import AccessCalls, forget_session

    place = reach(folder)
    try:
        AccessCalls(place.central).logout()
    except SkerryError as error:  # it may have ended there; here it ends in any case
        say(str(error))
    forget_session(place.folder)
    say("Logged out.")
