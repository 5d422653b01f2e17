"""`skerry plan batching`: energy per request against time per token."""

import time
from pathlib import Path

import click

from skerry.cli.numbers import PUE_MAX, Finite
from skerry.cli.plan_show import assumption_options, plan_options, show


@click.command("batching")
@click.option("--gpu", required=True, help="The accelerator, such as H100.")
@click.option(
    "--inter-token-ms",
    "limit_ms",
    type=Finite(0, 1e6, above=True),
    required=True,
    help="The longest time between two tokens of an answer.",
)
@click.option(
    "--tokens-per-request",
    type=Finite(0, 1e7, above=True),
    default=250.0,
    show_default=True,
)
@click.option(
    "--requests-per-s",
    type=Finite(0, 1e9, above=True),
    help="The load: a batch is only as full as it fills it.  [default: full batches]",
)
@click.option("--pue", type=Finite(1, PUE_MAX), default=1.0, show_default=True)
@click.option(
    "--curve",
    "curve_path",
    type=click.Path(path_type=Path),
    help="Your own measurement: gpu, batch_limit, j_per_token, inter_token_ms.",
)
@click.option(
    "--from-run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Measured figures (JSON): the error of the energy per 1,000 requests is printed.",
)
@assumption_options
@plan_options
def command(
    gpu: str,
    limit_ms: float,
    tokens_per_request: float,
    requests_per_s: float | None,
    pue: float,
    curve_path: Path | None,
    run_path: Path | None,
    settings: tuple[str, ...],
    assume_path: Path | None,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Find the batch limit that spends least energy and keeps tokens in time."""
    from skerry.plan.assumptions import assumptions
    from skerry.plan.energy.batching import batching_report, read_curve
    from skerry.plan.from_run import measured, read_run
    from skerry.schema.goal import GoalName

    run = read_run(run_path) if run_path is not None else None
    report = batching_report(
        read_curve(curve_path, gpu),
        assumptions("energy", path=assume_path, settings=settings),
        limit_ms=limit_ms,
        tokens_per_request=tokens_per_request,
        requests_per_s=requests_per_s,
        pue_ratio=pue,
        at_unix_s=time.time(),
        measured_wh_per_1k=measured(run, GoalName.ENERGY_WH_PER_1K) if run else None,
    )
    show(report, as_json=as_json, page_path=page_path)
