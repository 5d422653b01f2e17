"""Sequences: a streaming model's state, kept here between the requests of one stream.

A client sends only its data, with `sequence_id` (a number or text), `sequence_start` on
the first request and `sequence_end` on the last. The state's inputs start as zeros; what
the state's outputs give goes into the next request of the same sequence. Requests of one
sequence run in the order they came; those of different sequences run together.

A sequence belongs to one model version and to the connection that started it. Text of at
least `SECRET_CHARS_MIN` characters is a secret of its own: whoever knows it may go on
with the sequence from any connection.

Shapes:  a free axis of a state is as long as the request has items.
Units:   seconds on a monotonic scale, bytes.
Errors:  SequenceError, SequencesFullError; those of the run.
Source:  Triton's protocol extension "Sequence" and its implicit state management.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.clock import Clock
from skerry.base.drive import Later
from skerry.schema.model import StatePair, TensorSpec
from skerry.schema.oip import DATATYPES, PARAMETER_SEQUENCE_ID, InferRequest, Parameter, Tensor
from skerry.schema.oip_errors import OipError, shown
from skerry.serve.errors import MismatchError, ServeError

Array = NDArray[Any]
Run = Callable[[InferRequest], Awaitable[list[Tensor]]]

SEQUENCE_ID = PARAMETER_SEQUENCE_ID
SEQUENCE_START = "sequence_start"
SEQUENCE_END = "sequence_end"

SEQUENCES_MAX = 4096
STATE_BYTES_MAX = 256 * 1024**2
IDLE_S_MAX = 60.0
WAITING_MAX = 16
SECRET_CHARS_MIN = 16
ID_CHARS_MAX = 256

Key = tuple[int, int | str]


class SequenceError(ServeError):
    """A request does not fit the sequence that it names.

    The first request of a sequence carries `sequence_start: true`. A sequence is
    forgotten after its `sequence_end`, after a minute without a request, when the model's
    version changes, and with the connection's end where its id is short. The model must
    have state: stated in its card, or found by its names.
    """

    code = "E0432"
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"

    def __init__(self, model: str, sequence: str, found: str, wanted: str) -> None:
        super().__init__(model, sequence, found, wanted)
        self.model, self.sequence = model, sequence
        self.found, self.wanted = found, wanted

    def __str__(self) -> str:
        return f"model {self.model}, sequence {self.sequence}: {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say how a sequence begins."""
        return "begin the sequence again with sequence_start: true"


class SequencesFullError(ServeError):
    """The server holds as many sequences of this model as it may, or one has too many waiting.

    End sequences with `sequence_end: true`; those left alone go after a minute.
    """

    code = "E0433"
    http_status = 503
    grpc_code = "RESOURCE_EXHAUSTED"
    retry_after_s = 1.0

    def __init__(self, model: str, what: str, limit: int) -> None:
        super().__init__(model, what, limit)
        self.model, self.what, self.limit = model, what, limit

    def __str__(self) -> str:
        return f"model {self.model} has {self.what}, limit {self.limit}"


@dataclass(slots=True)
class Step:
    """What a request says of its sequence."""

    key: Key
    start: bool
    end: bool


class _Kept:
    """One sequence: known for as long as it has state, runs, or is waited for."""

    __slots__ = ("busy", "granted", "items", "key", "last_s", "size", "states", "waiting")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.states: list[Tensor] = []
        self.items = 0
        self.size = 0
        self.last_s = 0.0
        self.busy = False
        self.waiting: deque[Later[None]] = deque()
        self.granted: Later[None] | None = None


