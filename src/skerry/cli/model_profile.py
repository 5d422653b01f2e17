"""`skerry model profile`: measure a model on this machine and keep the choice beside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.base.errors import UsageError
from skerry.cli.model_folders import version_folder
from skerry.cli.output import json_option, print_json, print_table, say, say_next

if TYPE_CHECKING:
    from skerry.schema.profile import Profile


@click.command()
@click.argument("target", metavar="NAME|FILE")
@click.option("--version", help="Which version; the newest if left out.")
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
    help="npz with an array per input; the card's samples, else zeros, if left out.",
)
@click.option("--latency", is_flag=True, help="Allow a second thread, where a core is free.")
@json_option
def profile(
    target: str,
    version: str | None,
    repository: Path,
    samples: Path | None,
    latency: bool,
    as_json: bool,
) -> None:
    """Measure a model here: batches, threads, arena, IO binding; write profile.json beside it.

    A server on this machine uses it at the next load. Takes some seconds; run it while the
    machine has nothing else to do.

    Example:  skerry model profile magika
    """
    import msgspec

    from skerry.base.files import write_atomic
    from skerry.schema.model import MODEL_FILE
    from skerry.schema.profile import PROFILE_FILE
    from skerry.serve.profile import measure

    path = Path(target)
    if not path.is_file():
        path = version_folder(repository, target, version) / MODEL_FILE
    found = measure(path, _samples(path, samples), latency=latency)
    written = ""
    if path.name == MODEL_FILE:
        written = str(path.parent / PROFILE_FILE)
        encoded = msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
        write_atomic(Path(written), encoded)
    if as_json:
        print_json("model-profile", {"file": str(path), "written": written, "profile": found})
        return
    print_profile(found)
    if written:
        say(f"written to {written}; a server uses it at its next load of the model")
        say_next(f"skerry model explain {path.parent.parent.name} --repository {repository}")
    else:
        say(f"not written: a server reads profiles beside a file named {MODEL_FILE} only")


def print_profile(found: "Profile") -> None:
    """Print the figures and what was chosen from them."""
    print_table(
        ("BATCH", "US PER RUN", "US PER ITEM"),
        [(str(p.items), f"{p.run_us:.1f}", f"{p.item_us:.2f}") for p in found.batch_curve],
    )
    variants = [
        (f"{one.threads} thread{'s' if one.threads > 1 else ''}", f"{one.run_us:.1f}")
        for one in found.threads
    ]
    variants.append(("with arena", f"{found.arena_run_us:.1f}"))
    if found.io_binding_run_us is not None:
        variants.append(("with IO binding", f"{found.io_binding_run_us:.1f}"))
    print_table(("VARIANT", "US PER RUN"), variants)
    for reason in found.reasons:
        click.echo(reason)


def _samples(path: Path, given: Path | None) -> "dict[str, Any] | None":
    """Return one array per input: as given, or as the card has them."""
    from skerry.schema.model import CARD_FILE
    from skerry.serve.loading import card_inputs, read_card
    from skerry.serve.onnx_engine import OnnxModel

    model = OnnxModel(path.name, path)
    if given is None:
        card = read_card(path.parent / CARD_FILE)
        return card_inputs(card, model.inputs) if card is not None else None
    from skerry.learn.checks import read_arrays
    from skerry.schema.oip import DATATYPES

    arrays = read_arrays(given)
    missing = [spec.name for spec in model.inputs if spec.name not in arrays]
    if missing:
        raise UsageError(
            f"{given} holds no array named {', '.join(missing)}",
            "give one array per input of the model, by its name",
        )
    return {
        spec.name: arrays[spec.name].astype(DATATYPES[spec.datatype], copy=False)
        for spec in model.inputs
    }
