"""`skerry demo`: the whole story, unattended, on this machine."""

import shutil
from pathlib import Path

import click

from skerry.base.errors import Exit, UsageError
from skerry.cli.output import json_option, print_json, print_table, say, say_next
from skerry.cli.words import figure_text, goal_text, name_text


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("skerry-demo"),
    show_default=True,
    help="Where the story leaves everything; an earlier demo there is replaced.",
)
@json_option
def command(folder: Path, as_json: bool) -> int:
    """Run the story: a fleet of three clinics, drills, a bad release, a pilot, a verdict.

    Takes about four minutes on two cores. Ends with 0 only if every promise held.
    """
    from skerry.local.story import Story

    if folder.exists() and any(folder.iterdir()) and not (folder / "fleet.yaml").exists():
        raise UsageError(f"{folder} holds something else", "name an empty folder with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    story = Story(folder, say).tell()
    if as_json:
        print_json("demo", story)
        return story.exit_code
    click.echo()
    print_table(
        ("tier", "requests", "failed", "local", "p50", "p95", "p99", "offered", "accuracy"),
        [
            (
                row.tier,
                str(row.requests),
                str(row.failed),
                _percent(row.local_ratio),
                _ms(row.latency_ms_p50),
                _ms(row.latency_ms_p95),
                _ms(row.latency_ms_p99),
                f"{row.offered_per_s:.1f}/s",
                _percent(row.accuracy_ratio),
            )
            for row in story.tiers
        ],
    )
    click.echo()
    print_table(
        ("goal", "wanted", "predicted", "pilot", "cloud only", "verdict"),
        [
            (
                name_text(goal.name),
                goal_text(goal.name, goal.goal),
                figure_text(goal.name, goal.predicted),
                figure_text(goal.name, goal.measured),
                figure_text(goal.name, goal.baseline),
                goal.verdict.value,
            )
            for goal in story.goals
        ],
    )
    click.echo()
    print_table(
        ("drill", "requests", "failed", "lost", "twice", "leaked", "p95", "grade"),
        [
            (
                drill.kind.value,
                str(drill.requests),
                str(drill.failed),
                str(drill.lost),
                str(drill.twice),
                str(drill.leaked),
                _ms(drill.latency_ms_p95),
                "passed" if drill.passed else "failed",
            )
            for drill in story.drills
        ],
    )
    click.echo()
    for release in story.releases:
        click.echo(f"{release.change}: {release.outcome} in {release.duration_s:.0f} s")
    for name, value in story.facts.items():
        click.echo(f"{name}: {value}")
    click.echo(f"processes left: {story.processes_left}")
    click.echo()
    click.echo(f"Verdict: {story.verdict}")
    say(f"{story.duration_s:.0f} s; {story.exit_reason}")
    say(f"Links were emulated and keys are throwaway ones. Page: {folder / 'story.html'}")
    say_next(f"open {folder / 'story.html'}")
    return int(Exit.DONE) if story.exit_code == 0 else int(Exit.BAD_OUTCOME)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio * 100:.1f} %"
