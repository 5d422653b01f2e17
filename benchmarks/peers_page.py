"""The page of the peers' benchmark: what was promised, what was measured, held or missed.

A promise names a cell of a run (`tiny/http/16`), whose figure it is, and the bound. Where
a cell was not measured the page says *not run*: nothing is filled in from elsewhere.
"""

import statistics
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One bound; `kind` is a key of SAYS, which says what of the cell is measured."""

    work: str
    kind: str
    cell: str = ""
    shape: str = "one-core"
    ours: str = "ours"
    peer: str = ""
    peer_cell: str = ""
    hold: float
    aim: float | None = None


def _ratios(work: str, cell: str, shape: str = "one-core", **peers: float) -> list[Promise]:
    return [
        Promise(work=work, kind="ratio", cell=cell, shape=shape, peer=NAMES[name], hold=hold)
        for name, hold in peers.items()
    ]


NAMES = {
    "mlserver": "mlserver-httptools",
    "kserve": "kserve-quiet",
    "triton": "pytriton",
    "fastapi": "fastapi-bin",
    "grpcio": "grpcio-by-hand",
}
TINY, IMAGE = "tiny MLP, HTTP binary, 16 connections", "602 KB image tensor, HTTP, 16 connections"
TINY_GRPC = "tiny MLP, gRPC, 16 connections"
VAD = "Silero VAD, natural batching, 32 connections"
PROMISES = [
    Promise(work=TINY, kind="cpu", cell="tiny/http/16", ours="ours-apart", hold=30, aim=20),
    Promise(work=TINY + ", natural batching", kind="each", cell="tiny/http/16", hold=15),
    *_ratios(TINY, "tiny/http/16", mlserver=12, kserve=16, triton=45, fastapi=6),
    Promise(work=TINY_GRPC, kind="cpu", cell="tiny/grpc/16", ours="ours-apart", hold=35, aim=25),
    *_ratios(TINY_GRPC, "tiny/grpc/16", mlserver=15, kserve=12),
    *_ratios(TINY_GRPC, "tiny/grpc/16", "grpc", grpcio=5),
    Promise(
        work=VAD,
        kind="ratio",
        cell="silero/http/32",
        shape="silero-32",
        peer="mlserver-httptools",
        peer_cell="silero/http/16",
        hold=7,
    ),
    Promise(work=VAD, kind="raw", cell="silero/http/32", shape="silero-32", hold=1.0),
    *_ratios(IMAGE, "vision/http/16", mlserver=22, fastapi=2, triton=6),
    Promise(work="image tensor, HTTP", kind="raw", cell="vision/http/16", hold=1.4),
    Promise(work="image tensor, gRPC", kind="raw", cell="vision/grpc/16", hold=1.6),
    Promise(
        work="image tensor, shared memory",
        kind="raw",
        cell="vision/http/16",
        shape="memory",
        ours="ours-shm",
        hold=1.15,
    ),
    Promise(work="tiny alone on the line, HTTP", kind="p50", cell="tiny/http/1", hold=0.12),
    Promise(work="tiny alone on the line, gRPC", kind="p50", cell="tiny/grpc/1", hold=0.15),
    Promise(work="cold start, three models", kind="cold", hold=0.35),
    Promise(work="memory of one worker, three models", kind="memory", hold=70),
]
SAYS = {
    "cpu": "CPU over one raw run, us",
    "each": "CPU per request, us",
    "ratio": "requests/s",
    "raw": "CPU, one raw run = 1",
    "p50": "p50, ms",
    "cold": "seconds",
    "memory": "MiB, shared pages by share",
}


def median(rows: list[dict[str, Any]], key: str) -> float:
    """Return the median of one figure over the rounds of a cell."""
    return statistics.median([row[key] for row in rows if row.get(key) is not None])


def judged(promise: Promise, results: Results) -> tuple[str, str, str]:
    """Return what was measured, the p99 beside it, and the verdict."""
    shape = results["shapes"].get(promise.shape)
    ours = shape and shape["servers"].get(promise.ours)
    if not ours:
        return "", "", "not run"
    if promise.kind == "cold":
        return f"{ours['cold']:.2f}", "", verdict(ours["cold"], promise)
    if promise.kind == "memory":
        mib = ours["rss_idle"] / 2**20
        return f"{mib:.0f}", "", verdict(mib, promise)
    rows = ours["cells"].get(promise.cell)
    if not rows:
        return "", "", "not run"
    p99 = f"{median(rows, 'p99'):.2f}"
    if promise.kind == "ratio":
        theirs = shape["servers"].get(promise.peer, {"cells": {}})["cells"]
        rows_theirs = theirs.get(promise.peer_cell or promise.cell)
        if not rows_theirs:
            return "", p99, "not run"
        ratio = median(rows, "rps") / median(rows_theirs, "rps")
        p99_theirs = median(rows_theirs, "p99")
        said = "held" if ratio >= promise.hold else f"**missed**, {ratio / promise.hold:.2f}"
        if median(rows, "p99") > p99_theirs:
            said += ", p99 worse"
        return f"{ratio:.1f}x", f"{p99} / {p99_theirs:.2f}", said
    cpu_us, raw_us = median(rows, "cpu_ms") * 1e3, shape["raw_us"][promise.cell.partition("/")[0]]
    measured = {
        "cpu": cpu_us - raw_us,
        "each": cpu_us,
        "raw": cpu_us / raw_us,
        "p50": median(rows, "p50"),
    }[promise.kind]
    return f"{measured:.3g}", p99, verdict(measured, promise)


def verdict(measured: float, promise: Promise) -> str:
    """Return whether a figure that should be small is small enough."""
    if measured > promise.hold:
        return f"**missed**, {measured / promise.hold:.2f}"
    return "held, aim reached" if promise.aim and measured <= promise.aim else "held"


def bound(promise: Promise) -> str:
    """Return the bound as people read it."""
    if promise.kind == "ratio":
        return f"{promise.hold:g}x {promise.peer}"
    return f"{promise.hold:g}" + (f" (aim {promise.aim:g})" if promise.aim else "")


def promises(results: Results) -> list[str]:
    """Return the table of promises."""
    lines = ["| work | figure | hold | measured | p99 ms (ours / theirs) | verdict |"]
    lines.append("|---|---|---|---|---|---|")
    for promise in PROMISES:
        measured, p99, said = judged(promise, results)
        lines.append(
            f"| {promise.work} | {SAYS[promise.kind]} | {bound(promise)} | {measured} | {p99} "
            f"| {said} |"
        )
    return lines


def cells(shape: dict[str, Any]) -> list[str]:
    """Return every cell of one run."""
    lines = ["| cell | server | requests/s | p50 ms | p99 ms | CPU us | CPU / raw run | bad |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    names = list(dict.fromkeys(cell for one in shape["servers"].values() for cell in one["cells"]))
    for cell in names:
        raw_us = shape["raw_us"][cell.partition("/")[0]]
        for server, found in shape["servers"].items():
            rows = found["cells"].get(cell)
            if rows:
                cpu_us = median(rows, "cpu_ms") * 1e3
                lines.append(
                    f"| {cell} | {server} | {median(rows, 'rps'):.0f} | {median(rows, 'p50'):.3f} "
                    f"| {median(rows, 'p99'):.2f} | {cpu_us:.0f} | {cpu_us / raw_us:.1f} "
                    f"| {sum(row['bad'] for row in rows)} |"
                )
    return lines


def page(results: Results) -> str:
    """Return `peers.md`."""
    if not results["shapes"]:
        return "# Beside the peers\n\nNothing was measured yet.\n"
    host = results["machine"]
    lines = [
        "# Beside the peers",
        "",
        "Made by `python benchmarks/peers.py`; [its docstring](peers.py) says what each run is.",
        "",
        f"Machine: {host['cores']} cores of {host['processor']}, {host['memory_gib']} GiB, "
        f"{host['system']}, Python {host['python']}, load {host['load']} before, {host['date']}.",
        "",
        "CPU is that of all processes of a server. Every answer was checked against ONNX Runtime",
        "in process before it was measured. `ours` batches naturally, `ours-apart` never does.",
        "`mlserver-httptools` and `kserve-quiet` are the favoured variants of those peers.",
        "",
        "## What is to hold",
        "",
        *promises(results),
        "",
    ]
    for name, shape in results["shapes"].items():
        floor = ", ".join(f"{model} {us:.1f} us" for model, us in shape["raw_us"].items())
        lines += [
            f"## {name}",
            "",
            f"{shape['reps']} rounds of {shape['secs']} s; one raw run: {floor}.",
            "",
        ]
        lines += ["| server | cold start s | idle MiB |", "|---|---|---|"]
        lines += [
            f"| {server} | {found['cold']:.2f} | {found['rss_idle'] / 2**20:.0f} |"
            for server, found in shape["servers"].items()
        ]
        lines += ["", *cells(shape), ""]
    lines += ["## Versions", ""]
    lines += [f"- {name}: {text}" for name, text in results["versions"].items()]
    return "\n".join(lines) + "\n"
