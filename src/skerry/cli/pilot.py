"""`skerry pilot`: the same requests to the fleet and to a central cloud, and a verdict."""

import sys
from pathlib import Path

import click

from skerry.base.errors import Exit, UsageError
from skerry.cli.folders import folder_option, running
from skerry.cli.output import json_option, print_json, print_table, say, say_next
from skerry.cli.words import figure_text, goal_text, name_text


@click.command("pilot")
@click.option(
    "--requests",
    type=click.IntRange(20, 100_000),
    default=240,
    show_default=True,
    help="Files that go to both arms; a p95 with an interval wants about 100 or more.",
)
@click.option("--data-class", help="Class of the requests; it must be one that may travel.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the order.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("pilot.json"),
    show_default=True,
    help="Where the record goes.",
)
@folder_option
@json_option
def command(
    requests: int, data_class: str | None, seed: int, out: Path, folder: Path, as_json: bool
) -> int:
    """Measure the running fleet against its cloud alone, goal by goal.

    In a local fleet the links are emulated, so no verdict says more than *emulated*. An
    A/A run (the fleet against itself) has to find no difference.
    """
    import msgspec

    from skerry.base.files import write_atomic
    from skerry.fleet.load import load_fleet
    from skerry.local.pilot import run_pilot
    from skerry.local.range import PEOPLE, known_files
    from skerry.plan.predict import predict
    from skerry.plan.trace import story_trace
    from skerry.schema.fleet import Kind

    local, run = running(folder)
    fleet = load_fleet(local.root)
    clouds = [site.name for site in fleet.sites if site.kind is Kind.CLOUD and site.nodes]
    if not clouds:
        raise UsageError("the fleet has no cloud site to compare with", "add one, or use `plan`")
    model = fleet.models[0]
    with click.progressbar(length=requests, label="pilot", file=sys.stderr) as bar:
        outcome = run_pilot(
            run,
            fleet,
            predict(
                fleet,
                lambda one: story_trace(fleet, requests=20_000, seed=one),
                seeds=range(seed, seed + 5),
            ),
            known_files(seed, requests),
            sites=[site.name for site in fleet.sites if site.kind in PEOPLE],
            cloud_site=clouds[0],
            model=model.name,
            data_class=data_class or model.data_classes[-1],
            seed=seed,
            progress=lambda done, _: bar.update(1),
        )
    record = outcome.record
    write_atomic(out, msgspec.json.format(msgspec.json.encode(record), indent=1))
    if as_json:
        print_json("pilot", {"record": record, "a_a": outcome.a_a})
    else:
        words = {one.name: one.word for one in record.comparisons}
        print_table(
            ("goal", "wanted", "this fleet", "cloud only", "fleet is", "verdict"),
            [
                (
                    name_text(goal.name),
                    goal_text(goal.name, goal.goal),
                    figure_text(goal.name, goal.measured),
                    figure_text(goal.name, goal.baseline),
                    words.get(goal.name, "-"),
                    goal.verdict.value,
                )
                for goal in record.goals
            ],
        )
        click.echo(f"\nVerdict: {record.verdict}")
        click.echo(f"A/A run: {outcome.a_a.word}")
    say(f"Record: {out}")
    say_next("skerry status")
    missed = any(goal.verdict.value.startswith("missed") for goal in record.goals)
    bad = missed or outcome.a_a.word != "no difference"
    return Exit.BAD_OUTCOME if bad else Exit.DONE
