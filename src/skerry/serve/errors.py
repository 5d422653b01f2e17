"""Why a request was not answered, or a model not taken.

Each error names its HTTP status and gRPC code, and where waiting helps, for how long.
Doors read those three by name from any error (`facts_of`), so that other rooms'
errors travel the same way.
"""

from typing import ClassVar

from skerry.base.errors import Exit, SkerryError
from skerry.schema.oip_errors import shown


class ServeError(SkerryError):
    """Serving failed in a way that has no name of its own.

    The text says what was found. If it repeats, the node's log has the whole story.
    """

    code = "E0400"
    http_status: ClassVar[int] = 500
    grpc_code: ClassVar[str] = "INTERNAL"
    retry_after_s: float | None = None


class UnknownModelError(ServeError):
    """No model of that name and version is served here.

    Names and versions are compared exactly; `POST /v2/repository/index` lists what is
    in the repository and whether it is ready.
    """

    code = "E0401"
    http_status = 404
    grpc_code = "NOT_FOUND"

    def __init__(self, model: str, version: str = "") -> None:
        super().__init__(model, version)
        self.model, self.version = model, version

    def __str__(self) -> str:
        version = f" version {shown(self.version)}" if self.version else ""
        return f"model {shown(self.model)}{version} is not served here"

    @property
    def hint(self) -> str:
        """Say where the names are."""
        return "POST /v2/repository/index lists what is served"


class MismatchError(ServeError):
    """A request's tensors are not those that the model takes or gives.

    The text names the tensor, what the request had and what the model wants. An axis
    of -1 is free. Nothing was run.
    """

    code = "E0402"
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"

    def __init__(self, model: str, what: str, found: str, wanted: str) -> None:
        super().__init__(model, what, found, wanted)
        self.model, self.what, self.found, self.wanted = model, what, found, wanted

    def __str__(self) -> str:
        return f"model {self.model}: {self.what} is {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say where the truth is."""
        return f"GET /v2/models/{self.model} lists its inputs and outputs"


class QueueFullError(ServeError):
    """More requests wait for this model than it may hold; this one was refused at once.

    Send it again after the time in `Retry-After`, or to another node. If it happens at
    ordinary load, the site needs a smaller model or another machine.
    """

    code = "E0403"
    http_status = 503
    grpc_code = "RESOURCE_EXHAUSTED"

    def __init__(self, model: str, queue_len: int, wait_s: float) -> None:
        super().__init__(model, queue_len, wait_s)
        self.model, self.queue_len, self.wait_s = model, queue_len, wait_s
        self.retry_after_s = wait_s

    def __str__(self) -> str:
        return f"model {self.model} has {self.queue_len} requests waiting, which is its limit"

    @property
    def hint(self) -> str:
        """Say when to come back."""
        return f"try again in {self.wait_s:.3g} s, or send less at once"


class DeadlineError(ServeError):
    """The answer could not be ready within the request's deadline.

    Where the wait already foretold it, the request was refused before it was run.
    Give it more time (`skerry-deadline-ms`), or send less at once.
    """

    code = "E0404"
    http_status = 504
    grpc_code = "DEADLINE_EXCEEDED"

    def __init__(self, model: str, deadline_s: float, *, foretold: bool) -> None:
        super().__init__(model, deadline_s, foretold)
        self.model, self.deadline_s, self.foretold = model, deadline_s, foretold

    def __reduce__(self) -> tuple[object, ...]:
        return _deadline_error, (self.model, self.deadline_s, self.foretold)

    def __str__(self) -> str:
        verb = "cannot answer" if self.foretold else "did not answer"
        return f"model {self.model} {verb} within the deadline of {self.deadline_s * 1000:.0f} ms"

    @property
    def hint(self) -> str:
        """Name the header."""
        return "allow more time with skerry-deadline-ms, or send less at once"


def _deadline_error(model: str, deadline_s: float, foretold: bool) -> DeadlineError:
    return DeadlineError(model, deadline_s, foretold=foretold)