class Sequences:
    """The sequences of one model version."""

    def __init__(
        self,
        model: str,
        pairs: Sequence[StatePair],
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        clock: Clock,
    ) -> None:
        self._model = model
        self._clock = clock
        self._input_of = {pair.output: pair.input for pair in pairs}
        kept = set(self._input_of.values())
        self._states = [spec for spec in inputs if spec.name in kept]
        self._state_names = kept
        self._given = [spec for spec in inputs if spec.name not in kept]
        self._outputs = [spec.name for spec in outputs if spec.name not in self._input_of]
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()  # the longest idle first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def infer(self, request: InferRequest, step: Step, run: Run) -> list[Tensor]:
        """Run one request of a sequence and keep the state that it leaves."""
        for tensor in request.inputs:
            if tensor.name in self._state_names:
                raise MismatchError(
                    self._model, f"input {tensor.name}", "given", "left out: its state is kept here"
                )
        kept = self._find(step)
        await self._turn(kept)
        try:
            if step.start:
                self._set(kept, [], self._items(request))
                states = self._zeros(kept.items)
            elif not kept.states:  # it ended, or never began, while this request waited
                raise self._unknown(step)
            else:
                states = kept.states
            if kept.items != self._items(request):
                raise SequenceError(
                    self._model,
                    _text(step),
                    f"{self._items(request)} items",
                    f"{kept.items} as before",
                )
            wanted = request.outputs if request.outputs is not None else self._outputs
            extra = [name for name in self._input_of if name not in wanted]
            found = await run(
                msgspec.structs.replace(
                    request, inputs=[*request.inputs, *states], outputs=[*wanted, *extra]
                )
            )
            self._set(kept, [] if step.end else self._states_of(found), kept.items)
            return found[: len(wanted)]
        finally:
            self._done(kept)

    def _find(self, step: Step) -> _Kept:
        now_s = self._clock.monotonic_s()
        self._expire(now_s)
        kept = self._kept.get(step.key)
        if kept is None:
            if not step.start:
                raise self._unknown(step)
            if len(self._kept) >= SEQUENCES_MAX:
                raise SequencesFullError(self._model, "sequences under way", SEQUENCES_MAX)
            kept = self._kept[step.key] = _Kept(step.key)
        kept.last_s = now_s
        self._kept.move_to_end(step.key)
        return kept

    def _expire(self, now_s: float) -> None:
        while self._kept:
            first = next(iter(self._kept.values()))
            if first.last_s + IDLE_S_MAX > now_s:
                return
            if first.busy:  # a run longer than that is no idling
                first.last_s = now_s
                self._kept.move_to_end(first.key)
            else:
                self._bytes -= first.size
                del self._kept[first.key]

    async def _turn(self, kept: _Kept) -> None:
        """Wait until every request of the sequence that came before is done."""
        if not kept.busy:
            kept.busy = True
            return
        if len(kept.waiting) >= WAITING_MAX:
            raise SequencesFullError(self._model, "requests of one sequence waiting", WAITING_MAX)
        turn: Later[None] = Later()
        kept.waiting.append(turn)
        try:
            await turn
        except BaseException:
            if kept.granted is turn:  # cancelled between its turn and its first step
                self._done(kept)
            raise

    def _done(self, kept: _Kept) -> None:
        """Let the next request go once this one has its answer."""
        if kept.waiting:
            asyncio.get_running_loop().call_soon(self._next, kept)
        else:
            self._next(kept)

    def _next(self, kept: _Kept) -> None:
        """Give the next request its turn; where there is none, forget what has no state."""
        while kept.waiting:
            turn = kept.waiting.popleft()
            if not turn.settled:  # else its client left while it waited
                kept.granted = turn
                turn.set_result(None)
                return
        kept.busy, kept.granted = False, None
        if not kept.states:
            del self._kept[kept.key]

    def _states_of(self, found: Sequence[Tensor]) -> list[Tensor]:
        """Return what the next request is fed: copies, as a piece would keep a whole batch."""
        return [
            Tensor(self._input_of[one.name], one.datatype, one.shape, np.array(one.data))
            for one in found
            if one.name in self._input_of
        ]

    def _set(self, kept: _Kept, states: list[Tensor], items: int) -> None:
        size = sum(state.data.nbytes for state in states)
        if self._bytes - kept.size + size > STATE_BYTES_MAX:
            raise SequencesFullError(self._model, "bytes of state", STATE_BYTES_MAX)
        self._bytes += size - kept.size
        kept.states, kept.size, kept.items = states, size, items
        kept.last_s = self._clock.monotonic_s()

    def _zeros(self, items: int) -> list[Tensor]:
        states = []
        for spec in self._states:
            shape = tuple(items if axis < 0 else axis for axis in spec.shape)
            data = np.zeros(shape, DATATYPES[spec.datatype])
            states.append(Tensor(spec.name, spec.datatype, shape, data))
        return states

    def _items(self, request: InferRequest) -> int:
        """How many items a request has: the first axis of the first input that may vary."""
        first = self._given[0]
        if not first.shape or first.shape[0] >= 0:
            return 1
        for tensor in request.inputs:
            if tensor.name == first.name and tensor.shape:
                return tensor.shape[0]
        return 1  # the input is not there, which the run will say

    def _unknown(self, step: Step) -> SequenceError:
        return SequenceError(
            self._model, _text(step), "not under way", "sequence_start on its first request"
        )


def step_of(request: InferRequest) -> Step | None:
    """Read what a request's parameters say of a sequence; None where they name none."""
    parameters = request.parameters
    found = parameters.get(SEQUENCE_ID)
    if found is None or found == 0 or found == "":  # as Triton has it: no sequence
        return None
    if isinstance(found, str):
        right = len(found) <= ID_CHARS_MAX
    else:
        right = type(found) is int and 0 < found < 2**64
    if not right or isinstance(found, bool | float):
        raise OipError(SEQUENCE_ID, shown(found), "1 to 2^64 - 1, or text")
    secret = isinstance(found, str) and len(found) >= SECRET_CHARS_MIN
    return Step(
        (0 if secret else request.client, found),
        _flag(SEQUENCE_START, parameters.get(SEQUENCE_START, False)),
        _flag(SEQUENCE_END, parameters.get(SEQUENCE_END, False)),
    )


def _flag(name: str, value: Parameter) -> bool:
    if not isinstance(value, bool):
        raise OipError(name, shown(value), "true or false")
    return value


def _text(step: Step) -> str:
    return shown(step.key[1])
