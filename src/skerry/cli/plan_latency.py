"""`skerry plan latency`: what a round trip between two places should take."""

from pathlib import Path

import click

from skerry.cli.plan_show import assumption_options, plan_options, show


@click.command("latency")
@click.option(
    "--pairs",
    "pairs_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Pairs of places: names, coordinates or distances, and round trips where measured.",
)
@click.option(
    "--fit",
    "fit_path",
    type=click.Path(path_type=Path),
    help="Fit the model on this file of measured pairs, in place of the shipped one.",
)
@click.option(
    "--cities",
    "cities_path",
    type=click.Path(path_type=Path),
    help="Where names lie: city,lat,lon.",
)
@click.option(
    "--measured",
    metavar="COLUMN",
    help="The column of measured round trips, in ms.  [default: avg_ms]",
)
@assumption_options
@plan_options
def command(
    pairs_path: Path,
    fit_path: Path | None,
    cities_path: Path | None,
    measured: str | None,
    settings: tuple[str, ...],
    assume_path: Path | None,
    page_path: Path | None,
    as_json: bool,
) -> None:
    """Predict round trips from distance, never faster than light in fibre, and judge them.

    Measurements that light forbids are listed, by coordinates and by the file's distances.
    """
    from skerry.plan.assumptions import assumptions
    from skerry.plan.latency.pairs import read_pairs
    from skerry.plan.latency.report import latency_report

    inputs = assumptions("latency", path=assume_path, settings=settings)
    column = measured or "avg_ms"
    named = measured is not None and fit_path is None
    pairs = read_pairs(pairs_path, cities_path, measured=column, needed=named)
    fit = None
    if fit_path is not None:
        fit = read_pairs(fit_path, cities_path, measured=column, needed=True, spread=True)
    show(latency_report(pairs, fit, inputs), as_json=as_json, page_path=page_path)
