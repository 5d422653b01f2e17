"""The story's traffic: many small clients, each with its own pace, each answer judged.

A client is one thread that sends one real file at a time and knows what the file is, so
every answer is right or wrong. Stock clients speak plain Open Inference Protocol to one
node; the SDK knows the nodes of its site and routes. Latency counts from the moment a
request was due, so a client that had to wait shows it.

Units: seconds on the wall clock for times, milliseconds for latencies.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from skerry.proof.drills import ClientOutcome
from skerry.schema.oip_facts import parse_served_by

REQUEST_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class TruthFile:
    """A file and what it is."""

    path: Path
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a client was told: the label, and by whom."""

    label: str
    served_site: str
    served_node: str
    served_tier: str
    model: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One request from its client's side. `answer` is None where it failed, `error` says why."""

    client: str
    kind: str
    site: str
    due_unix_s: float
    latency_ms: float
    expected: str
    data_class: str
    bytes_sent: int
    answer: Answered | None
    error: str = ""

    @property
    def local(self) -> bool:
        """Whether it was answered at the site it was sent from."""
        return self.answer is not None and self.answer.served_site == self.site

    @property
    def right(self) -> bool:
        """Whether the label is the true one."""
        return self.answer is not None and self.answer.label == self.expected

    def for_grading(self) -> ClientOutcome:
        """Return it as drills grade it."""
        return ClientOutcome(
            client=self.client,
            latency_ms=self.latency_ms,
            ok=self.answer is not None,
            local=self.local,
        )


class Sender(Protocol):
    """One way to ask for a file's label. Raises whatever its library raises."""

    def ask(self, content: bytes, data_class: str) -> Answered:
        """Send one file and return the answer."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPlan:
    """One client to be: where it is, how it asks, how often."""

    name: str
    kind: str
    site: str
    data_class: str
    per_s: float
    sender: Callable[[], Sender]
    """Called in the client's own thread."""


@dataclass(slots=True)
class _Client:
    plan: ClientPlan
    thread: threading.Thread
    stop: threading.Event
    paused: threading.Event = field(default_factory=threading.Event)


class Traffic:
    """All clients of a story. Outcomes are kept until it ends."""

    def __init__(self, files: Sequence[TruthFile], *, seed: int) -> None:
        self._files = files
        self._seed = seed
        self._clients: list[_Client] = []
        self._outcomes: list[Outcome] = []  # appended by threads: list.append is atomic

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def offered_per_s(self) -> float:
        """The load that all running clients offer together."""
        return sum(client.plan.per_s for client in self._clients if not client.paused.is_set())

    def start(self, plans: Sequence[ClientPlan]) -> None:
        """Start clients."""
        for plan in plans:
            stop = threading.Event()
            client = _Client(plan, threading.Thread(), stop)
            client.thread = threading.Thread(
                target=self._live, args=(client,), name=plan.name, daemon=True
            )
            self._clients.append(client)
            client.thread.start()

    def pause(self, chosen: Callable[[ClientPlan], bool]) -> None:
        """Let some clients rest, for drills that concern others."""
        for client in self._clients:
            if chosen(client.plan):
                client.paused.set()

    def resume(self) -> None:
        """Let all clients send again."""
        for client in self._clients:
            client.paused.clear()

    def plans(self) -> list[ClientPlan]:
        """Return the plans of all running clients."""
        return [client.plan for client in self._clients]

    def retire(self, plans: Sequence[ClientPlan]) -> None:
        """Stop some clients for good; returns when their last answers are in."""
        leaving = [client for client in self._clients if client.plan in plans]
        for client in leaving:
            client.stop.set()
        for client in leaving:
            client.thread.join(timeout=REQUEST_S_MAX * 3)
        self._clients = [client for client in self._clients if client not in leaving]

    def stop(self) -> None:
        """Stop every client; returns when the last answer is in."""
        self.retire(self.plans())

    def between(self, from_unix_s: float, to_unix_s: float) -> list[Outcome]:
        """Return the outcomes of requests that were due in a span."""
        return [one for one in list(self._outcomes) if from_unix_s <= one.due_unix_s < to_unix_s]

    def all(self) -> list[Outcome]:
        """Return every outcome so far."""
        return list(self._outcomes)

    def _live(self, client: _Client) -> None:
        plan = client.plan
        rng = random.Random(f"{self._seed}/{plan.name}")  # noqa: S311 - a load, not a secret
        sender = plan.sender()
        due_s = time.time() + rng.random() / plan.per_s
        try:
            while not client.stop.wait(max(0.0, due_s - time.time())):
                if client.paused.is_set():
                    due_s = time.time() + 0.05
                    continue
                self._outcomes.append(_ask(plan, sender, rng.choice(self._files), due_s))
                due_s += rng.uniform(0.5, 1.5) / plan.per_s
                if due_s < time.time() - REQUEST_S_MAX:  # far behind: do not answer with a burst
                    due_s = time.time()
        finally:
            sender.close()


