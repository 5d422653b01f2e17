"""`skerry plan site`: where sites should be."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import Finite
from skerry.cli.plan_show import assumption_options, plan_options, show, write_option


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
    type=Finite(above=True),
    help="The number for the word 'capacity' of OR-Library's large files.",
)
@click.option("--split", is_flag=True, help="Let several sites share one demand.")
@click.option(
    "--seconds",
    type=Finite(1, 86_400),
    default=60.0,
    show_default=True,
    help="How long to search; a proven optimum ends it sooner.",
)
@click.option("--tier", help="Which tier of the fleet file the sites get, for --write.")
@click.option("--region", help="Which region of the fleet file they belong to, for --write.")
@click.option(
    "--from-run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Measured figures (JSON): the error of the predicted round trip is printed.",
)
@write_option
@assumption_options
@plan_options
def command(
    instance_path: Path,
    kind: str,
    capacity: float | None,
    split: bool,
    seconds: float,
    tier: str | None,
    region: str | None,
    run_path: Path | None,
    fleet_path: Path,
    write: bool,
    settings: tuple[str, ...],
    assume_path: Path | None,
    page_path: Path | None,
    as_json: bool,
) -> None:
    """Choose the sites that serve all demand at the least cost, within every rule.

    Each demand goes to one site unless --split is given. The answer has its lower bound and
    gap, and is checked by code of its own. Exit code 1: no plan exists, or none was found.
    """
    import msgspec

    from skerry.base.errors import Exit
    from skerry.cli.progress import progress
    from skerry.plan.assumptions import assumptions
    from skerry.plan.from_run import read_run
    from skerry.plan.predict import prediction_errors
    from skerry.plan.site.answer import plan_site
    from skerry.plan.site.case import read_case

    if write and tier is None:
        raise UsageError("--write needs to know what the sites become", "give --tier NAME")
    run = read_run(run_path) if run_path else None
    inputs = assumptions("site", "latency", path=assume_path, settings=settings)
    case = read_case(instance_path, kind, inputs, split=split, capacity=capacity)
    with progress("sites") as tell:
        report = plan_site(case, seconds=seconds, tell=tell, tier=tier, region=region)
    if run is not None:
        errors = prediction_errors(report.goals, run.goals)
        report = msgspec.structs.replace(
            report, prediction_error_ratio={name.value: one for name, one in errors.items()}
        )
    solved = report.figures["status"] not in ("infeasible", "unknown")
    write_path = fleet_path if write and solved else None
    show(report, as_json=as_json, page_path=page_path, write_path=write_path)
    if not solved:
        raise click.exceptions.Exit(int(Exit.BAD_OUTCOME))
