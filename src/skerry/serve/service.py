"""The service behind the doors: validate, admit, run, count, and say who served.

`infer` is an `InferFunction`: doors call it directly on a plain server, or through the
router that a node puts in front of it.

Units:   seconds, on the clock's monotonic scale.
Errors:  ServeError and its kinds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

from skerry import __version__
from skerry.base.clock import Clock
from skerry.base.drive import in_task
from skerry.base.errors import SkerryError
from skerry.schema.answer_stream import AnswerStream
from skerry.schema.model import Card, TensorSpec
from skerry.schema.oip import FormedInputs, InferReply, InferRequest, ServedBy, Tensor
from skerry.schema.oip_documents import IndexRow, ModelMetadata, ServerMetadata
from skerry.schema.oip_errors import shown
from skerry.schema.records import Outcome
from skerry.schema.runtime import ModelRuntime
from skerry.serve.errors import (
    MismatchError,
    NotReadyError,
    RestingError,
    UnknownModelError,
    facts_of,
)
from skerry.serve.log_settings import LogSettings
from skerry.serve.metrics import Metrics
from skerry.serve.model_config import model_config
from skerry.serve.model_runtime import model_runtime, runtime_gauges
from skerry.serve.repository import Repository
from skerry.serve.runtime import Array
from skerry.serve.sequences import SEQUENCE_ID, SequenceError, Sequences, step_of
from skerry.serve.shared_memory import Regions
from skerry.serve.slots import READY, Slot
from skerry.serve.states import state_pairs
from skerry.serve.tally import Tally
from skerry.serve.tracing import Trace, Tracing
from skerry.serve.upstream import UpstreamLane
from skerry.serve.wishes import fulfil

DEADLINE_S_DEFAULT = 30.0
SERVER_NAME = "skerry"
_FORMS_MAX = 64
_REFUSED_BELOW = 500  # an HTTP status below it is the client's or a rule's doing


class Service:
    """One server's models, answers and numbers."""

    def __init__(
        self,
        repository: Repository,
        *,
        clock: Clock,
        site: str = "local",
        node: str = "local/1",
        tier: str = "edge",
        trace_file: Path | None = None,
    ) -> None:
        self.repository = repository
        self.metrics = Metrics()
        self.regions = Regions()
        self.logs = LogSettings()
        self.tracing = Tracing(trace_file)
        self._clock, self._now_s = clock, clock.monotonic_s
        self._site, self._node, self._tier = site, node, tier
        self._refuses_because = "starting"
        self._tallies: WeakSet[Tally] = WeakSet()
        """Of what serves, and of what has left and still answers."""

    def open(self) -> None:
        """Begin to be ready."""
        self._refuses_because = ""

    def close(self) -> None:
        """Stop being ready, so that callers go elsewhere; what comes is still answered."""
        self._refuses_because = "stopping"
        self.logs.close()
        self.tracing.close()

    @property
    def accepting(self) -> bool:
        """Whether it has started and does not stop."""
        return not self._refuses_because

    def ready(self) -> bool:
        """Say whether every model that should serve does, and requests are taken."""
        return not self._refuses_because and self.repository.all_ready()

    def model_ready(self, model: str, version: str = "") -> bool:
        """Say whether this model is served; raises `UnknownModelError` if not known."""
        found = self.repository.described(model, version)
        return not found.why_not and not self._refuses_because

    def server_metadata(self) -> ServerMetadata:
        """Say who answers here."""
        return ServerMetadata(name=SERVER_NAME, version=__version__)

    def metadata(self, model: str, version: str = "") -> ModelMetadata:
        """Describe a model's versions, inputs and outputs."""
        known = self.repository.described(model, version)
        versions = (version,) if version else tuple(self.repository.versions(model))
        return ModelMetadata(
            name=model, versions=versions, inputs=known.inputs, outputs=known.outputs
        )

    def runtime(self, model: str) -> ModelRuntime:
        """Say how a model is run here, and why so."""
        return model_runtime(self.repository, model, self._now_s())

    def statistics(self, model: str = "", version: str = "") -> list[dict[str, Any]]:
        """Tell what the versions in service have done, as Triton's `ModelStatistics`."""
        self.settle()
        slots = self.repository.slots()
        if model:
            chosen = self.repository.described(model, version)
            slots = [
                slot for slot in slots if slot.name == model and (slot is chosen or not version)
            ]
        return [
            {
                **slot.lane.statistics.document(slot.name, slot.version_text, self._clock),
                "memory_usage": [{"type": "CPU", "id": 0, "byte_size": slot.loaded.memory_bytes}],
            }
            for slot in slots
        ]

    def trace_settings(self, model: str = "") -> dict[str, str | list[str]]:
        """Tell the trace settings of a model, or those of all."""
        if model:
            self.repository.described(model, "")
        return self.tracing.settings(model)

    def change_trace_settings(
        self, wanted: Mapping[str, object], model: str = ""
    ) -> dict[str, str | list[str]]:
        """Change trace settings and tell what they are then."""
        if model:
            self.repository.described(model, "")
        self.tracing.change(wanted, model)
        return self.tracing.settings(model)

    async def config(self, model: str, version: str = "") -> dict[str, Any]:
        """Tell a model's configuration in Triton's words; one that rests is loaded for it."""
        try:
            slot = self.repository.get(model, version)
        except RestingError:
            await in_task()
            slot = await self.repository.wake(model, version, DEADLINE_S_DEFAULT)
        return model_config(slot, self.repository.versions(model))

    def card(self, model: str, version: str = "") -> Card | None:
        """Return the card of a version in service; None where there is none."""
        try:
            return self.repository.described(model, version).card
        except UnknownModelError:
            return None

    def index(self, *, ready_only: bool = False) -> list[IndexRow]:
        """List the repository's model versions and their states."""
        rows = self.repository.index()
        return [row for row in rows if row.state == READY] if ready_only else rows

    async def load(self, model: str, folder: Path | None = None) -> None:
        """Load or swap a model: from the repository, or one version from a folder."""
        if folder is None:
            await self.repository.load(model)
        else:
            await self.repository.load_folders({model: folder})

    async def load_together(self, folders: Mapping[str, Path]) -> None:
        """Load or swap models, one version each from a folder; all of them or none."""
        await self.repository.load_folders(folders)

    async def unload(self, model: str) -> None:
        """Take a model out of service."""
        await self.repository.unload(model)

    def stats(self) -> dict[str, dict[str, float]]:
        """Return the last minute of each serving model as plain numbers, for the router.

        Fields: those of `Window.stats`, `queue_len`, `run_ms` and `version`.
        """
        self.settle()
        now_s = self._now_s()
        return {
            slot.name: {
                **slot.window.stats(now_s),
                "queue_len": float(slot.lane.queue_len),
                "run_ms": slot.lane.run_s * 1000,
                "version": float(slot.version),
            }
            for slot in self.repository.serving()
        }

    def count(self) -> int:
        """Return how many requests there were in all; it changes as long as clients ask."""
        self.settle()
        return self.metrics.count()

    def metrics_text(self) -> bytes:
        """Return the Prometheus exposition."""
        self.settle()
        slots = self.repository.slots()
        queue, run, up = "skerry_queue_length", "skerry_run_seconds", "skerry_ready"
        named = [(slot, {"model": slot.name, "version": str(slot.version)}) for slot in slots]
        return self.metrics.text(
            [
                (up, "1 where every model that should serve does.", {}, float(self.ready())),
                *(
                    (queue, "Requests waiting.", labels, float(slot.lane.queue_len))
                    for slot, labels in named
                ),
                *(
                    (run, "Running mean of one model run.", labels, slot.lane.run_s)
                    for slot, labels in named
                ),
                *(
                    ("skerry_sequences", "Sequences under way.", labels, float(len(slot.sequences)))
                    for slot, labels in named
                    if slot.sequences is not None
                ),
                (
                    "skerry_shared_memory_regions",
                    "Shared memory regions registered.",
                    {},
                    float(len(self.regions.status())),
                ),
                *runtime_gauges(self.repository),
            ]
        )

    async def infer(self, request: InferRequest) -> InferReply:
        """Answer a request with a model that serves here."""
        start_s = request.received_s or self._now_s()
        slot: Slot | None = None
        trace: Trace | None = None
        stream: AnswerStream | None = None
        try:
            if self._refuses_because == "starting":
                raise NotReadyError(self._refuses_because)
            try:
                slot = self.repository.get(request.model, request.version)
            except RestingError:
                slot = await self._woken(request, start_s)
            if self.tracing.on and (trace := self.tracing.begin(slot.name, start_s)) is not None:
                request.timeline = trace.stamps
            if request.parameters and SEQUENCE_ID in request.parameters:
                outputs = await self._run_in_sequence(slot, request, start_s)
            elif request.streams:
                outputs, stream = [], await self._begin_stream(slot, request, start_s)
            else:
                now = None if trace is not None else self._run_at_once(slot, request, start_s)
                outputs = await self._run(slot, request, start_s) if now is None else now
        except SkerryError as error:
            self._count_error(slot, error, start_s)
            if trace is not None and slot is not None:
                self.tracing.end(trace, slot.version_text, self._now_s())
            raise
        end_s = self._now_s()
        if trace is not None:
            self.tracing.end(trace, slot.version_text, end_s)
        (slot.tally or self._new_tally(slot)).answered(end_s, end_s - start_s)
        return InferReply(
            model=slot.name,
            version=slot.version_text,
            id=request.id,
            outputs=outputs,
            stream=stream,
            served_by=self._served_by(slot),
        )

    def _new_tally(self, slot: Slot) -> Tally:
        slot.tally = Tally(slot.name, slot.window, slot.lane.statistics, self.metrics)
        self._tallies.add(slot.tally)
        return slot.tally

    def settle(self) -> None:
        """Bring every count up to now; whoever looks at counts does this first."""
        for slot in self.repository.slots():
            slot.lane.settle()
        for tally in list(self._tallies):
            tally.settle()

    def _served_by(self, slot: Slot) -> ServedBy:
        if slot.served_by is None:
            slot.served_by = ServedBy(
                site=self._site,
                node=self._node,
                tier=self._tier,
                model=slot.name,
                version=slot.version_text,
                reason="local",
            )
        return slot.served_by

    async def _run_in_sequence(
        self, slot: Slot, request: InferRequest, start_s: float
    ) -> list[Tensor]:
        """Run a request whose model has state that is kept here between requests."""
        step = step_of(request)
        if step is None:
            return await self._run(slot, request, start_s)
        if slot.sequences is None:
            model = slot.model
            pairs = state_pairs(slot.card, model.inputs, model.outputs)
            if not pairs:
                raise SequenceError(
                    slot.name, shown(step.key[1]), "a model without state", "a model that has some"
                )
            slot.sequences = Sequences(
                slot.name, pairs, model.inputs, model.outputs, clock=self._clock
            )
        return await slot.sequences.infer(
            request, step, lambda whole: self._run(slot, whole, start_s)
        )

    def fulfil(self, request: InferRequest, reply: InferReply) -> None:
        """Do to an answer what its request's wishes ask for."""
        if request.wishes:
            card = self.card(reply.model, reply.version)
            fulfil(reply, request.wishes, self.regions, card.labels if card is not None else ())

    async def run_apart(self, request: InferRequest) -> list[Tensor]:
        """Run a model for the server's own ends, such as explanations; nothing is counted."""
        start_s = request.received_s or self._now_s()
        try:
            slot = self.repository.get(request.model, request.version)
        except RestingError:
            slot = await self._woken(request, start_s)
        return await self._run(slot, request, start_s)

    async def _woken(self, request: InferRequest, start_s: float) -> Slot:
        """Load what rests, within the request's deadline."""
        await in_task()
        budget_s = request.deadline_s if request.deadline_s is not None else DEADLINE_S_DEFAULT
        left_s = start_s + budget_s - self._now_s()
        return await self.repository.wake(request.model, request.version, left_s)

    async def _begin_stream(
        self, slot: Slot, request: InferRequest, start_s: float
    ) -> AnswerStream:
        """Have a server behind a model begin its answer; it is counted as answered from then on."""
        _checked(slot, request)
        if not isinstance(slot.lane, UpstreamLane):
            raise MismatchError(slot.name, "the answer", "wanted piece by piece", "whole")
        budget_s = request.deadline_s if request.deadline_s is not None else DEADLINE_S_DEFAULT
        return await slot.lane.stream(
            {tensor.name: tensor.data for tensor in request.inputs},
            deadline_at_s=start_s + budget_s,
            deadline_s=budget_s,
        )

    def _run_at_once(
        self, slot: Slot, request: InferRequest, start_s: float
    ) -> list[Tensor] | None:
        """Run a request that has to wait for nothing; None where it has."""
        names, datatypes = _checked(slot, request)
        budget_s = request.deadline_s if request.deadline_s is not None else DEADLINE_S_DEFAULT
        arrays = slot.lane.at_once(_arrays(request), names, start_s + budget_s)
        return None if arrays is None else _tensors(names, datatypes, arrays)

    async def _run(self, slot: Slot, request: InferRequest, start_s: float) -> list[Tensor]:
        names, datatypes = _checked(slot, request)
        if request.timeline is not None:
            request.timeline.append(("QUEUE_START", self._now_s()))
        budget_s = request.deadline_s if request.deadline_s is not None else DEADLINE_S_DEFAULT
        arrays = await slot.lane.submit(
            _arrays(request),
            names,
            deadline_at_s=start_s + budget_s,
            deadline_s=budget_s,
            client=request.client,
            priority=request.priority,
            timeline=request.timeline,
        )
        return _tensors(names, datatypes, arrays)

    def _count_error(self, slot: Slot | None, error: SkerryError, start_s: float) -> None:
        status, _, _ = facts_of(error)
        told = status < _REFUSED_BELOW or status in (503, 504)  # the client was told why
        name = slot.name if slot is not None else ""
        if told:
            self.metrics.refused(name, error.code)
        else:
            self.metrics.failed(name)
        if slot is not None:
            now_s = self._now_s()
            slot.lane.statistics.failed(now_s - start_s)
            slot.window.add(now_s, now_s - start_s, Outcome.REFUSED if told else Outcome.FAILED)


