"""What a slot needs of a runtime, whichever it is: ONNX Runtime here, or another server.

`Runtime` says what goes in and out; `RuntimeLane` runs it, with a bounded queue and
deadlines. `onnx_engine.OnnxModel` with `scheduler.Lane` is one pair, the runtimes of
`upstream_oip` and `upstream_openai` with `upstream.UpstreamLane` are the others.
"""

from typing import Any, Protocol

from numpy.typing import NDArray

from skerry.schema.model import TensorSpec
from skerry.serve.statistics import Statistics, Timeline

Array = NDArray[Any]


class Runtime(Protocol):
    """What can be asked, and what comes back. Shapes have -1 where an axis is free."""

    @property
    def name(self) -> str:
        """The model's name here."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Every input, all needed."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Every output."""
        ...

    @property
    def output_names(self) -> list[str]:
        """The outputs' names, in order."""
        ...


class RuntimeLane(Protocol):
    """Runs requests of one runtime."""

    run_s: float
    """Running mean of one run, in seconds."""
    statistics: Statistics

    @property
    def queue_len(self) -> int:
        """How many requests wait, the ones under way left out."""
        ...

    def at_once(
        self, inputs: dict[str, Array], outputs: list[str], deadline_at_s: float
    ) -> list[Array] | None:
        """Run a request without waiting for anything; None where that cannot be."""
        ...

    async def submit(
        self,
        inputs: dict[str, Array],
        outputs: list[str],
        *,
        deadline_at_s: float,
        deadline_s: float,
        client: int = 0,
        priority: int = 0,
        timeline: Timeline | None = None,
    ) -> list[Array]:
        """Run a request and return its outputs in the order asked for."""
        ...

    def settle(self) -> None:
        """Count what was only noted so far."""
        ...

    async def drain(self) -> None:
        """Wait until nothing waits or runs, then let go of what the runs needed."""
        ...