class NotReadyError(ServeError):
    """The server is starting or stopping and takes no requests now."""

    code = "E0405"
    http_status = 503
    grpc_code = "UNAVAILABLE"
    retry_after_s = 1.0

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"not taking requests: {self.why}"

    @property
    def hint(self) -> str:
        """Say what to do meanwhile."""
        return "try again in a second, or another node"


class NotAdminError(ServeError):
    """Models cannot be loaded or unloaded through this listener.

    A fleet's models change by signed releases (`skerry apply`). Only a listener marked
    as admin, by default the loopback one, takes repository commands.
    """

    code = "E0406"
    exit_code = Exit.REFUSED
    http_status = 403
    grpc_code = "PERMISSION_DENIED"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} is not allowed on this listener"

    @property
    def hint(self) -> str:
        """Name the way."""
        return "use the node's loopback listener, or `skerry apply`"


class ModelFileError(ServeError):
    """A model file cannot be served: it is missing, corrupt or of a kind not supported.

    What was served before is untouched. Check the file with `skerry model add`, which
    runs it and compares its answers with the trainer's own.
    """

    code = "E0407"
    exit_code = Exit.FILE_INVALID
    http_status = 422
    grpc_code = "FAILED_PRECONDITION"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path} cannot be served: {self.why}"

    @property
    def hint(self) -> str:
        """Name the check."""
        return "`skerry model add` checks a model file and says what is wrong with it"


class SampleError(ModelFileError):
    """A model does not repeat its check samples, so it is not put into service.

    Its card holds inputs that the trainer ran and what came out; here something else
    came out. The file may belong to another card, or this machine computes differently.
    """

    code = "E0408"


class ModelRunError(ServeError):
    """ONNX Runtime failed while running a model on this input.

    The input passed the model's declared shapes, so the model itself cannot handle it.
    """

    code = "E0409"

    def __init__(self, model: str, why: str) -> None:
        super().__init__(model, why)
        self.model, self.why = model, why

    def __str__(self) -> str:
        return f"model {self.model} failed on this input: {self.why}"


class PortBusyError(ServeError):
    """Another process listens on an address that this server was told to use.

    Choose another port, or 0 for any free one.
    """

    code = "E0410"
    exit_code = Exit.WRONG_USE

    def __init__(self, option: str, address: str, why: str = "in use") -> None:
        super().__init__(option, address, why)
        self.option, self.address, self.why = option, address, why

    def __str__(self) -> str:
        return f"cannot listen on {self.address}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the option."""
        return f"choose another with --{self.option} (0 takes any free port)"


class RepositoryError(ServeError):
    """The model repository cannot be read.

    It is a folder laid out as `<repository>/<model>/<version>/model.onnx`, versions
    being positive whole numbers.
    """

    code = "E0411"
    exit_code = Exit.WRONG_USE
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Show the layout."""
        return "wanted <repository>/<model>/<version>/model.onnx"


class HttpError(ServeError):
    """An HTTP request that cannot be taken as it stands; the text says which rule it broke.

    Limits on heads, bodies, times and connections protect the node from broken and
    hostile clients; `docs/reference/serving.md` lists them.
    """

    code = "E0412"
    grpc_code = "INVALID_ARGUMENT"

    def __init__(self, http_status: int, what: str) -> None:
        super().__init__(http_status, what)
        self.http_status, self.what = http_status, what  # type: ignore[misc]

    def __str__(self) -> str:
        return self.what


class MethodError(HttpError):
    """The path is there, but not for this method; the answer's `Allow` says for which."""

    def __init__(self, path: str, method: str, takes: tuple[str, ...]) -> None:
        super().__init__(405, f"{path[:200]} takes {' or '.join(takes)}, not {method[:20]}")
        self.path, self.method, self.takes = path, method, takes

    def __reduce__(self) -> tuple[object, ...]:
        return MethodError, (self.path, self.method, self.takes)


