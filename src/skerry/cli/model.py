"""`skerry model`: add a model to the repository, look at one, list them all, tune one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.base.errors import UsageError
from skerry.cli.model_explain import explain
from skerry.cli.model_folders import FLEET_FILE, fleet_folder, load_model
from skerry.cli.model_optimize import optimize
from skerry.cli.model_origin import check_origin, origin_lines
from skerry.cli.model_profile import profile
from skerry.cli.model_runtime import runtime
from skerry.cli.output import json_option, print_json, print_table, say, say_next

if TYPE_CHECKING:
    from skerry.learn.importer import Added
    from skerry.schema.model import Card

REPOSITORY = click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("models"),
    show_default=True,
    help="Folder laid out as <repository>/<name>/<version>/model.onnx.",
)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Add a model, look at one, measure it here.

    Example:  skerry model add classifier.onnx --name scans --licence MIT --source "our own"
    """


command.add_command(profile)
command.add_command(optimize)
command.add_command(explain)
command.add_command(runtime)


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--card", "card_file", type=FILE, help="YAML that states all of the below.")
@click.option("--name", help="The model's name: a-z, 0-9 and '-'.")
@click.option("--version", help="A positive number, or v14 for 14. Default 1.")
@REPOSITORY
@click.option("--licence", help="Licence of the weights, as an SPDX identifier.")
@click.option("--source", help="Where the model comes from.")
@click.option("--summary", help="What it does, in one sentence.")
@click.option("--data-class", help="Data class that its requests have unless they say otherwise.")
@click.option("--labels", "labels_file", type=FILE, help="One label per line, in score order.")
@click.option("--pre", multiple=True, metavar="STEP[:OPTION=VALUE,...]", help="Step before it.")
@click.option("--post", multiple=True, metavar="STEP[:OPTION=VALUE,...]", help="Step after it.")
@click.option("--check", type=FILE, help="npz with an array per input, and per output if known.")
@click.option("--tolerance", type=float, help="Largest difference to the trainer's own output.")
@click.option("--trust-pickle", is_flag=True, help="Allow a file that runs code when loaded.")
@click.option("--signer", type=FILE, help="Public key (PEM) whose OpenSSF signature it must have.")
@click.option("--signature", type=FILE, help="That signature; PATH.sig or model.sig if left out.")
@json_option
def add(
    path: Path,
    card_file: Path | None,
    repository: Path,
    labels_file: Path | None,
    pre: tuple[str, ...],
    post: tuple[str, ...],
    check: Path | None,
    trust_pickle: bool,
    signer: Path | None,
    signature: Path | None,
    as_json: bool,
    **stated: Any,
) -> None:
    """Check a model and add it: ONNX, scikit-learn (.pkl, .joblib) or PyTorch (.pt, .pt2).

    Everything that --card states can also be given, or changed, by an option. PATH may
    be `magika` or `magika-small`, the models of the clinic story, which need no file.

    Example:  skerry model add model.pkl --trust-pickle --card card.yaml --check rows.npz
    """
    from skerry.learn.declaration import declare, read_declaration, read_labels
    from skerry.learn.importer import add_file
    from skerry.pipeline.run import check_card

    lock_folder = fleet_folder(repository)
    origin = check_origin(path, signature, signer)
    if str(path) in ("magika", "magika-small") and not path.exists():
        _say_added(_add_story_model(str(path), repository, lock_folder, stated), as_json)
        return
    fields = read_declaration(card_file) if card_file else {}
    fields |= {name: value for name, value in stated.items() if value is not None}
    if pre:
        fields["pre"] = [_step(text) for text in pre]
    if post:
        fields["post"] = [_step(text) for text in post]
    for name in ("name", "licence", "source"):
        if not fields.get(name):
            raise UsageError(
                f"nothing states the model's {name}", f"pass --{name}, or --card with `{name}:`"
            )
    fields["version"] = _version(fields.get("version", 1))
    declared = declare(fields, where=str(card_file or "the options"))
    beside = card_file.parent if card_file else path.parent
    _say_added(
        add_file(
            path,
            declared,
            repository,
            load=load_model,
            trust_pickle=trust_pickle,
            check=check,
            labels=read_labels(labels_file) if labels_file else declared.all_labels(beside),
            check_card=check_card,
            lock_folder=lock_folder,
            origin=origin,
        ),
        as_json,
    )


