"""`skerry model explain`: how a model is run, by what, and why so; here or on a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.base.errors import UsageError
from skerry.cli.model_folders import version_folder
from skerry.cli.model_origin import origin_lines
from skerry.cli.output import json_option, print_json, print_table, say

if TYPE_CHECKING:
    from skerry.schema.runtime import ModelRuntime, VersionRuntime

CALL_S_MAX = 5.0
REPLY_BYTES_MAX = 4 * 1024**2


@click.command()
@click.argument("name")
@click.option("--version", help="Which version; the newest if left out.")
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("models"),
    show_default=True,
    help="Folder laid out as <repository>/<name>/<version>/model.onnx.",
)
@click.option("--url", help="Ask a running server, such as http://127.0.0.1:8000, instead.")
@json_option
def explain(
    name: str, version: str | None, repository: Path, url: str | None, as_json: bool
) -> None:
    """Say how a model is run and why: settings, profile, providers; with --url what happened too.

    Without --url the answer is what a server on this machine would do with the folder.

    Example:  skerry model explain magika --url http://127.0.0.1:8000
    """
    if url is not None:
        told = ask(url, name)
        if as_json:
            print_json("model-explain", {"runtime": told})
        else:
            _print_told(told, version)
        return
    found = foretold(version_folder(repository, name, version))
    if as_json:
        print_json("model-explain", {"foretold": found})
        return
    for key, value in found["lines"]:
        click.echo(f"{key:<12}  {value}")


def foretold(folder: Path) -> dict[str, Any]:
    """Return what a server here would do with a version's folder, loading nothing."""
    from skerry.schema.model import MODEL_FILE
    from skerry.schema.profile import read_profile, unfit
    from skerry.serve.model_settings import read_model_settings
    from skerry.serve.onnx_engine import offered_providers, this_machine
    from skerry.serve.providers import choose, short_name

    settings = read_model_settings(folder.parent)
    choice = choose(settings.providers, offered_providers())
    lines = [
        ("model", f"{folder.parent.name} version {folder.name}"),
        ("settings", _settings_source(folder.parent)),
        ("batching", f"{settings.batching}, up to {settings.batch_max or 'what is measured'}"),
        ("run on", f"{settings.run_on}, {settings.concurrency} at once"),
        ("priority", str(settings.priority)),
        ("rate", f"{settings.rate_per_s:g}/s" if settings.rate_per_s else "no limit"),
        ("pinned", "yes" if settings.pinned else "no"),
        ("providers", " > ".join(short_name(name) for name, _ in choice.providers)),
        *(("left out", f"{one.provider}: {one.reason}") for one in choice.left_out),
    ]
    profile = read_profile(folder)
    if profile is None:
        lines.append(("profile", "none: `skerry model profile` measures one"))
    elif isinstance(profile, str):
        lines.append(("profile", f"not used: {profile}"))
    else:
        why = unfit(profile, this_machine(), folder / MODEL_FILE)
        lines.append(("profile", f"not used: {why}" if why else "used"))
        lines += [("", reason) for reason in profile.reasons]
    lines += origin_lines(folder)
    return {"lines": lines, "settings": settings, "providers": choice.providers}


def ask(url: str, name: str) -> "ModelRuntime":
    """Return what a server says of a model."""
    import http.client
    from urllib.parse import quote, urlsplit

    import msgspec

    from skerry.base.http_errors import PeerUnreachableError
    from skerry.schema.runtime import ModelRuntime

    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"{url!r} is no address of a server", "write http://HOST:PORT")
    where = f"{parts.hostname}:{parts.port or 8000}"
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 8000, timeout=CALL_S_MAX)
    try:
        connection.request("GET", f"/v2/models/{quote(name, safe='')}/runtime")
        reply = connection.getresponse()
        body = reply.read(REPLY_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise PeerUnreachableError(where, str(error) or type(error).__name__) from error
    finally:
        connection.close()
    try:
        if reply.status == http.client.OK:
            return msgspec.json.decode(body, type=ModelRuntime)
        said = msgspec.json.decode(body, type=dict[str, str]).get("error", "")
    except msgspec.DecodeError:
        said = ""
    raise UsageError(
        f"{where} answered {reply.status}{': ' + said if said else ''}",
        "POST /v2/repository/index lists the models that a server knows",
    )


def _print_told(told: "ModelRuntime", version: str | None) -> None:
    bound = told.memory_bytes_max
    say(
        f"loaded models take {told.memory_bytes} bytes"
        + (f" of {bound}" if bound is not None else ", without a bound")
    )
    for one in told.versions:
        if version is None or str(one.version) == version.removeprefix("v"):
            _print_version(told.name, one)
    if told.events:
        print_table(
            ("WHEN", "VERSION", "WHAT", "WHY"),
            [
                (_time(event.at_unix_s), str(event.version), event.what, event.reason)
                for event in told.events[-10:]
            ],
        )


def _print_version(name: str, one: "VersionRuntime") -> None:
    lines = [("version", f"{name} {one.version}{', the default' if one.is_default else ''}")]
    lines.append(("state", f"{one.state}{': ' + one.reason if one.reason else ''}"))
    if one.memory_bytes:
        lines.append(("memory", f"{one.memory_bytes} bytes, loads in {one.load_s:.3g} s"))
    if one.providers:
        batches = f"batches up to {one.batch_max}" if one.batch_max > 1 else "no batches"
        rate = f"{one.rate_per_s:g}/s, {one.burst} at once" if one.rate_per_s else "no limit"
        extras = [word for word, on in (("arena", one.arena), ("IO binding", one.io_binding)) if on]
        lines += [
            ("runs on", " > ".join(one.providers)),
            *(("left out", f"{left.provider}: {left.reason}") for left in one.left_out),
            ("run", f"{one.run_us:.1f} us, {one.run_on}, {batches}, {one.concurrency} at once"),
            ("session", ", ".join([f"threads {one.threads}", *extras])),
            ("queue", f"{one.queue_len_max} requests, priority {one.priority_default}"),
            ("rate", rate),
            ("pinned", "yes" if one.pinned else "no"),
            ("profile", one.profile_note),
        ]
        lines += [("", reason) for reason in (one.profile.reasons if one.profile else ())]
    for key, value in lines:
        click.echo(f"{key:<12}  {value}")


def _settings_source(home: Path) -> str:
    from skerry.serve.model_settings import SETTINGS_FILE
    from skerry.serve.triton_config import CONFIG_FILE

    for file in (SETTINGS_FILE, CONFIG_FILE):
        if (home / file).is_file():
            return str(home / file)
    return "none: all defaults"


def _time(unix_s: float) -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))