def _arrays(request: InferRequest) -> dict[str, Array]:
    tensors = request.inputs
    if len(tensors) == 1:
        return {tensors[0].name: tensors[0].data}
    return {tensor.name: tensor.data for tensor in tensors}


def _tensors(names: list[str], datatypes: list[str], arrays: list[Array]) -> list[Tensor]:
    if len(arrays) == 1:
        return [Tensor(names[0], datatypes[0], arrays[0].shape, arrays[0])]
    return [
        Tensor(name, datatype, array.shape, array)
        for name, datatype, array in zip(names, datatypes, arrays, strict=True)
    ]


def _checked(slot: Slot, request: InferRequest) -> tuple[list[str], list[str]]:
    """Hold a request against the model's declaration; return its outputs and their datatypes.

    What passed once passes again: names, datatypes and shapes are all that is looked at.
    """
    inputs = request.inputs
    form: Any
    if type(inputs) is FormedInputs and request.outputs is inputs.form.outputs:
        form = inputs.form  # it says the same each time, so it stands for what it says
    else:
        form = (
            tuple([(tensor.name, tensor.datatype, tensor.shape) for tensor in inputs]),
            None if request.outputs is None else tuple(request.outputs),
        )
    outputs = slot.forms.get(form)
    if outputs is None:
        _check_inputs(slot, request)
        names = _checked_outputs(slot, request)
        datatypes = {spec.name: spec.datatype for spec in slot.model.outputs}
        outputs = (names, [datatypes[name] for name in names])
        if len(slot.forms) >= _FORMS_MAX:
            slot.forms.clear()
        slot.forms[form] = outputs
    return outputs