def _ask(plan: ClientPlan, sender: Sender, file: TruthFile, due_s: float) -> Outcome:
    answer, error, content = None, "", b""
    try:
        content = file.path.read_bytes()
        answer = sender.ask(content, plan.data_class)
    except Exception as failure:  # whatever a client library raises is a failed request
        error = f"{type(failure).__name__}: {failure}"[:300]
    return Outcome(
        client=plan.name,
        kind=plan.kind,
        site=plan.site,
        due_unix_s=due_s,
        latency_ms=(time.time() - due_s) * 1000,
        expected=file.label,
        data_class=plan.data_class,
        bytes_sent=len(content),
        answer=answer,
        error=error,
    )


class StockHttp:
    """`tritonclient.http`, as anyone has it: a BYTES tensor in, a label out."""

    def __init__(self, url: str, model: str) -> None:
        import tritonclient.http as triton

        self._triton, self._model = triton, model
        self._client = triton.InferenceServerClient(
            url.removeprefix("http://"),
            connection_timeout=REQUEST_S_MAX,
            network_timeout=REQUEST_S_MAX,
        )

    def ask(self, content: bytes, data_class: str) -> Answered:
        """Send one file."""
        headers = {"skerry-data-class": data_class}
        reply = self._client.infer(self._model, _file_input(self._triton, content), headers=headers)
        return _stock_answer(reply.as_numpy("label")[0], reply.get_response()["parameters"])

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class StockGrpc:
    """`tritonclient.grpc`, as anyone has it."""

    def __init__(self, url: str, model: str) -> None:
        import tritonclient.grpc as triton

        self._triton, self._model = triton, model
        self._client = triton.InferenceServerClient(url.removeprefix("grpc://"))

    def ask(self, content: bytes, data_class: str) -> Answered:
        """Send one file."""
        reply = self._client.infer(
            self._model,
            _file_input(self._triton, content),
            headers={"skerry-data-class": data_class},
            client_timeout=REQUEST_S_MAX,
        )
        parameters = {
            name: value.string_param for name, value in reply.get_response().parameters.items()
        }
        return _stock_answer(reply.as_numpy("label")[0], parameters)

    def close(self) -> None:
        """Close the channel."""
        self._client.close()


def _file_input(triton: Any, content: bytes) -> list[Any]:
    import numpy as np

    tensor = triton.InferInput("file", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([content], dtype=np.object_))
    return [tensor]


def _stock_answer(label: bytes, parameters: dict[str, Any]) -> Answered:
    served = parse_served_by(str(parameters.get("skerry-served-by", "")))
    assert served is not None  # noqa: S101 - every skerry node says who it is
    return Answered(
        label=label.decode(),
        served_site=served.site,
        served_node=served.node,
        served_tier=served.tier,
        model=served.model,
        version=served.version,
        reason=served.reason,
    )
