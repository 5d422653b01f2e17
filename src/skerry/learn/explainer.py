"""Explanations on request: an `InferFunction` that adds, to an answer, what it rests on.

    request  parameters explain=true, explain_method, explain_budget, explain_seed,
             explain_baseline, explain_output, explain_target; inputs `baseline.<input>`
    reply    a tensor `explanation.<input>` per input, and parameters that say how

A request that does not ask costs one look at its parameters. What explains is loaded with
the first one that does.

Errors:  those of `explanations`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from skerry.base.clock import Clock
from skerry.schema.model import Card
from skerry.schema.oip import InferFunction, InferReply, InferRequest, Tensor
from skerry.schema.oip_documents import ModelMetadata

if TYPE_CHECKING:
    from skerry.learn.explanations import Explanations

RunModel = Callable[[InferRequest], Awaitable[Sequence[Tensor]]]
"""Run a model that serves here and count nothing: it is not a client's request."""


class Explainer:
    """Wraps an infer function. `node` is this node's name, as answers carry it.

    `asked` returns how many requests clients have sent here so far: while it changes,
    explanations leave most of the time to them.
    """

    def __init__(
        self,
        infer: InferFunction,
        *,
        run: RunModel,
        metadata: Callable[[str, str], ModelMetadata],
        cards: Callable[[str, str], Card | None],
        asked: Callable[[], int],
        node: str,
        clock: Clock,
    ) -> None:
        self._infer, self._run, self._asked = infer, run, asked
        self._metadata, self._cards = metadata, cards
        self._node, self._clock = node, clock
        self._explanations: Explanations | None = None

    def infer(self, request: InferRequest) -> Awaitable[InferReply]:
        """Answer, and explain the answer if that was asked for."""
        if not request.parameters or "explain" not in request.parameters:
            return self._infer(request)  # no step of its own: requests that do not ask pay nothing
        if self._explanations is None:
            self._explanations = self._made()
        return self._explanations.answer(request)

    def _made(self) -> "Explanations":
        from skerry.learn.explanations import Explanations

        return Explanations(
            self._infer,
            run=self._run,
            metadata=self._metadata,
            cards=self._cards,
            asked=self._asked,
            node=self._node,
            clock=self._clock,
        )
