"""What one model version has done since it was last loaded: counts and time, as Triton tells them.

A few additions per run and per request. What is not measured apart is not invented:

    success, fail     requests and their whole time, from received to answered
    queue             time that requests waited to be taken for a run
    compute_infer     time of runs, counted once for every request of a batch
    compute_input     the rest of a successful request: reading, checking, joining, handing over
    compute_output    0: outputs are cut and sent without a copy
    batch_stats       runs by the number of items that ran as one

Units:   seconds in, nanoseconds out; `last_inference` in milliseconds since the epoch.
Source:  Triton's protocol extension "Statistics".
"""

import threading
from collections.abc import Sequence
from typing import Any

from skerry.base.clock import Clock

Timeline = list[tuple[str, float]]
"""What happened to a request when, in monotonic seconds."""

NS_PER_S = 1_000_000_000


class Statistics:
    """The counters of one model version. `ran` may be called from any thread."""

    __slots__ = ("_lock", "answered_s", "batches", "failed_s", "failures", "infer_s", "items",
                 "last_s", "queue_s", "requests_run", "runs", "successes")  # fmt: skip

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.successes = 0
        self.answered_s = 0.0
        self.failures = 0
        self.failed_s = 0.0
        self.queue_s = 0.0
        self.runs = 0
        self.requests_run = 0
        self.items = 0
        self.infer_s = 0.0
        """Times the number of requests that shared a run."""
        self.last_s = 0.0
        """Monotonic; 0 where nothing was answered yet."""
        self.batches: dict[int, list[float]] = {}
        """By items: how many runs, and their seconds together."""

    def ran(
        self,
        requests: int,
        items: int,
        start_s: float,
        end_s: float,
        timeline: Timeline | None = None,
    ) -> None:
        """Count one run that answered some requests, and note it in the timeline of one."""
        run_s = end_s - start_s
        if timeline is not None:
            timeline += (("COMPUTE_START", start_s), ("COMPUTE_END", end_s))
        with self._lock:
            self.runs += 1
            self.requests_run += requests
            self.items += items
            self.infer_s += run_s * requests
            batch = self.batches.get(items)
            if batch is None:
                batch = self.batches[items] = [0, 0.0]
            batch[0] += 1
            batch[1] += run_s

    def ran_alone(self, runs_s: Sequence[float]) -> None:
        """Count runs of one item that answered one request each."""
        with self._lock:
            self.runs += len(runs_s)
            self.requests_run += len(runs_s)
            self.items += len(runs_s)
            self.infer_s += sum(runs_s)
            batch = self.batches.setdefault(1, [0, 0.0])
            batch[0] += len(runs_s)
            batch[1] += sum(runs_s)

    def waited(self, wait_s: float) -> None:
        """Add the time that requests waited before they were taken for a run."""
        self.queue_s += wait_s

    def answered(self, now_s: float, latencies_s: Sequence[float]) -> None:
        """Count requests that got their answers, the last of them now."""
        self.successes += len(latencies_s)
        self.answered_s += sum(latencies_s)
        self.last_s = now_s

    def failed(self, latency_s: float) -> None:
        """Count a request that was refused or failed."""
        self.failures += 1
        self.failed_s += latency_s

    def document(self, name: str, version: str, clock: Clock) -> dict[str, Any]:
        """Return the counters as Triton's `ModelStatistics`."""
        shares = self.successes / self.requests_run if self.requests_run else 0.0
        infer_s = self.infer_s * min(shares, 1.0)
        input_s = max(self.answered_s - self.queue_s - infer_s, 0.0)
        count = self.successes
        since_s = clock.monotonic_s() - self.last_s
        return {
            "name": name,
            "version": version,
            "last_inference": int((clock.unix_s() - since_s) * 1000) if self.last_s else 0,
            "inference_count": self.items,
            "execution_count": self.runs,
            "inference_stats": {
                "success": _duration(count, self.answered_s),
                "fail": _duration(self.failures, self.failed_s),
                "queue": _duration(count, self.queue_s),
                "compute_input": _duration(count, input_s),
                "compute_infer": _duration(count, infer_s),
                "compute_output": _duration(count, 0.0),
                "cache_hit": _duration(0, 0.0),
                "cache_miss": _duration(0, 0.0),
            },
            "batch_stats": [
                {
                    "batch_size": size,
                    "compute_input": _duration(int(runs), 0.0),
                    "compute_infer": _duration(int(runs), run_s),
                    "compute_output": _duration(int(runs), 0.0),
                }
                for size, (runs, run_s) in sorted(self.batches.items())
            ],
            "memory_usage": [],
            "response_stats": {},
        }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * NS_PER_S)}
