"""`skerry serve`: a model repository behind Open Inference Protocol doors, with no fleet."""

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import click

from skerry.base.errors import Exit
from skerry.cli.output import json_option, print_json, print_table, say, say_next

if TYPE_CHECKING:
    from skerry.schema.model import Card
    from skerry.schema.oip import InferFunction
    from skerry.serve.server import Server


@click.command("serve")
@click.option("--repository", required=True, metavar="DIR", help="The model repository.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--http-port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Open Inference Protocol over HTTP; 0 for any free port.",
)
@click.option(
    "--grpc-port",
    default=8001,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The same over gRPC; 0 for any free port.",
)
@click.option(
    "--metrics-port",
    default=8002,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Prometheus metrics; 0 for any free port.",
)
@click.option("--uds", metavar="PATH", help="Listen on a Unix socket too (HTTP).")
@click.option("--grpc-uds", metavar="PATH", help="Listen on a Unix socket too (gRPC).")
@click.option(
    "--grpc-engine",
    default="own",
    show_default=True,
    type=click.Choice(["own", "grpcio"]),
    help="What speaks gRPC: skerry's own HTTP/2, or the slower grpcio library.",
)
@click.option(
    "--tls-chain", default="", metavar="FILE", help="Certificate and issuers, PEM: speak TLS."
)
@click.option("--tls-key", default="", metavar="FILE", help="Its private key, PEM.")
@click.option(
    "--tls-client-roots",
    default="",
    metavar="FILE",
    help="Authorities, PEM: clients must show a certificate of theirs.",
)
@click.option(
    "--memory-max",
    metavar="SIZE",
    help="Bound for the memory of loaded models, such as '2 GiB'; older ones give way.",
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,...]",
    help="Execution provider by preference, such as cuda; may be repeated.",
)
@click.option(
    "--upstream-host",
    "upstream_hosts",
    multiple=True,
    metavar="HOST",
    help="A host besides loopback that the server behind a model may be at; repeatable.",
)
@click.option(
    "--upstream-secrets", default="", metavar="DIR", help="Folder of secrets for such servers."
)
@click.option(
    "--trace-file", default="", metavar="FILE", help="Where traces go once a client asks for them."
)
@json_option
def command(
    repository: str,
    host: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    uds: str | None,
    grpc_uds: str | None,
    grpc_engine: Literal["own", "grpcio"],
    tls_chain: str,
    tls_key: str,
    tls_client_roots: str,
    memory_max: str | None,
    providers: tuple[str, ...],
    upstream_hosts: tuple[str, ...],
    upstream_secrets: str,
    trace_file: str,
    as_json: bool,
) -> int:
    """Serve a model repository: <DIR>/<model>/<version>/model.onnx.

    A port of 0 takes any free one; what was opened is printed. SIGTERM answers what is
    under way and ends with 0. Repository load and unload work on loopback and the Unix
    socket only.
    """
    from skerry.base.clock import SystemClock
    from skerry.learn.explainer import Explainer
    from skerry.pipeline.front import wrap as with_front
    from skerry.serve.server import Server, ServeSettings

    settings = ServeSettings(
        repository=repository,
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        uds=uds,
        grpc_uds=grpc_uds,
        grpc_engine=grpc_engine,
        tls_chain=tls_chain,
        tls_key=tls_key,
        tls_client_roots=tls_client_roots,
        memory_bytes_max=_memory_bytes(memory_max),
        providers=_known(providers),
        upstream_hosts=upstream_hosts,
        upstream_secrets=upstream_secrets,
        trace_file=trace_file,
    )

    def wrap(infer: "InferFunction") -> "InferFunction":
        """Take files where a card says how, and explain what is asked for, as a node does."""
        explainer = Explainer(
            infer,
            run=lambda request: server.service.run_apart(request),
            asked=lambda: server.service.metrics.count(),
            metadata=lambda *of: server.service.metadata(*of),
            cards=card,
            node=settings.node,
            clock=SystemClock(),
        )
        return with_front(explainer.infer, card)

    def card(model: str, version: str) -> "Card | None":
        return server.service.card(model, version)

    server = Server(settings, wrap=wrap)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(server, as_json=as_json))
    return Exit.DONE


def _memory_bytes(text: str | None) -> int | None:
    from skerry.base.quantity import parse_quantity

    return None if text is None else int(parse_quantity(text, "B"))


def _known(providers: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a slip before any port is opened."""
    if providers:
        from skerry.serve.providers import read_wanted

        for text in providers:
            read_wanted(text)
    return providers


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # no wheel for this machine: a little slower, otherwise the same
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(server: "Server", *, as_json: bool) -> None:
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    await server.start()
    _report(server, as_json=as_json)
    await asked_to_stop.wait()
    say("stopping: answering what is under way")
    await server.stop()


def _report(server: "Server", *, as_json: bool) -> None:
    """Print where the doors are and what serves; data on stdout, words on stderr."""
    from skerry.serve.model_runtime import providers_of

    host, ports = server.settings.host, server.ports
    rows = server.service.index()
    for error in server.refused:
        say(f"warning[{error.code}]: {error}")
    if as_json:
        document = {
            "host": host,
            "http_port": ports.http,
            "grpc_port": ports.grpc,
            "metrics_port": ports.metrics,
            "uds": server.settings.uds,
            "grpc_uds": server.settings.grpc_uds,
            "models": rows,
        }
        print_json("serve", document)
        return
    doors = [("http", ports.http), ("grpc", ports.grpc), ("metrics", ports.metrics)]
    table = [(door, f"{host}:{port}") for door, port in doors]
    if server.settings.uds:
        table.append(("uds", server.settings.uds))
    if server.settings.grpc_uds:
        table.append(("grpc uds", server.settings.grpc_uds))
    print_table(("DOOR", "ADDRESS"), table)
    runs_on = {
        (slot.name, slot.version_text): providers_of(slot)[0]
        for slot in server.service.repository.slots()
    }
    models = [
        (row.name, row.version, row.state.lower(), runs_on.get((row.name, row.version), "-"))
        for row in rows
    ]
    if models:
        print_table(("MODEL", "VERSION", "STATE", "RUNS ON"), models)
    else:
        say(f"warning: {server.settings.repository} holds no models")
    scheme = "https" if server.settings.tls_chain else "http"
    say_next(f"curl {scheme}://{host}:{ports.http}/v2")
