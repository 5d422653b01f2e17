"""Why a request got no answer. Doors map `http_status` and `grpc_code`; people read the rest."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from skerry.base.errors import Exit, SkerryError
from skerry.schema.route_trace import RouteTrace


@dataclass(frozen=True, slots=True)
class Considered:
    """One candidate and what came of it: `verdict` is a word of `route.decide.VERDICT_WORDS`."""

    node: str
    site: str
    tier: str
    verdict: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.node} [{self.tier}]: {self.verdict}{detail}"


class RouteError(SkerryError):
    """A request could not be routed.

    `retry_after_s` is None where trying again does not help.
    """

    code = "E0500"
    exit_code = Exit.BAD_OUTCOME
    http_status: ClassVar[int] = 500
    grpc_code: ClassVar[str] = "INTERNAL"
    retry_after_s: float | None = None
    trace: RouteTrace | None = None
    """How the request was routed, where it was asked for."""


class _UnansweredError(RouteError):
    def __init__(self, model: str, considered: Sequence[Considered], detail: str = "") -> None:
        super().__init__(model, tuple(considered), detail)
        self.model, self.considered, self.detail = model, tuple(considered), detail

    def _reasons(self) -> str:
        told = "; ".join(str(candidate) for candidate in self.considered)
        return told or self.detail or "no node is known"


class RefusedByResidencyError(_UnansweredError):
    """The data may not go to any node that could answer.

    Residency comes before ranking and denies by default. Nothing left the site. Either
    the model must run where the data may be, or the data class's rule in the fleet file
    must allow more; changing that rule needs a signed policy.
    """

    code = "E0501"
    exit_code = Exit.REFUSED
    http_status = 403
    grpc_code = "PERMISSION_DENIED"

    def __str__(self) -> str:
        return f"{self.model}: no node may take this data: {self._reasons()}"

    @property
    def hint(self) -> str:
        """Name the two ways out."""
        return "run the model where the data may be, or change the data class's rule and apply"


class UnknownDataClassError(RouteError):
    """The request's data class is not one that the model takes.

    A class that the policy does not know, a class the model does not list, and a model
    without a rule are all refused: what is not allowed is denied.
    """

    code = "E0502"
    exit_code = Exit.REFUSED
    http_status = 403
    grpc_code = "PERMISSION_DENIED"

    def __init__(self, model: str, data_class: str | None, detail: str) -> None:
        super().__init__(model, data_class, detail)
        self.model, self.data_class, self.detail = model, data_class, detail

    def __str__(self) -> str:
        return f"{self.model}: data class {self.data_class or '(default)'} refused: {self.detail}"

    @property
    def hint(self) -> str:
        """Say where classes are declared."""
        return "send a class that the fleet file lists for this model, or add it there and apply"


class UnknownModelError(RouteError):
    """No model of this name is in the fleet.

    The signed policy lists every model with the data classes it takes; one that is not
    there is served nowhere and may see nothing.
    """

    code = "E0508"
    exit_code = Exit.WRONG_USE
    http_status = 404
    grpc_code = "NOT_FOUND"

    def __init__(self, model: str, known: Iterable[str]) -> None:
        known = tuple(sorted(known))
        super().__init__(model, known)
        self.model, self.known = model, known

    def __str__(self) -> str:
        return f"there is no model {self.model!r} in this fleet"

    @property
    def hint(self) -> str:
        """Name the nearest one, or all."""
        near = difflib.get_close_matches(self.model, self.known, n=1)
        if near:
            return f"did you mean {near[0]}?"
        return f"it has {', '.join(self.known[:10])}" if self.known else "apply a fleet file first"


class NoCandidateError(_UnansweredError):
    """Every node that may take this data was tried or ruled out.

    The text names each candidate with its own reason: `down`, `breaker-open` (it failed
    lately and is being probed), `queue-full`, `deadline`, `no-model`, `residency`, `hops`,
    `ejected` (it stood out of its like), `retry-budget` (too much was retried lately).
    """

    code = "E0503"
    exit_code = Exit.UNREACHABLE
    http_status = 503
    grpc_code = "UNAVAILABLE"

    def __init__(
        self,
        model: str,
        considered: Sequence[Considered],
        detail: str = "",
        retry_after_s: float | None = 1.0,
    ) -> None:
        super().__init__(model, considered, detail)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.model}: nobody could answer: {self._reasons()}"

    @property
    def hint(self) -> str:
        """Say when to try again."""
        return f"try again in {self.retry_after_s or 1.0:.1f} s; `skerry status` shows the nodes"


class ModelAbsentError(NoCandidateError):
    """The fleet has this model, and no node that may answer has it.

    Where a node forwarded the request: this node does not have it. The model may be on its
    way; `skerry status` shows what each node serves.
    """

    code = "E0512"
    http_status = 404
    grpc_code = "NOT_FOUND"

    def __str__(self) -> str:
        return f"{self.model}: not served where the data may go: {self._reasons()}"


class DeadlineExceededError(_UnansweredError):
    """No candidate answered, or could have answered, within the request's deadline."""

    code = "E0504"
    exit_code = Exit.TIMED_OUT
    http_status = 504
    grpc_code = "DEADLINE_EXCEEDED"

    def __str__(self) -> str:
        return f"{self.model}: no answer within the deadline: {self._reasons()}"

    @property
    def hint(self) -> str:
        """Name the setting."""
        return "allow more time (deadline_s, header skerry-deadline-ms)"


