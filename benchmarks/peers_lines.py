"""The peers' harness with the load generators that it lacks: Unix sockets and mutual TLS.

    GEN_PYTHON benchmarks/peers_lines.py unix|mtls HARNESS [options of bench.py]

`unix` asks with h2load over the server's socket. `mtls` asks with a plain Python client
that shows a certificate: wrk and h2load cannot. That client is slower than the server, so
read the server's CPU per request there, beside the same client's figure without TLS.
Everything else, the order of the visits and the accounting, is the harness's own.
"""

import asyncio
import json
import os
import re
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

INFER = "/inference.GRPCInferenceService/ModelInfer"
GRPC_HEADERS = {"content-type": "application/grpc", "te": "trailers"}


def unix(bench: Any) -> None:
    """Ask both doors with h2load, over the Unix sockets where the server has them."""

    def http(server: Any, model: str, callers: int, secs: int, cpus: str) -> dict[str, Any] | None:
        style, path = server.spec["http"]
        body, _, headers = bench.files(model, style)
        where = f"http://127.0.0.1:{server.port}{path.format(model=model)}"
        socket = f"{bench.TMP}/skerry-{server.port}.sock" if "--uds" in server.spec["cmd"] else ""
        return h2load(["--h1", f"-c{callers}", where], socket, body, headers, secs, cpus)

    def grpc(server: Any, model: str, callers: int, secs: int, cpus: str) -> dict[str, Any] | None:
        body, _, _ = bench.files(model, "grpc")
        where = f"http://127.0.0.1:{server.gport}{INFER}"
        there = "--grpc-uds" in server.spec["cmd"]
        socket = f"{bench.TMP}/skerry-{server.port}.grpc.sock" if there else ""
        how = ["-w", "24", "-W", "24", f"-c{callers}", where]
        return h2load(how, socket, body, GRPC_HEADERS, secs, cpus)

    bench.wrk, bench.h2load = http, grpc


def h2load(
    how: list[str], socket: str, body: str, headers: dict[str, str], secs: int, cpus: str
) -> dict[str, Any] | None:
    """Post a file over and over, one request at a time on each connection."""
    log = Path(body).with_name("h2load.log")
    log.unlink(missing_ok=True)
    command = ["h2load", "-t1", "-m1", "-D", str(secs), "-d", body, "--log-file", str(log)]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if socket:
        command.append(f"--base-uri=unix:{socket}")
    pinned = ["taskset", "-c", cpus] if cpus else []
    subprocess.run([*pinned, *command, *how], capture_output=True, check=False)
    rows = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    took_us = sorted(int(row[2]) for row in rows if row[1] == "200")
    return summary(took_us, len(rows) - len(took_us), secs) if took_us else None


def mtls(bench: Any) -> None:
    """Replace wrk by our own client, which shows a certificate where the server wants TLS."""
    folder = Path(bench.payloads.BASE) / "skerry" / "tls"
    unverified = ssl._create_unverified_context

    def context(*args: Any, **options: Any) -> ssl.SSLContext:
        made = unverified(*args, **options)
        made.load_cert_chain(folder / "client.pem", folder / "client.key")
        return made

    ssl._create_unverified_context = context

    def ask(server: Any, model: str, callers: int, secs: int, cpus: str) -> dict[str, Any] | None:
        style, path = server.spec["http"]
        body, _, headers = bench.files(model, style)
        what = {
            "body": body,
            "head": [f"{name}: {value}" for name, value in headers.items()],
            "path": path.format(model=model),
            "port": server.port,
            "tls": str(folder) if server.spec.get("scheme") == "https" else None,
            "callers": callers,
            "secs": secs,
        }
        pinned = ["taskset", "-c", cpus] if cpus else []
        command = [*pinned, sys.executable, __file__, "ask", json.dumps(what)]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return json.loads(found) if found else None

    bench.wrk = ask


async def callers(what: dict[str, Any]) -> dict[str, Any]:
    """Ask for some seconds, one request at a time on each of some connections."""
    body = Path(what["body"]).read_bytes()
    lines = [f"POST {what['path']} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    request = "\r\n".join([*lines, *what["head"], "", ""]).encode() + body
    context = None
    if what["tls"]:
        context = ssl.create_default_context(cafile=f"{what['tls']}/roots.pem")
        context.load_cert_chain(f"{what['tls']}/client.pem", f"{what['tls']}/client.key")
        context.check_hostname = False
    ends_s = time.perf_counter() + what["secs"]
    took_us: list[int] = []
    bad = 0

    async def caller() -> None:
        nonlocal bad
        reader, writer = await asyncio.open_connection("127.0.0.1", what["port"], ssl=context)
        while (started_s := time.perf_counter()) < ends_s:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            took_us.append(round((time.perf_counter() - started_s) * 1e6))
            bad += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(caller() for _ in range(what["callers"])))
    return summary(sorted(took_us), bad, what["secs"])


def summary(took_us: list[int], bad: int, secs: int) -> dict[str, Any]:
    """Return what the harness wants of a load run."""
    count = len(took_us)
    return {
        "n": count,
        "rps": count / secs,
        "p50": took_us[count // 2] / 1e3,
        "p99": took_us[min(count - 1, int(count * 0.99))] / 1e3,
        "bad": bad,
    }


def main() -> None:
    """Run the harness with another generator, or be that generator."""
    if sys.argv[1] == "ask":
        print(json.dumps(asyncio.run(callers(json.loads(sys.argv[2])))))
        return
    line, harness, *options = sys.argv[1:]
    sys.path.insert(0, harness)
    sys.argv = [os.path.join(harness, "bench.py"), *options]
    import bench

    {"unix": unix, "mtls": mtls}[line](bench)
    bench.main()


if __name__ == "__main__":
    main()
