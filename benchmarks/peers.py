"""`skerry serve` beside every peer, in one interleaved run: `peers.md` and `peers.json`.

    python benchmarks/peers.py --harness DIR [--secs 2] [--reps 3] [--shape NAME ...]
    python benchmarks/peers.py --report          only write the page from what was measured

DIR is the folder of the peers' harness (`bench.py`, `setup.sh`, `models.py`), whose own
README says what it does. Its environments lie under BENCH_VENVS and its models under
BENCH_DIR, as the harness has it. Here the models get Triton's layout by links, this
Python's environment is linked in as `ours`, and each shape is one run of the harness:

    one-core    every peer and ours, the server on core 0, the generator on core 1
    silero-32   what natural batching gives to a model of 0.1 ms
    grpc        the gRPC doors: ours, grpcio's, and grpcio by hand
    memory      inputs in shared memory against inputs in the body
    tls         TLS, asked by wrk and h2load
    mtls        mutual TLS, asked by a Python client, beside the same client without TLS
    unix        a Unix socket against TCP, both asked by h2load
    two-cores   two processes on two cores, which the generator shares

Figures come from one machine at one time: CPU per request and ratios travel, requests/s do not.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import onnxruntime
from measured import BUILD, certificates
from peers_page import page

HERE = Path(__file__).parent
MODELS = ("tiny", "silero", "vision")
FEEDS = {
    "tiny": {"x": (1, 4)},
    "silero": {"input": (1, 576), "state": (2, 1, 128)},
    "vision": {"image": (1, 3, 224, 224)},
}
PEERS = (
    *("fastapi-bin", "mlserver-httptools", "kserve-quiet", "bentoml", "litserve"),
    *("pytriton", "rayserve"),
)
SHAPES: dict[str, dict[str, str]] = {
    "one-core": {"servers": ",".join(("ours", "ours-apart", *PEERS)), "conc": "1,16"},
    "silero-32": {
        "servers": "ours,ours-apart,mlserver-httptools",
        "models": "tiny,silero",
        "protos": "http",
        "conc": "16,32",
    },
    "grpc": {"servers": "ours,ours-apart,ours-grpcio,grpcio-by-hand", "protos": "grpc"},
    "memory": {"servers": "ours-shm,ours-apart", "models": "vision", "protos": "http"},
    "tls": {"servers": "ours-apart,ours-tls", "models": "tiny,vision"},
    "mtls": {"servers": "ours-apart,ours-tls,ours-mtls", "models": "tiny,vision", "line": "mtls"},
    "unix": {"servers": "ours-apart,ours-unix", "models": "tiny,vision", "line": "unix"},
    "two-cores": {
        "servers": "ours,ours-2,mlserver-httptools,pytriton",
        "conc": "16,64",
        "srv-cpu": "0,1",
        "gen-cpu": "",
    },
}
"""Options of the harness for each shape; `line` is another generator of `peers_lines.py`."""


def folders() -> tuple[Path, Path]:
    """Return where the harness keeps its environments, and its models and bodies."""
    temp = Path(tempfile.gettempdir())
    venvs = Path(os.environ.get("BENCH_VENVS") or temp / "peers")
    return venvs, Path(os.environ.get("BENCH_DIR") or temp / "peers-bench")


def lay_out(venvs: Path, base: Path) -> None:
    """Give the harness's flat models our layout by links, and make what else it needs."""
    link(venvs / "ours", Path(sys.prefix))
    link(base / "skerry" / "grpcio_by_hand.py", HERE / "grpcio_by_hand.py")
    settings = {"batched": {"batch_max": 32}, "apart": {"batching": "off"}}
    for repository, chosen in settings.items():
        for model in MODELS:
            folder = base / "skerry" / repository / model
            link(folder / "1" / "model.onnx", base / "models" / f"{model}.onnx")
            (folder / "model.json").write_text(json.dumps(chosen))
    profile(base / "skerry" / "batched" / "silero" / "1" / "model.onnx", FEEDS["silero"])
    certificates(base / "skerry" / "tls")


def profile(model: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Have a model measured here: it names no batch axis, so one is found by trial."""
    import numpy as np

    samples = model.with_name("rows.npz")
    np.savez(samples, **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    subprocess.run(
        [
            Path(sys.prefix) / "bin" / "skerry",
            *("model", "profile", str(model), "--samples", str(samples)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def link(path: Path, target: Path) -> None:
    """Make a symbolic link, in place of an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target.absolute())


