"""Clients of other projects against `skerry serve`, each from its own environment.

    python benchmarks/stock_clients.py [--write]

`BENCH_VENVS` holds the environments (see peers.py); `perf` among them has NVIDIA's
perf_analyzer as `bin/perf_analyzer`. A client that is not there is *not run*. With
`--write` the outcome goes into docs/reference/clients.md. What the system's own programs
do (curl, h2load, wrk) and what tritonclient does call by call, tests/serve holds in CI.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measured import BUILD
from peers import folders
from served import Served, fresh, served, small_model

from skerry.serve.onnx_engine import OnnxModel

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "clients.md"
BEGIN, END = "<!-- outcome -->\n", "<!-- end of outcome -->\n"
X = [1.0, 2.0, 3.0, 4.0]

KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferInput, InferRequest, InferenceGRPCClient, InferenceRESTClient
from kserve.inference_client import RESTConfig
http, grpc, door = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def asked(binary):
    given = InferInput(name="x", shape=[1, 4], datatype="FP32")
    given.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32), binary_data=binary)
    return InferRequest(model_name="small", infer_inputs=[given])

async def main():
    if door == "grpc":
        client = InferenceGRPCClient(f"127.0.0.1:{grpc}")
        assert await client.is_server_ready() and await client.is_server_live()
        assert await client.is_model_ready("small")
        answer = await client.infer(asked(True))
    else:
        client, base = InferenceRESTClient(RESTConfig(protocol="v2")), f"http://127.0.0.1:{http}"
        assert await client.is_server_ready(base) and await client.is_server_live(base)
        assert await client.is_model_ready(base, "small")
        answer = await client.infer(base, asked(door == "binary"), model_name="small")
    print(json.dumps(answer.outputs[0].as_numpy().ravel().tolist()))

asyncio.run(main())
"""
MLSERVER_STUB = """
import json, struct, sys
import grpc
from mlserver.codecs import NumpyCodec
from mlserver.grpc import dataplane_pb2_grpc, converters
from mlserver.types import InferenceRequest
import numpy as np
request = InferenceRequest(inputs=[NumpyCodec.encode_input("x", np.array([[1, 2, 3, 4]], "f4"))])
raw = sys.argv[3] == "raw"
with grpc.insecure_channel(f"127.0.0.1:{sys.argv[2]}") as channel:
    stub = dataplane_pb2_grpc.GRPCInferenceServiceStub(channel)
    message = converters.ModelInferRequestConverter.from_types(
        request, model_name="small", model_version="", use_raw=raw)
    answer = converters.ModelInferResponseConverter.to_types(stub.ModelInfer(message))
print(json.dumps(NumpyCodec.decode_output(answer.outputs[0]).ravel().tolist()))
"""
TRITON = """
import json, sys
import numpy as np
import tritonclient.{door} as triton
client = triton.InferenceServerClient(f"127.0.0.1:{{sys.argv[{port}]}}")
given = triton.InferInput("x", [1, 4], "FP32")
given.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32))
assert client.is_server_ready() and client.get_model_config("small")
print(json.dumps(client.infer("small", [given]).as_numpy("y").ravel().tolist()))
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one client did: `said` is empty where all was well."""

    client: str
    way: str
    said: str


def python(venv: Path, script: str, server: Served, *more: str) -> list[float] | str:
    """Run a script in an environment; return the numbers that it printed, or what went wrong."""
    command = [str(venv / "bin" / "python"), "-c", script, str(server.http), str(server.grpc)]
    ended = subprocess.run(
        [*command, *more], capture_output=True, text=True, timeout=120, check=False
    )
    if ended.returncode:
        return (ended.stderr.strip().splitlines() or ["no word"])[-1][:160]
    found: list[float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def mlserver_infer(venv: Path, server: Served, folder: Path) -> list[float] | str:
    """Run `mlserver infer` on a file of three requests; return the first answer's numbers."""
    asked, got = folder / "asked.jsonl", folder / "got.jsonl"
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X}
    asked.write_text((json.dumps({"inputs": [tensor]}) + "\n") * 3)
    got.unlink(missing_ok=True)
    url = f"127.0.0.1:{server.http}"
    command = [str(venv / "bin" / "mlserver"), "infer", "-u", url, "-m", "small"]
    command += ["-i", str(asked), "-o", str(got)]
    subprocess.run(command, capture_output=True, timeout=120, check=False)
    lines = got.read_text().splitlines() if got.exists() else []
    if len(lines) != 3:
        return f"{len(lines)} of 3 answers"
    answer = json.loads(lines[0])
    return answer["outputs"][0]["data"] if "outputs" in answer else str(answer)[:160]