def _check_inputs(slot: Slot, request: InferRequest) -> None:
    specs = slot.model.inputs
    given = {tensor.name: tensor for tensor in request.inputs}
    if len(given) != len(request.inputs):
        raise MismatchError(slot.name, "inputs", "naming one twice", "each input once")
    names = [spec.name for spec in specs]
    if given.keys() != set(names):
        found = ", ".join(shown(name) for name in list(given)[:8]) or "none"
        raise MismatchError(slot.name, "inputs", found, ", ".join(names))
    for spec in specs:
        _check_tensor(slot.name, spec, given[spec.name])


def _check_tensor(model: str, spec: TensorSpec, tensor: Tensor) -> None:
    if tensor.datatype != spec.datatype:
        raise MismatchError(
            model, f"datatype of input {spec.name}", shown(tensor.datatype), spec.datatype
        )
    fits = len(tensor.shape) == len(spec.shape) and all(
        wanted in (-1, found) for wanted, found in zip(spec.shape, tensor.shape, strict=True)
    )
    if not fits:
        raise MismatchError(
            model, f"shape of input {spec.name}", shown(list(tensor.shape)), str(list(spec.shape))
        )


def _checked_outputs(slot: Slot, request: InferRequest) -> list[str]:
    names = slot.model.output_names
    if request.outputs is None:
        return names
    for name in request.outputs:
        if name not in names:
            raise MismatchError(slot.name, "output", shown(name), f"one of {', '.join(names)}")
    if len(set(request.outputs)) != len(request.outputs):
        raise MismatchError(slot.name, "outputs", "naming one twice", "each output once")
    return request.outputs
