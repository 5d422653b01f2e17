"""Asking for passphrases and PINs: at the terminal alone, never an argument or the environment."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import UsageError

if TYPE_CHECKING:
    from skerry.trust.roles import OfflineKeys


def open_keys(folder: Path, *, needed: bool = True) -> "OfflineKeys":
    """Open a holder's key folder, asking for what seals it.

    Where keys are not `needed`, a folder without any will do: others then sign.
    """
    from skerry.trust.ceremony_keys import sealed_by
    from skerry.trust.roles import OfflineKeys

    if not needed and not any(folder.glob("*.pem")) and not any(folder.glob("*.token.json")):
        return OfflineKeys(folder, "nobody", {}, [])
    return OfflineKeys.load(folder, passphrase=ask_secret(folder, sealed_by(folder)))


def ask_secret(folder: Path, kind: str) -> str | None:
    """Ask for a passphrase or PIN; None where nothing is sealed."""
    if not kind:
        return None
    return str(click.prompt(f"{kind[0].upper()}{kind[1:]} of {folder}", hide_input=True, err=True))


def new_passphrase(who: str) -> str:
    """Ask for a new passphrase, twice."""
    from skerry.trust.ceremony_keys import PASSPHRASE_LENGTH_MIN

    secret = str(
        click.prompt(
            f"New passphrase for {who}", hide_input=True, confirmation_prompt=True, err=True
        )
    )
    if len(secret) < PASSPHRASE_LENGTH_MIN:
        raise UsageError(
            f"the passphrase of {who} has {len(secret)} characters",
            f"take {PASSPHRASE_LENGTH_MIN} or more; four words that do not belong together do",
        )
    return secret
