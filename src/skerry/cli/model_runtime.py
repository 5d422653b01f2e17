"""`skerry model runtime`: models that another server runs, and the containers of such servers."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.model_folders import fleet_folder
from skerry.cli.output import json_option, print_json, print_table

PATH = click.Path(exists=True, path_type=Path)


@click.group()
def runtime() -> None:
    """Have another server run a model, in a container or where it is.

    Example:  skerry model runtime add upstream.json --name chat --licence MIT --source "our own"
    """


@runtime.command()
@click.argument("path", type=PATH)
@click.option("--name", required=True, help="The model's name here: a-z, 0-9 and '-'.")
@click.option("--version", type=click.IntRange(1), default=1, show_default=True)
@click.option("--licence", required=True, help="Licence of the weights, as an SPDX identifier.")
@click.option("--source", required=True, help="Where the model comes from.")
@click.option("--summary", default="", help="What it does, in one sentence.")
@click.option("--data-class", default="internal", show_default=True, help="Of its requests.")
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("models"),
    show_default=True,
    help="Folder laid out as <repository>/<name>/<version>/upstream.json.",
)
@json_option
def add(
    path: Path,
    name: str,
    version: int,
    licence: str,
    source: str,
    summary: str,
    data_class: str,
    repository: Path,
    as_json: bool,
) -> None:
    """Add an upstream.json, or a folder with one and its files, as a model version.

    Example:  skerry model runtime add vllm/ --name chat --licence Apache-2.0 --source "the lab"
    """
    from skerry.learn.upstream_model import add_upstream, read_upstream
    from skerry.schema.model import Card
    from skerry.schema.openai import INPUTS, OUTPUTS

    settings = read_upstream(path)
    language = settings.kind == "openai"
    card = Card(
        name=name,
        version=version,
        summary=summary or f"run by another server, which speaks {settings.kind}",
        licence=licence,
        source=source,
        framework="upstream",
        opset=0,
        inputs=INPUTS if language else (),
        outputs=OUTPUTS if language else (),
        data_class=data_class,
    )
    added = add_upstream(path, card, repository, fleet_folder(repository))
    document = {
        "name": name,
        "version": version,
        "folder": str(added.folder),
        "manifest_sha256": added.manifest_sha256,
        "length_bytes": added.manifest.length_bytes,
    }
    if as_json:
        print_json("model-runtime-add", document)
        return
    print_table(("MODEL", "VERSION", "FOLDER"), [(name, str(version), str(added.folder))])


@runtime.command(name="manifests")
@click.argument("path", type=PATH)
@click.option("--namespace", default="default", show_default=True, help="Where they are made.")
def manifests_of(path: Path, namespace: str) -> None:
    """Print Kubernetes manifests for the container of a version folder.

    JSON, as kubectl takes it. PATH is laid out as <model>/<version>; its files must be on a
    volume claim of the deployment's name.

    Example:  skerry model runtime manifests models/chat/1 | kubectl apply -f -
    """
    import json

    from skerry.node.container_arguments import manifests
    from skerry.node.containers import runtime_of

    folder = path.resolve()
    if not folder.name.isdecimal():
        raise UsageError(f"{path} is no version folder", "name <model>/<version>")
    found = runtime_of("", folder.parent.name, int(folder.name), folder)
    if found is None:
        raise UsageError(f"{path} names no container", "its upstream.json needs `container`")
    click.echo(json.dumps(manifests(found, namespace=namespace), indent=2))
