"""A model is swapped again and again under full load: how many requests fail.

    python benchmarks/swap.py [--seconds 20] [--pause-s 0.5]

wrk fills the HTTP door from the other core, four gRPC callers never stop either, and every
half second the next version takes over through the repository's own `load`.
"""

import argparse
import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
from measured import BUILD, tell
from served import Served, fresh, served, small_model, wrk

from skerry.schema import oip_grpc
from skerry.schema.oip import InferRequest
from skerry.schema.oip_tensors import tensor_from_array

INFER = "/inference.GRPCInferenceService/ModelInfer"
GRPC_CALLERS = 4
STAGED = 4
"""Version folders that take turns; what was let go may be put into service again."""


def call_grpc(server: Served, stop: threading.Event) -> tuple[int, int]:
    """Ask until told to stop; return the calls answered and those that failed."""
    tensor = tensor_from_array("x", np.ones((1, 4), np.float32))
    message = oip_grpc.encode_request(InferRequest(model="small", inputs=[tensor]))
    answered = failed = 0
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}", options) as channel:
        infer = channel.unary_unary(INFER)
        while not stop.is_set():
            try:
                infer(message, timeout=10)
                answered += 1
            except grpc.RpcError:
                failed += 1
    return answered, failed


def swap(server: Served, folder: Path) -> float:
    """Put a version folder into service; return how long that took, in seconds."""
    body = json.dumps({"parameters": {"skerry-folder": str(folder)}}).encode()
    url = f"http://127.0.0.1:{server.http}/v2/repository/models/small/load"
    started_s = time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=30):
        return time.monotonic() - started_s


def main() -> None:
    """Load both doors, swap, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pause-s", type=float, default=0.5)
    chosen = parser.parse_args()
    folder = fresh(BUILD / "swap")
    small_model(folder / "repository" / "small" / "1" / "model.onnx")
    for version in range(2, 2 + STAGED):
        small_model(folder / "staged" / str(version) / "model.onnx", factor=version)
    stop = threading.Event()
    took_s: list[float] = []
    with served(folder / "repository") as server, ThreadPoolExecutor(GRPC_CALLERS + 1) as pool:
        callers = [pool.submit(call_grpc, server, stop) for _ in range(GRPC_CALLERS)]
        how = {"callers": 16, "seconds": chosen.seconds, "folder": folder}
        load = pool.submit(wrk, server.http, "small", **how)
        while not load.done():
            time.sleep(chosen.pause_s)
            took_s.append(swap(server, folder / "staged" / str(2 + len(took_s) % STAGED)))
        stop.set()
        answered, wrong = load.result()
        grpc_answered = sum(caller.result()[0] for caller in callers)
        grpc_failed = sum(caller.result()[1] for caller in callers)
    tell("swap-swaps", len(took_s), "swaps")
    tell("swap-took", float(np.median(took_s)) * 1000, "ms")
    tell("swap-requests", answered + grpc_answered, "requests")
    tell("swap-failed", wrong + grpc_failed, "requests")


if __name__ == "__main__":
    main()
