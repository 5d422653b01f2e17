"""`skerry init`: start a fleet folder from a template."""

from pathlib import Path

import click

from skerry.cli.output import json_option, print_json, say, say_next


@click.command("init")
@click.argument("name")
@click.option("--template", default="clinic", show_default=True, help="What to start from.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to write; a folder NAME if left out."
)
@json_option
def command(name: str, template: str, folder: Path | None, as_json: bool) -> None:
    """Start a fleet folder NAME: a fleet file that works, and help for your editor."""
    from skerry.fleet.load import load_fleet
    from skerry.fleet.start import start_from

    target = start_from(template, name, folder or Path(name))
    fleet = load_fleet(target)
    lines = target.read_text("utf-8").count("\n")
    if as_json:
        print_json("init", {"file": str(target), "template": template, "sites": len(fleet.sites)})
        return
    say(
        f"Created {target}  {len(fleet.sites)} sites, {len(fleet.models)} models, "
        f"{lines} lines of YAML with comments"
    )
    say_next(f"cd {target.parent} && skerry check")
