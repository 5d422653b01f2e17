"""`skerry model optimize`: a smaller variant of a model, held against the original."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from skerry.cli.model_folders import fleet_folder, load_model, version_folder
from skerry.cli.output import json_option, print_json, print_table, say, say_next

if TYPE_CHECKING:
    from skerry.learn.optimize import Figures
    from skerry.learn.variants import Kind


@click.command()
@click.argument("name")
@click.option(
    "--to",
    "kind",
    required=True,
    type=click.Choice(["int8", "int8-dynamic", "fp16"]),
    help="int8 is calibrated on the samples; int8-dynamic finds ranges at each run.",
)
@click.option("--version", help="Which version to start from; the newest if left out.")
@click.option("--as", "as_name", help="Add it as a stand-in of this name, not as a version.")
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("models"),
    show_default=True,
    help="Folder laid out as <repository>/<name>/<version>/model.onnx.",
)
@click.option(
    "--samples",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="npz with rows per input; the card's few samples if left out.",
)
@click.option(
    "--difference-max",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Largest difference allowed, as a share of the original output's range.",
)
@click.option(
    "--agreement-min",
    type=click.FloatRange(0, 1),
    default=0.98,
    show_default=True,
    help="Share of rows that must keep their top class, where there are classes.",
)
@json_option
def optimize(
    name: str,
    kind: str,
    version: str | None,
    as_name: str | None,
    repository: Path,
    samples: Path | None,
    difference_max: float,
    agreement_min: float,
    as_json: bool,
) -> None:
    """Make an INT8 or FP16 variant, compare it with the original, and add it beside it.

    It becomes the next version, or with --as a stand-in. Where it is worse than the limits
    it is refused with the figure, and nothing is written.

    Example:  skerry model optimize scans --to int8 --samples rows.npz
    """
    from skerry.learn.checks import read_arrays
    from skerry.learn.optimize import Limits, optimize

    folder = version_folder(repository, name, version)
    target = as_name or name
    made = optimize(
        folder,
        repository,
        kind=cast("Kind", kind),
        load=load_model,
        name=target,
        version=_next(repository / target),
        rows=read_arrays(samples) if samples is not None else None,
        limits=Limits(difference_ratio_max=difference_max, agreement_ratio_min=agreement_min),
        lock_folder=fleet_folder(repository),
    )
    card, figures = made.added.card, made.figures
    if as_json:
        document: dict[str, Any] = {
            "name": card.name,
            "version": card.version,
            "original_version": int(folder.name),
            "to": kind,
            "folder": str(made.added.folder),
            "manifest_sha256": made.added.manifest_sha256,
            "max_batch": card.max_batch,
            "figures": figures,
        }
        print_json("model-optimize", document)
        return
    click.echo(str(made.added.folder))
    _print_figures(figures)
    if figures.variant_run_us > figures.original_run_us:
        say("the variant is slower on this machine: keep the original for speed")
    say(f"added {card.name} version {card.version}, compared on {figures.rows} rows")
    say_next(f"skerry model show {card.name} --repository {repository}")


def _print_figures(figures: "Figures") -> None:
    agreement = figures.agreement_ratio
    print_table(
        ("FIGURE", "ORIGINAL", "VARIANT"),
        [
            ("bytes", str(figures.original_bytes), str(figures.variant_bytes)),
            ("us per run", f"{figures.original_run_us:.1f}", f"{figures.variant_run_us:.1f}"),
            (
                "largest difference",
                "-",
                f"{figures.difference_max:.3g} ({figures.difference_ratio:.2%} of the range)",
            ),
            ("same top class", "-", "-" if agreement is None else f"{agreement:.2%}"),
        ],
    )


def _next(home: Path) -> int:
    """Return the number after a model's newest version."""
    taken = [int(path.name) for path in home.glob("*") if path.name.isdecimal()]
    return max(taken, default=0) + 1
