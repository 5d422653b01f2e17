"""`skerry plan site`: where sites should be."""

from pathlib import Path

import click

from skerry.cli.plan_show import assumption_options, plan_options, show


@click.command("site")
@click.option(
    "--instance",
    "instance_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Candidates, demands and rules: JSON, or a file of OR-Library.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "orlib-cap", "orlib-pmed"]),
    default="json",
    show_default=True,
    help="What the instance is written in.",
)
@click.option(
    "--capacity",
    type=click.FloatRange(0, min_open=True),
    help="The number for the word 'capacity' of OR-Library's large files.",
)
@click.option("--split", is_flag=True, help="Let several sites share one demand.")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86_400),
    default=60.0,
    show_default=True,
    help="How long to search; a proven optimum ends it sooner.",
)
@assumption_options
@plan_options
def command(
    instance_path: Path,
    kind: str,
    capacity: float | None,
    split: bool,
    seconds: float,
    settings: tuple[str, ...],
    assume_path: Path | None,
    page_path: Path | None,
    as_json: bool,
) -> None:
    """Choose the sites that serve all demand at the least cost, within every rule.

    Each demand goes to one site unless --split is given. The answer has its lower bound and
    gap, and is checked by code of its own. Exit code 1: no plan exists, or none was found.
    """
    from skerry.base.errors import Exit
    from skerry.cli.progress import progress
    from skerry.plan.assumptions import assumptions
    from skerry.plan.site import plan_site
    from skerry.plan.site_case import read_case

    inputs = assumptions("site", "latency", path=assume_path, settings=settings)
    case = read_case(instance_path, kind, inputs, split=split, capacity=capacity)
    with progress("sites") as tell:
        report = plan_site(case, seconds=seconds, tell=tell)
    show(report, as_json=as_json, page_path=page_path)
    if report.figures["status"] in ("infeasible", "unknown"):
        raise click.exceptions.Exit(int(Exit.BAD_OUTCOME))