class SettingsError(ModelFileError):
    """The settings beside a model cannot be read, or ask for what is not there.

    `model.json` (or Triton's `config.pbtxt`) in the model's folder says how it is run;
    `docs/reference/model-settings.md` lists every field. What served before is untouched.
    """

    code = "E0420"

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the page."""
        return "docs/reference/model-settings.md lists every field"


class RateLimitError(ServeError):
    """Requests for this model come faster than its settings allow; this one was refused.

    `rate_per_s` in the model's settings is the limit. Send it again after `Retry-After`.
    """

    code = "E0421"
    http_status = 429
    grpc_code = "RESOURCE_EXHAUSTED"

    def __init__(self, model: str, rate_per_s: float, wait_s: float) -> None:
        super().__init__(model, rate_per_s, wait_s)
        self.model, self.rate_per_s, self.wait_s = model, rate_per_s, wait_s
        self.retry_after_s = wait_s

    def __str__(self) -> str:
        return f"model {self.model} takes {self.rate_per_s:g} requests/s, and has had them"

    @property
    def hint(self) -> str:
        """Say when to come back."""
        return f"try again in {self.wait_s:.3g} s"


class ProviderError(ServeError):
    """An execution provider that is not known, or options that cannot be read.

    Write `cuda`, `openvino:device_type=NPU`, or a list of them by preference.
    """

    code = "E0422"
    exit_code = Exit.WRONG_USE
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"

    def __init__(self, text: str, why: str, known: tuple[str, ...]) -> None:
        super().__init__(text, why, known)
        self.text, self.why, self.known = text, why, known

    def __str__(self) -> str:
        return f"execution provider {shown(self.text)}: {self.why}"

    @property
    def hint(self) -> str:
        """List the names."""
        return f"known are {', '.join(self.known)}"


class RestingError(ServeError):
    """A model gave way to others in memory and could not be loaded again in time.

    Its load goes on; the next request finds it loaded. `skerry model explain --url` shows
    what made it give way. A larger `--memory-max`, or `pinned` in its settings, keeps it.
    """

    code = "E0423"
    http_status = 503
    grpc_code = "UNAVAILABLE"

    def __init__(self, model: str, version: int, load_s: float) -> None:
        super().__init__(model, version, load_s)
        self.model, self.version, self.load_s = model, version, load_s
        self.retry_after_s = max(load_s, 0.1)

    def __str__(self) -> str:
        return (
            f"model {self.model} version {self.version} is not in memory now; "
            f"loading it takes {self.load_s:.3g} s"
        )

    @property
    def hint(self) -> str:
        """Say when to come back."""
        return f"try again in {self.retry_after_s:.3g} s, or allow more with skerry-deadline-ms"


class MemoryFullError(ServeError):
    """Loading a model needs more memory than the server's bound leaves, so it was refused.

    Everything that may be unloaded would not make enough room: the rest is pinned, or is the
    version that this one would replace, which serves until the swap. What served before
    serves on. Raise `--memory-max`, or pin less.
    """

    code = "E0424"
    exit_code = Exit.REFUSED
    http_status = 503
    grpc_code = "RESOURCE_EXHAUSTED"
    retry_after_s = 10.0

    def __init__(self, model: str, need_bytes: int, used_bytes: int, limit_bytes: int) -> None:
        super().__init__(model, need_bytes, used_bytes, limit_bytes)
        self.model, self.need_bytes = model, need_bytes
        self.used_bytes, self.limit_bytes = used_bytes, limit_bytes

    def __str__(self) -> str:
        return (
            f"model {self.model} needs {self.need_bytes} bytes of memory; of the bound of "
            f"{self.limit_bytes}, {self.used_bytes} are taken, and not enough of them may go"
        )

    @property
    def hint(self) -> str:
        """Name the two ways."""
        return "raise --memory-max, or pin fewer models"


def facts_of(error: BaseException) -> tuple[int, str, float | None]:
    """Return an error's HTTP status, gRPC code name and seconds to wait, with safe defaults."""
    status = getattr(error, "http_status", 500)
    code = getattr(error, "grpc_code", "INTERNAL")
    wait_s = getattr(error, "retry_after_s", None)
    return status, code, wait_s
