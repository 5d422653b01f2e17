"""`skerry report tco|site|capacity|energy|plan`: a plan's verb whose outcome is its page.

Each is the plan verb of the same question, with the same options but for `--report`:
`--out` says where the page goes, and it is always written.
"""

from importlib import import_module
from pathlib import Path

import click

from skerry.cli.out_file import PageFile
from skerry.cli.plan import VERBS
from skerry.cli.plan import command as plan

PAGES = {
    "tco": ("cost", "total cost of ownership, tier by tier"),
    "site": ("site", "where to put sites"),
    "capacity": ("capacity", "how many servers a trace needs"),
    "energy": ("energy", "energy, solar and battery"),
    "plan": ("", "a day of the fleet against its goals"),
}
"""Report to the verb of `skerry plan` that makes it (none: plan itself), and its subject."""


def page_of(report: str) -> click.Command:
    """Return a plan verb as a report: same options, and `--out` for the page."""
    verb, subject = PAGES[report]
    found = import_module(VERBS[verb][0]).command if verb else plan
    assert isinstance(found, click.Command)  # noqa: S101 - a slip in the table of verbs
    out = click.Option(
        ["--out", "page_path"],
        type=PageFile(),
        default=Path(f"{report}.html"),
        show_default=True,
        help="Where the page goes.",
    )
    options = [out if one.name == "page_path" else one for one in found.params]
    name = f"skerry plan {verb}".rstrip()
    return click.Command(
        report,
        params=options,
        callback=found.callback,
        help=f"Make a page: {subject}. The options are those of `{name}`.",
        short_help=f"A page: {subject}.",
    )
