"""`skerry report`: the story or a plan as one HTML page, a shadow as figures."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.cli.out_file import PageFile
from skerry.cli.output import json_option, print_json, print_table, say
from skerry.cli.report_plan import PAGES, page_of

if TYPE_CHECKING:
    from skerry.proof.agreement import Agreement, Figure


@click.group("report")
def command() -> None:
    """Make a report: the story or a plan as an HTML page, a shadow as figures with intervals."""


for name in PAGES:
    command.add_command(page_of(name))


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
    type=PageFile(),
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


@command.command("shadow")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the figures to this file, as JSON."
)
@json_option
def shadow(paths: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Say how candidates compare with what serves, from the records below PATHS.

    A path is a *.shadow.json file or a folder: a node's state, a client's shadow folder, or a
    whole local fleet. Without one this folder is searched.

    Example:  skerry report shadow .skerry/nodes/oslo-1
    """
    import msgspec

    from skerry.base.files import write_atomic
    from skerry.proof.agreement import agreement
    from skerry.route.shadow_files import records_in

    found = [agreement(record) for path in paths or (Path(),) for record in records_in(path)]
    if out is not None:
        document = {"schema": "skerry.shadow-report/1", "shadows": found}
        write_atomic(out, msgspec.json.format(msgspec.json.encode(document), indent=2))
        say(f"written to {out}")
    if as_json:
        print_json("report-shadow", {"shadows": found})
    elif not found:
        say("no shadow record here; rules are the setting `shadow` of a node, or `Client(shadow=)`")
    else:
        _print_shadows(found)


def _print_shadows(found: "list[Agreement]") -> None:
    heads = ("MODEL", "CANDIDATE", "AT", "COMPARED", "SAME", "WITHIN", "SLOWER BY, MS")
    rows = [
        (
            one.model,
            f"{one.candidate}{' v' + one.version if one.version else ''}",
            one.to,
            str(one.compared),
            _percent(one.same),
            _percent(one.within),
            _range(one.latency_ms_median_difference),
        )
        for one in found
    ]
    print_table(heads, rows)
    for one in found:
        for why, count in one.not_compared.items():
            say(f"{one.model} > {one.candidate}: {count} of {one.sampled} not compared, {why}")


def _percent(figure: "Figure | None") -> str:
    if figure is None:
        return "-"
    return f"{figure.value:.2%} ({figure.low:.2%} to {figure.high:.2%})"


def _range(figure: "Figure | None") -> str:
    if figure is None:
        return "-"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