def perf_analyzer(venv: Path, server: Served, *options: str) -> str:
    """Run perf_analyzer for some windows; return the requests per second that it saw."""
    door = options[options.index("-i") + 1]
    port = server.http if door == "http" else server.grpc
    command = [str(venv / "bin" / "perf_analyzer"), "-m", "small", "-u", f"127.0.0.1:{port}"]
    command += ["--shape", "x:1,4", "--concurrency-range", "4", "--measurement-interval", "1000"]
    command += ["--max-trials", "3", "-s", "900", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"throughput: ([\d.]+) infer/sec", ended.stdout)
    said = (ended.stderr or ended.stdout).strip().splitlines() or ["no word"]
    return f"{float(found[1]):.0f}" if found else said[-1][:160]


def version(venv: Path, package: str) -> str:
    """Return the version of a package in an environment."""
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    command = [str(venv / "bin" / "python"), "-c", ask]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def outcomes(server: Served, venvs: Path, folder: Path, wanted: list[float]) -> Iterator[Outcome]:
    """Run every client there is."""

    def judged(client: str, way: str, found: list[float] | str) -> Outcome:
        right = not isinstance(found, str) and np.allclose(found, wanted, atol=1e-5)
        return Outcome(client, way, "" if right else f"{found}")

    own = Path(sys.prefix)
    for door, port in (("http", 1), ("grpc", 2)):
        script = TRITON.format(door=door, port=port)
        name = f"tritonclient {version(own, 'tritonclient')}"
        yield judged(name, door, python(own, script, server))
    kserve, mlserver, perf = venvs / "kserve", venvs / "mlserver", venvs / "perf"
    if kserve.exists():
        name = f"kserve {version(kserve, 'kserve')}"
        for way, door in (("REST, JSON", "json"), ("REST, binary", "binary"), ("gRPC", "grpc")):
            yield judged(name, way, python(kserve, KSERVE, server, door))
    if mlserver.exists():
        name = f"mlserver {version(mlserver, 'mlserver')}"
        yield judged(name, "`mlserver infer`", mlserver_infer(mlserver, server, folder))
        for way in ("lists", "raw"):
            found = python(mlserver, MLSERVER_STUB, server, way)
            yield judged(name, f"its gRPC stubs, {way}", found)
    if (perf / "bin" / "perf_analyzer").exists():
        shown = subprocess.run(
            [perf / "bin" / "perf_analyzer", "--version"],
            capture_output=True,
            text=True,
            check=True,
        )
        name = "perf_analyzer " + (re.findall(r"[\d.]+", shown.stdout + shown.stderr) or ["?"])[0]
        for way, options in (
            ("HTTP", ("-i", "http")),
            ("HTTP, shared memory", ("-i", "http", "--shared-memory", "system")),
            ("gRPC", ("-i", "grpc")),
            ("gRPC, shared memory", ("-i", "grpc", "--shared-memory", "system")),
            ("gRPC, one stream for all", ("-i", "grpc", "--streaming", "--async")),
        ):
            found = perf_analyzer(perf, server, *options)
            yield Outcome(name, way, "" if found.isdigit() else found)


def main() -> int:
    """Serve one small model, ask it in every way; 1 if a client was not content."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/reference/clients.md")
    chosen = parser.parse_args()
    folder = fresh(BUILD / "clients")
    path = folder / "repository" / "small" / "1" / "model.onnx"
    small_model(path)
    model = OnnxModel("small", path)
    wanted = [float(one) for one in model.run({"x": np.array([X], np.float32)}, ["y"])[0].ravel()]
    with served(folder / "repository") as server:
        rows = list(outcomes(server, folders()[0], folder, wanted))
    lines = ["| client | way | outcome |", "|---|---|---|"]
    lines += [f"| {row.client} | {row.way} | {row.said or 'works'} |" for row in rows]
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if chosen.write:
        text = PAGE.read_text()
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}{table}{END}{after}")
    return int(any(row.said for row in rows))


if __name__ == "__main__":
    sys.exit(main())