def raw_run_us(base: Path, seconds: float = 1.0) -> dict[str, float]:
    """Return the CPU of one run of each model in process, on the server's core, in us."""
    import numpy as np

    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    found = {}
    for model in MODELS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(base / "models" / f"{model}.onnx"), options, providers=["CPUExecutionProvider"]
        )
        feed = {name: np.zeros(shape, np.float32) for name, shape in FEEDS[model].items()}
        names = [one.name for one in session.get_outputs()]
        rounds = []
        for _ in range(5):
            runs, started_ns, ends_s = 0, time.thread_time_ns(), time.perf_counter() + seconds / 5
            while time.perf_counter() < ends_s:
                session.run(names, feed)
                runs += 1
            rounds.append((time.thread_time_ns() - started_ns) / runs / 1e3)
        found[model] = statistics.median(rounds)
    os.sched_setaffinity(0, before)
    return found


def run_shape(name: str, harness: Path, venvs: Path, *, secs: int, reps: int) -> dict[str, Any]:
    """Run the harness once and return what it wrote."""
    options = dict(SHAPES[name])
    line = options.pop("line", None)
    if line:
        options.setdefault("protos", "http" if line == "mtls" else "http,grpc")
    out = BUILD / "peers" / f"{name}.harness.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    start = [str(HERE / "peers_lines.py"), line, str(harness)] if line else [harness / "bench.py"]
    command = [str(venvs / "gen" / "bin" / "python"), "-B", *map(str, start)]
    options |= {"secs": str(secs), "reps": str(reps), "out": str(out)}
    for option, text in options.items():
        command += [f"--{option}", text]
    command += ["--extra", str(HERE / "peers-ours.json")]
    print(f"# {name}: {' '.join(command)}", flush=True)
    subprocess.run(command, check=True)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


PACKAGES = {
    "ours": ("skerry", "onnxruntime", "numpy", "httptools", "uvloop", "grpcio"),
    "mlserver": ("mlserver", "uvicorn", "fastapi", "grpcio"),
    "kserve": ("kserve", "uvicorn", "grpcio"),
    "fastapi": ("fastapi", "uvicorn", "orjson"),
    "bentoml": ("bentoml",),
    "litserve": ("litserve",),
    "pytriton": ("nvidia-pytriton",),
    "ray": ("ray",),
}


def versions(venvs: Path) -> dict[str, str]:
    """Return the versions of what was compared."""
    ask = (
        "import importlib.metadata as m,sys\n"
        "print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    )
    found = {}
    for name, packages in PACKAGES.items():
        python = venvs / name / "bin" / "python"
        if python.exists():
            command = [str(python), "-c", ask, *packages]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            found[name] = ended.stdout.strip() or "unknown"
    return found


def main() -> None:
    """Measure the shapes that were named, then write the page from all that was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--harness", type=Path, help="folder of the peers' harness")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="all where none is named")
    parser.add_argument("--secs", type=int, default=2, help="seconds of load per cell")
    parser.add_argument("--reps", type=int, default=3, help="rounds, forwards then backwards")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of peers.md and peers.json")
    chosen = parser.parse_args()
    kept = chosen.out / "peers.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"shapes": {}}
    if not chosen.report:
        if chosen.harness is None:
            parser.error("--harness names the folder of the peers' harness")
        venvs, base = folders()
        lay_out(venvs, base)
        results |= {"machine": machine(), "versions": versions(venvs)}
        for name in chosen.shape or SHAPES:
            raw_us = raw_run_us(base)
            servers = run_shape(name, chosen.harness, venvs, secs=chosen.secs, reps=chosen.reps)
            # The machine may have been slower before or after: the floor is taken on both sides.
            raw_us = {model: (raw_us[model] + us) / 2 for model, us in raw_run_us(base).items()}
            results["shapes"][name] = {
                "secs": chosen.secs,
                "reps": chosen.reps,
                "raw_us": raw_us,
                "servers": servers,
            }
            kept.write_text(json.dumps(results, indent=1) + "\n")
    (chosen.out / "peers.md").write_text(page(results))


if __name__ == "__main__":
    main()
