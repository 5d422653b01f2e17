"""Prometheus metrics of one server: counters that cost a few additions per request.

The text follows the Prometheus exposition format 0.0.4. Model names come from the
repository alone, so that a client cannot make labels: requests for models that are not
here count under `model=""`.

Units:   seconds, as Prometheus asks.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from skerry.serve.window import counted

BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0
)  # fmt: skip


_EDGES_S = np.array(BUCKETS_S)


class _Latency:
    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = np.zeros(len(BUCKETS_S) + 1, np.int64)
        self.sum_s = 0.0


class Metrics:
    """Counts what was asked and what became of it."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], int] = {}
        self._refused: dict[tuple[str, str], int] = {}
        self._latency: dict[str, _Latency] = {}
        self._tokens: dict[tuple[str, str], int] = {}

    def answered(self, model: str, latencies_s: Sequence[float]) -> None:
        """Count requests that got their answers."""
        key = (model, "ok")
        self._requests[key] = self._requests.get(key, 0) + len(latencies_s)
        latency = self._latency.get(model)
        if latency is None:
            latency = self._latency[model] = _Latency()
        latency.counts += counted(latencies_s, _EDGES_S)
        latency.sum_s += sum(latencies_s)

    def refused(self, model: str, code: str) -> None:
        """Count a request that was refused, by the code of the error that says why."""
        for table, key in ((self._requests, (model, "refused")), (self._refused, (model, code))):
            table[key] = table.get(key, 0) + 1

    def failed(self, model: str) -> None:
        """Count a request that should have been answered and was not."""
        key = (model, "failed")
        self._requests[key] = self._requests.get(key, 0) + 1

    def count(self) -> int:
        """Return how many requests there were in all; it changes as long as clients ask."""
        return sum(self._requests.values())

    def spent(self, model: str, tokens_in: int, tokens_out: int) -> None:
        """Count the tokens that an answer of a language model cost."""
        for direction, tokens in (("in", tokens_in), ("out", tokens_out)):
            key = (model, direction)
            self._tokens[key] = self._tokens.get(key, 0) + tokens

    def text(self, gauges: Iterable[tuple[str, str, dict[str, str], float]]) -> bytes:
        """Return the exposition; `gauges` adds rows of (name, help, labels, value)."""
        lines: list[str] = []
        _head(lines, "skerry_requests_total", "counter", "Requests by model and outcome.")
        for (model, outcome), count in sorted(self._requests.items()):
            _row(lines, "skerry_requests_total", {"model": model, "outcome": outcome}, count)
        _head(lines, "skerry_refused_total", "counter", "Refused requests by error code.")
        for (model, code), count in sorted(self._refused.items()):
            _row(lines, "skerry_refused_total", {"model": model, "code": code}, count)
        if self._tokens:
            _head(lines, "skerry_tokens_total", "counter", "Tokens of language models.")
        for (model, direction), tokens in sorted(self._tokens.items()):
            _row(lines, "skerry_tokens_total", {"model": model, "direction": direction}, tokens)
        name = "skerry_request_duration_seconds"
        _head(lines, name, "histogram", "Time from received to answered.")
        for model, latency in sorted(self._latency.items()):
            total = 0
            edges = (*(f"{edge:g}" for edge in BUCKETS_S), "+Inf")
            for edge, count in zip(edges, latency.counts.tolist(), strict=True):
                total += count
                _row(lines, f"{name}_bucket", {"model": model, "le": edge}, total)
            _row(lines, f"{name}_sum", {"model": model}, latency.sum_s)
            _row(lines, f"{name}_count", {"model": model}, total)
        seen = ""
        for gauge, help_text, labels, value in gauges:
            if gauge != seen:
                _head(lines, gauge, "gauge", help_text)
                seen = gauge
            _row(lines, gauge, labels, value)
        return ("\n".join(lines) + "\n").encode()


def _head(lines: list[str], name: str, kind: str, help_text: str) -> None:
    lines.append(f"# HELP {name} {help_text}")
    lines.append(f"# TYPE {name} {kind}")


def _row(lines: list[str], name: str, labels: dict[str, str], value: float) -> None:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    lines.append(f"{name}{{{inside}}} {value:.10g}" if inside else f"{name} {value:.10g}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