@command.command()
@click.argument("name")
@click.option("--version", help="Which version; the newest if left out.")
@REPOSITORY
@json_option
def show(name: str, version: str | None, repository: Path, as_json: bool) -> None:
    """Show a model's card.

    Example:  skerry model show magika
    """
    from skerry.learn.store import manifest_sha256, read_card

    folder = _find(repository, name, version)
    card, digest = read_card(folder), manifest_sha256(folder)
    if as_json:
        print_json("model-show", {"model": _plain(card), "manifest_sha256": digest})
        return
    rows = [
        ("name", card.name),
        ("version", str(card.version)),
        ("summary", card.summary or "-"),
        ("licence", card.licence),
        ("source", card.source),
        ("framework", f"{card.framework}, opset {card.opset}"),
        *((f"input {spec.name}", _signature(spec)) for spec in card.inputs),
        *((f"output {spec.name}", _signature(spec)) for spec in card.outputs),
        ("before", " > ".join(step.step for step in card.pre) or "-"),
        ("after", " > ".join(step.step for step in card.post) or "-"),
        ("labels", f"{len(card.labels)}"),
        ("data class", card.data_class),
        ("check samples", f"{len(card.samples)}, within {card.tolerance:g}"),
        ("batch", f"up to {card.max_batch}" if card.max_batch else "single requests only"),
        *((key, f"{value:g}") for key, value in card.metrics.items()),
        ("manifest", digest),
        *origin_lines(folder),
    ]
    for key, value in rows:
        click.echo(f"{key:<16}  {value}")


@command.command(name="list")
@REPOSITORY
@json_option
def list_models(repository: Path, as_json: bool) -> None:
    """List the models of the repository.

    Example:  skerry model list
    """
    from skerry.learn.store import manifest_sha256, read_card, versions

    found = [(read_card(folder), manifest_sha256(folder)) for folder in versions(repository)]
    if as_json:
        models = [
            {
                "name": card.name,
                "version": card.version,
                "licence": card.licence,
                "data_class": card.data_class,
                "manifest_sha256": digest,
            }
            for card, digest in found
        ]
        print_json("model-list", {"models": models})
        return
    if not found:
        say(f"no model in {repository}")
        say_next("skerry model add PATH --name NAME --licence LICENCE --source SOURCE")
        return
    print_table(
        ("MODEL", "VERSION", "LICENCE", "DATA CLASS", "MANIFEST"),
        [
            (card.name, str(card.version), card.licence, card.data_class, digest[:12])
            for card, digest in found
        ],
    )


def _add_story_model(
    name: str, repository: Path, lock_folder: Path | None, stated: dict[str, Any]
) -> "Added":
    unwanted = [key for key, value in stated.items() if value is not None and key != "version"]
    if unwanted:
        raise UsageError(
            f"--{unwanted[0].replace('_', '-')} cannot be given for {name}, which has its own card"
        )
    number = _version(stated.get("version") or 1)
    if name == "magika":
        from skerry.learn.magika import add_magika

        return add_magika(repository, load=load_model, number=number, lock_folder=lock_folder)
    from skerry.learn.standin import add_standin

    say("training on files of this Python installation")
    return add_standin(repository, load=load_model, number=number, lock_folder=lock_folder)


def _say_added(added: "Added", as_json: bool) -> None:
    card = added.card
    if as_json:
        print_json(
            "model-add",
            {
                "name": card.name,
                "version": card.version,
                "folder": str(added.folder),
                "manifest_sha256": added.manifest_sha256,
                "length_bytes": added.manifest.length_bytes,
                "compared_with": added.compared_with,
                "difference_max": added.difference_max,
                "check_samples": len(card.samples),
                "max_batch": card.max_batch,
            },
        )
    else:
        click.echo(f"{added.folder}")
        say(f"added {card.name} version {card.version}, {added.manifest.length_bytes} bytes")
        if added.compared_with == "itself":
            say("  nothing to compare it with: only that it runs and repeats itself was checked")
        else:
            say(f"  differs from its {added.compared_with} by at most {added.difference_max:.2g}")
        say(f"  manifest {added.manifest_sha256}")
    fleet = (Path.cwd() / FLEET_FILE).exists()
    say_next("skerry check" if fleet else f"skerry serve --repository {added.folder.parent.parent}")


def _find(repository: Path, name: str, version: str | None) -> Path:
    from skerry.learn.store import versions

    found = [folder for folder in versions(repository) if folder.parent.name == name]
    if version is not None:
        found = [folder for folder in found if folder.name == str(_version(version))]
    if not found:
        what = f"{name} version {version}" if version else name
        raise UsageError(
            f"no model {what} in {repository}", "skerry model list shows what is there"
        )
    return found[-1]


def _version(text: Any) -> int:
    number = str(text).removeprefix("v")
    if not number.isdecimal() or not 1 <= int(number[:12]) <= 10**9:
        raise UsageError(f"version {text!r} is not a positive number", "write 14 or v14")
    return int(number)


def _step(text: str) -> dict[str, Any]:
    """Read `resize:height=224,width=224`; a list is written `mean=0.5;0.5;0.5`."""
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair!r} in step {text!r} has no value", "write option=value")
        options[key.strip()] = value.split(";") if ";" in value else value.strip()
    return {"step": name.strip(), "options": options}


def _signature(spec: Any) -> str:
    return f"{spec.datatype} [{', '.join('n' if n < 0 else str(n) for n in spec.shape)}]"


def _plain(card: "Card") -> dict[str, Any]:
    """Return a card without its samples' bytes, which no one reads."""
    import msgspec

    samples = [
        {"input_shapes": s.input_shapes, "output_shapes": s.output_shapes} for s in card.samples
    ]
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(card))
    return plain | {"samples": samples}
