"""The trace of `skerry plan compare` and `plan place`: a file, or a day made up."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from skerry.plan.trace import Trace
    from skerry.schema.fleet import Fleet
    from skerry.schema.run_figures import RunFigures

Command = TypeVar("Command", bound=Callable[..., Any])


def trace_options(command: Command) -> Command:
    """Add `--trace`, `--requests`, `--seed` and `--from-run`."""
    path = click.Path(path_type=Path)
    for option in (
        click.option(
            "--from-run",
            "run_path",
            type=path,
            help="Measured figures (JSON): service times replace the tables, errors are printed.",
        ),
        click.option("--seed", type=click.IntRange(0), default=7, show_default=True),
        click.option(
            "--requests",
            type=click.IntRange(1, 2_000_000),
            default=20_000,
            show_default=True,
            help="Requests in the day that is made up when no trace is given.",
        ),
        click.option(
            "--trace",
            "trace_path",
            type=path,
            help="Replay this CSV (arrival_s,site,model,data_class,bytes).",
        ),
    ):
        command = option(command)
    return command


def fleet_and_trace(
    fleet_path: Path, trace_path: Path | None, run_path: Path | None, requests: int, seed: int
) -> "tuple[Fleet, Trace, RunFigures | None]":
    """Read what the options name; without a trace a day of office hours is made up."""
    from skerry.fleet.load import load_fleet
    from skerry.plan.from_run import read_run
    from skerry.plan.trace import read_trace, story_trace

    fleet = load_fleet(fleet_path)
    run = read_run(run_path) if run_path else None
    if trace_path is not None:
        return fleet, read_trace(trace_path, fleet), run
    return fleet, story_trace(fleet, requests=requests, seed=seed), run
