"""Three times what a server can do, for a minute: who is admitted, how fast, who is told no.

    python benchmarks/overload.py [--seconds 60] [--times 3] [--deadline-ms MS]

One model of several milliseconds on one core; arrivals come in an open loop from the other
(see open_loop.py). First its capacity, then 0.8 of it as the reference, then the overload.
"""

import argparse
import asyncio
import os

import numpy as np
from measured import BUILD, mib_of, tell
from open_loop import Answer, OpenLoop, milliseconds, since_due_s
from served import CLIENT_CPUS, Served, fresh, heavy_model, http_request, served

REFUSALS = (429, 503, 504)


async def measure(server: Served, seconds: float, times: float, deadline_ms: float | None) -> None:
    """Load one server and tell what was seen."""
    lines = [] if deadline_ms is None else [f"skerry-deadline-ms: {deadline_ms:g}"]
    loop = OpenLoop(server.http, http_request("heavy", *lines))
    rng = np.random.default_rng(7)
    await loop.saturate(2, 1)
    capacity = await loop.saturate(2, 5)
    tell("overload-capacity", capacity, "1/s")

    loop.answers.clear()
    await loop.run(0.8 * capacity, max(seconds / 2, 5), rng)
    reference = [one for one in loop.answers if one.status == 200]
    reference_p99_ms = milliseconds(since_due_s(reference), 99)
    tell("overload-reference-p50", milliseconds(since_due_s(reference), 50), "ms")
    tell("overload-reference-p99", reference_p99_ms, "ms")
    tell("overload-reference-refused", len(loop.answers) - len(reference), "requests")

    loop.answers.clear()
    watch = asyncio.create_task(memory_mib(server.pid))
    await loop.run(times * capacity, seconds, rng)
    watch.cancel()
    sizes = await watch
    tell_overload(loop.answers, reference_p99_ms, capacity, seconds)
    tell("overload-memory-growth", max(sizes[-3:]) - sizes[min(5, len(sizes) - 1)], "MiB")

    loop.answers.clear()
    await loop.run(0.8 * capacity, 5, rng)
    after = [one for one in loop.answers if one.status == 200]
    tell("overload-after-p99", milliseconds(since_due_s(after), 99), "ms")
    loop.close()


def tell_overload(
    answers: list[Answer], reference_p99_ms: float, capacity: float, seconds: float
) -> None:
    """Tell what became of the requests of the overload."""
    admitted = [one for one in answers if one.status == 200]
    refused = [one for one in answers if one.status in REFUSALS]
    p99_ms = milliseconds(since_due_s(admitted), 99)
    tell("overload-admitted-p50", milliseconds(since_due_s(admitted), 50), "ms")
    tell("overload-admitted-p99", p99_ms, "ms")
    tell("overload-p99-over-reference", p99_ms / reference_p99_ms, "x")
    tell("overload-admitted-share", len(admitted) / seconds / capacity, "x-capacity")
    tell("overload-refused", len(refused), "requests")
    # From the try: the generator's lateness, told below, is not the server's.
    refused_s = [one.ended_s - one.tried_s for one in refused]
    tell("overload-refused-p50", milliseconds(refused_s, 50), "ms")
    tell("overload-refused-p99", milliseconds(refused_s, 99), "ms")
    tell("overload-refused-max", milliseconds(refused_s, 100), "ms")
    tell("overload-failed", len(answers) - len(admitted) - len(refused), "requests")
    late_s = [one.tried_s - one.due_s for one in answers]
    tell("overload-generator-late-p99", milliseconds(late_s, 99), "ms")


async def memory_mib(pid: int) -> list[float]:
    """Return the resident memory of a process, read every second until cancelled."""
    found = [mib_of(pid)]
    try:
        while True:
            await asyncio.sleep(1)
            found.append(mib_of(pid))
    except asyncio.CancelledError:
        return [*found, mib_of(pid)]


def main() -> None:
    """Serve the model on one core, load it from the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=3)
    parser.add_argument("--deadline-ms", type=float)
    chosen = parser.parse_args()
    folder = fresh(BUILD / "overload")
    heavy_model(folder / "heavy" / "1" / "model.onnx")
    with served(folder) as server:
        os.sched_setaffinity(0, {int(CLIENT_CPUS)})
        asyncio.run(measure(server, chosen.seconds, chosen.times, chosen.deadline_ms))


if __name__ == "__main__":
    main()
