"""`skerry trust status`: everything that ends in the fleet, what is near on top."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import Exit, SkerryError
from skerry.cli.folders import Reach, folder_option, reach
from skerry.cli.output import json_option, print_json, print_table, say, say_next

if TYPE_CHECKING:
    from skerry.schema.expiry import Expiry

SHAPES = {"ok": "●", "ENDS_SOON": "▲", "RENEWAL_LATE": "▲", "ENDED": "■"}


@click.command("status")
@click.option("--all", "whole", is_flag=True, help="Every node and login, not only what is near.")
@folder_option
@json_option
def status(whole: bool, folder: Path, as_json: bool) -> int:
    """Show when roles, authorities, certificates and logins end, the nearest first.

    Exits 0 if nothing is near, 1 if something ends soon, ended, or should have renewed itself,
    and 5 if central or a region did not answer.
    """
    from skerry.base.clock import SystemClock
    from skerry.schema.expiry import Ending, ending, left_text

    now = SystemClock().unix_s()
    found, silent = _ask(reach(folder))
    words = [(one, ending(one, now)) for one in found]
    near = [one for one, word in words if word is not Ending.FAR]
    if as_json:
        rows = [
            {
                "kind": one.kind,
                "name": one.name,
                "word": word,
                "ends_unix_s": one.ends_unix_s,
                "days_left": (one.ends_unix_s - now) / 86_400 if one.ends_unix_s else None,
                "renews_itself": one.renews_itself,
                "text": one.text,
            }
            for one, word in words
        ]
        print_json("trust-status", {"expiries": rows, "near": len(near), "silent": silent})
    else:
        # What people renew is always shown; what renews itself only when it has not.
        shown = [
            (one, word)
            for one, word in words
            if whole or word is not Ending.FAR or (one.ends_unix_s and not one.renews_itself)
        ]
        shown.sort(key=lambda row: (row[1] is Ending.FAR, row[0].ends_unix_s or float("inf")))
        print_table(
            ("state", "what", "name", "left", "renewed by", "detail"),
            [
                (
                    f"{SHAPES[word]} {word}",
                    one.kind,
                    one.name,
                    left_text(one, now),
                    "itself" if one.renews_itself else "people" if one.ends_unix_s else "-",
                    one.text,
                )
                for one, word in shown
            ],
        )
        if len(shown) < len(words):
            say(f"{len(words) - len(shown)} more are fine; --all shows them")
    for who, why in silent.items():
        say(f"{who} did not answer, so what ends there is unknown: {why}")
    roles = [one.name for one in near if one.kind == "role" and not one.renews_itself]
    if roles:
        say_next(f"skerry trust renew {' '.join(roles)}")
    if silent:
        return Exit.UNREACHABLE
    return Exit.BAD_OUTCOME if near else Exit.DONE


def _ask(fleet: Reach) -> "tuple[list[Expiry], dict[str, str]]":
    """Ask central and every region, and look at this operator's own files."""
    from skerry.trust import expiries

    found = expiries.of_certificates(fleet.roots.read_bytes())
    found += expiries.of_certificates(fleet.identity.read_bytes())
    silent: dict[str, str] = {}
    for who in ("central", *fleet.region_urls):
        process = fleet.central if who == "central" else fleet.region(who)
        try:
            found += process.expiries()
        except SkerryError as error:
            silent[who] = str(error)
    return expiries.unique(found), silent