class NoQuorumError(_UnansweredError):
    """Too few of an ensemble's members answered within its deadline.

    The text names each member with its own reason. `quorum` and `deadline_s` of the
    ensemble are in the node's `route` settings.
    """

    code = "E0509"
    exit_code = Exit.UNREACHABLE
    http_status = 503
    grpc_code = "UNAVAILABLE"
    retry_after_s = 1.0

    def __str__(self) -> str:
        return f"{self.model}: {self.detail}: {self._reasons()}"


class CombineError(RouteError):
    """The answers of an ensemble's members do not fit together.

    All members must have the same outputs, of the same type and shape; mean and median
    need floats.
    """

    code = "E0510"
    http_status = 502
    grpc_code = "FAILED_PRECONDITION"

    def __init__(self, output: str, found: str, wanted: str) -> None:
        super().__init__(output, found, wanted)
        self.output, self.found, self.wanted = output, found, wanted

    def __str__(self) -> str:
        return f"output {self.output!r} of an ensemble is {self.found}, wanted {self.wanted}"


class CalibrationError(RouteError):
    """Held-out data, or a level, that no threshold can be made from."""

    code = "E0511"
    exit_code = Exit.WRONG_USE
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"

    def __init__(self, name: str, found: str, wanted: str) -> None:
        super().__init__(name, found, wanted)
        self.name, self.found, self.wanted = name, found, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.found}, wanted {self.wanted}"


class PeerAnsweredError(RouteError):
    """A node answered with an error of its own; its status and words are kept.

    `told_code` is the E-code that the node gave, where it gave one; `skerry help CODE`
    explains it.
    """

    code = "E0506"

    def __init__(
        self,
        url: str,
        status: int,
        text: str,
        answer_after_s: float | None = None,
        told_code: str = "",
    ) -> None:
        super().__init__(url, status, text, answer_after_s, told_code)
        self.url, self.status, self.text, self.told_code = url, status, text, told_code
        self.retry_after_s = answer_after_s

    @property
    def http_status(self) -> int:  # type: ignore[override]
        """The status that the node answered with."""
        return self.status

    @property
    def grpc_code(self) -> str:  # type: ignore[override]
        """The gRPC code nearest to that status."""
        return _GRPC_CODES.get(self.status, "INTERNAL")

    def __str__(self) -> str:
        return f"{self.url} answered {self.status}: {self.text}"


class ShadowFileError(RouteError):
    """A file that holds no record of a shadow, or cannot be read.

    A node writes one record per rule to `shadow/` in its state folder.
    """

    code = "E0520"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name where records lie."""
        return "name a *.shadow.json file, or the folder of a node"


_GRPC_CODES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
