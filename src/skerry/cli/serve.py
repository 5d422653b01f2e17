"""`skerry serve`: a model repository behind Open Inference Protocol doors, with no fleet."""

from typing import Literal

import click

from skerry.base.errors import UsageError
from skerry.cli.output import json_option


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
    "--client-tokens",
    default="",
    metavar="FILE",
    help="Names and token hashes: clients must show a bearer token of theirs.",
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
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(0, 1024),
    help="Processes that share the ports; 0 for one per core.",
)
@click.option("--worker", type=int, hidden=True, help="Be a worker, as standard input says.")
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
    client_tokens: str,
    memory_max: str | None,
    providers: tuple[str, ...],
    upstream_hosts: tuple[str, ...],
    upstream_secrets: str,
    trace_file: str,
    workers: int,
    worker: int | None,
    as_json: bool,
) -> int:
    """Serve a model repository: <DIR>/<model>/<version>/model.onnx.

    A port of 0 takes any free one; what was opened is printed. SIGTERM answers what is
    under way and ends with 0. Repository load and unload work on loopback and the Unix
    socket only.
    """
    from skerry.cli import serve_run
    from skerry.serve.settings import ServeSettings
    from skerry.serve.workers_plan import count_of

    if worker is not None:
        return serve_run.worker()
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
        client_tokens=client_tokens,
        memory_bytes_max=_memory_bytes(memory_max),
        providers=_known(providers),
        upstream_hosts=upstream_hosts,
        upstream_secrets=upstream_secrets,
        trace_file=trace_file,
    )

    if client_tokens and grpc_engine != "own":
        raise UsageError(
            f"--client-tokens with --grpc-engine {grpc_engine}",
            "tokens are checked by skerry's own gRPC engine alone",
        )
    count = count_of(workers)
    if count == 1:
        return serve_run.alone(settings, as_json=as_json)
    if grpc_engine != "own":
        raise UsageError(
            f"{count} workers with --grpc-engine {grpc_engine}",
            "several workers speak gRPC by skerry's own engine alone",
        )
    return serve_run.several(settings, count, as_json=as_json)


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
