"""`skerry infer`: one request from the command line, and who served it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.base.errors import UsageError
from skerry.cli.output import json_option, print_json, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skerry.client.answer import Answer
    from skerry.client.endpoints import Endpoints
    from skerry.schema.oip import Parameter
    from skerry.schema.route_trace import RouteTrace

ELEMENTS_SHOWN_MAX = 8
SHARES_SHOWN_MAX = 10
EXPLANATION = "explanation."


@click.command()
@click.argument("model")
@click.option("--site", help="Send from this site of the local fleet.")
@click.option("--url", "urls", multiple=True, help="Send to this address; repeat for fallbacks.")
@click.option(
    "--folder",
    "fleet",
    default=".",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the local fleet (with --site).",
)
@click.option(
    "--input",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file to send: any file for a model that takes files, .npy or .npz for tensors.",
)
@click.option("--data-class", help="Data class of the content; the model's first by default.")
@click.option(
    "--deadline-ms",
    type=click.FloatRange(min=1),
    default=5000.0,
    show_default=True,
    help="Longest time to wait for the answer.",
)
@click.option("--roots", type=click.Path(exists=True, path_type=Path), help="CA file for https.")
@click.option("--explain", is_flag=True, help="Show how the request was routed, and why.")
@click.option(
    "--explain-answer", is_flag=True, help="Also ask what the answer rests on, and print the most."
)
@click.option(
    "--explain-method",
    type=click.Choice(["shapley", "occlusion"]),
    help="How (with --explain-answer); occlusion for images by default, else shapley.",
)
@click.option(
    "--explain-budget",
    type=click.IntRange(2, 20_000),
    default=1000,
    show_default=True,
    help="Most runs of the model for it (with --explain-answer).",
)
@json_option
def command(
    model: str,
    site: str | None,
    urls: tuple[str, ...],
    fleet: Path,
    file: Path,
    data_class: str | None,
    deadline_ms: float,
    roots: Path | None,
    explain: bool,
    explain_answer: bool,
    explain_method: str | None,
    explain_budget: int,
    as_json: bool,
) -> None:
    """Send one request to MODEL and say who served it.

    Example:  skerry infer magika --site oslo --input scan.pdf
    """
    from skerry.cli.route_table import print_route
    from skerry.client import Client
    from skerry.route.errors import RouteError
    from skerry.schema.oip import HEADER_EXPLAIN_ROUTE

    if bool(site) == bool(urls):
        raise UsageError("give --site or --url, one of them", "skerry infer MODEL --site oslo ...")
    ends: list[str] | Endpoints = list(urls)
    if site:
        from skerry.client.endpoints import from_run_file

        ends = from_run_file(fleet, site)
    parameters = _wish(explain_method, explain_budget) if explain_answer else {}
    if explain:
        parameters[HEADER_EXPLAIN_ROUTE] = True
    with Client(ends, roots=roots) as client:
        arrays = _arrays(file)
        try:
            answer = client.infer(
                model,
                arrays,
                file=file if arrays is None else None,
                data_class=data_class,
                deadline_s=deadline_ms / 1000,
                parameters=parameters,
            )
        except RouteError as error:
            if error.trace is not None and not as_json:
                print_route(error.trace)
            raise
    trace = _trace(answer)
    if as_json:
        print_json("infer", {**_document(answer), "route": trace} if explain else _document(answer))
        return
    _print(answer)
    if explain_answer:
        _print_explanation(answer)
    if trace is not None:
        print_route(trace)


def _trace(answer: "Answer") -> "RouteTrace | None":
    import msgspec

    from skerry.schema.oip import PARAMETER_ROUTE
    from skerry.schema.route_trace import RouteTrace

    told = answer.parameters.get(PARAMETER_ROUTE)
    return msgspec.json.decode(told, type=RouteTrace) if isinstance(told, str) else None


def _arrays(file: Path) -> "dict[str, NDArray[Any]] | None":
    """Read arrays from .npz (by name) and .npy (as the input named like the file); else None."""
    import numpy as np

    if file.suffix not in (".npy", ".npz"):
        return None
    try:
        loaded = np.load(file, allow_pickle=False)
        if file.suffix == ".npz":
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(f"{file} holds no arrays: {error}", "write it with numpy.save") from error
    return {file.stem: loaded}


def _wish(method: str | None, budget: int) -> "dict[str, Parameter]":
    wish: dict[str, Parameter] = {"explain": True, "explain_budget": budget}
    return wish if method is None else wish | {"explain_method": method}


def _print(answer: "Answer") -> None:
    if answer.label is not None and answer.score is not None:
        click.echo(f"{answer.label}  {answer.score:.3f}")
    elif answer.label is not None:
        click.echo(answer.label)
    else:
        for name, data in answer.outputs.items():
            if name.startswith(EXPLANATION):
                continue
            flat = data.reshape(-1)
            shown = " ".join(str(value) for value in flat[:ELEMENTS_SHOWN_MAX].tolist())
            more = " ..." if flat.size > ELEMENTS_SHOWN_MAX else ""
            click.echo(f"{name} {list(data.shape)}: {shown}{more}")
    say(
        f"served by {answer.served_by} in {answer.latency_ms:.1f} ms, tier {answer.tier}, "
        f"{answer.model} v{answer.version}, reason: {answer.fallback_reason or 'local'}"
    )


def _print_explanation(answer: "Answer") -> None:
    """Print the shares that weigh most; elements of one patch or run count as one."""
    import numpy as np

    told = answer.parameters
    found: list[tuple[float, str]] = []
    for name, data in answer.outputs.items():
        if not name.startswith(EXPLANATION):
            continue
        values, first, counts = np.unique(data, return_index=True, return_counts=True)
        for value, index, count in zip(values, first, counts, strict=True):
            place = ",".join(str(at) for at in np.unravel_index(int(index), data.shape))
            more = f" and {count - 1} like it" if count > 1 else ""
            found.append(
                (float(value) * int(count), f"{name.removeprefix(EXPLANATION)}[{place}]{more}")
            )
    for share, place in sorted(found, key=lambda one: -abs(one[0]))[:SHARES_SHOWN_MAX]:
        if share:
            click.echo(f"{share:+.4g}  {place}")
    if not found:
        say("no explanation: time ran out before there was one; allow more with --deadline-ms")
        return
    say(
        f"explained by {told.get('explain_method')} in {told.get('explain_runs')} runs: "
        f"{told.get('explain_output')}[{told.get('explain_target')}] is "
        f"{told.get('explain_value', 0):.4g}, and {told.get('explain_base_value', 0):.4g} for "
        f"the baseline ({told.get('explain_baseline')})"
    )
    if told.get("explain_stopped"):
        say("  time ran out first: allow more with --deadline-ms, or ask for --explain-method")
    error = told.get("explain_standard_error")
    if isinstance(error, float) and error > 0:
        say(f"  standard error of a share: at most {error:.2g}")


def _document(answer: "Answer") -> dict[str, object]:
    outputs = {
        name: [item.decode("utf-8", "replace") for item in data.reshape(-1).tolist()]
        if data.dtype == object
        else data.tolist()
        for name, data in answer.outputs.items()
    }
    return {
        "label": answer.label,
        "score": answer.score,
        "outputs": outputs,
        "served_by": answer.served_by,
        "site": answer.site,
        "tier": answer.tier,
        "model": answer.model,
        "version": answer.version,
        "fallback_reason": answer.fallback_reason,
        "latency_ms": answer.latency_ms,
        "parameters": answer.parameters,
    }
