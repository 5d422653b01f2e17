"""`skerry report`: make a report as one HTML page."""

from pathlib import Path

import click

from skerry.cli.output import json_option, print_json, say


@click.group("report")
def command() -> None:
    """Make a report as one HTML page that opens by double click and prints well."""


@command.command("story")
@click.option(
    "--from",
    "record_path",
    type=click.Path(path_type=Path),
    default=Path("story.json"),
    show_default=True,
    help="The story's record, or a page that was made from it.",
)
@click.option(
    "--out",
    "page_path",
    type=click.Path(path_type=Path),
    default=Path("story.html"),
    show_default=True,
    help="Where the page goes.",
)
@json_option
def story(record_path: Path, page_path: Path, as_json: bool) -> None:
    """Make the story's page from its record; no network, no browser needed."""
    from skerry.base.files import write_atomic
    from skerry.proof.story_report import read_story, story_html

    record = read_story(record_path)
    page = story_html(record).encode()
    write_atomic(page_path, page)
    if as_json:
        print_json(
            "report",
            {"page": str(page_path), "bytes": len(page), "exit_code": record.exit_code},
        )
        return
    click.echo(page_path)
    say(f"{len(page) / 1000:.0f} kB, self-contained; open it in any browser, or print it")
