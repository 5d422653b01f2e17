"""Why another server that serves a model brought no answer."""

from typing import ClassVar

from skerry.serve.errors import ModelFileError, ServeError

_GRPC_CODES = {
    400: "INVALID_ARGUMENT",
    401: "PERMISSION_DENIED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
}


class UpstreamDownError(ServeError):
    """The server behind a model is not ready, cannot be reached, or failed several times.

    It is looked at every few seconds and asked again as soon as it says that it is ready.
    `POST /v2/repository/index` shows why it is not.
    """

    code = "E0460"
    http_status = 503
    grpc_code = "UNAVAILABLE"

    def __init__(self, model: str, why: str, wait_s: float = 1.0) -> None:
        super().__init__(model, why, wait_s)
        self.model, self.why, self.retry_after_s = model, why, wait_s

    def __str__(self) -> str:
        return f"the server behind model {self.model} cannot be asked: {self.why}"

    @property
    def hint(self) -> str:
        """Say when to come back."""
        return f"try again in {self.retry_after_s:.3g} s; check that server and its address"


class UpstreamRefusedError(ServeError):
    """The server behind a model would not take this request; its status and words are kept.

    What it says is about the request: another node with the same server says the same.
    """

    code = "E0461"

    def __init__(self, model: str, status: int, text: str) -> None:
        super().__init__(model, status, text)
        self.model, self.http_status, self.text = model, status, text  # type: ignore[misc]

    @property
    def grpc_code(self) -> str:  # type: ignore[override]
        """The gRPC code nearest to that status."""
        return _GRPC_CODES.get(self.http_status, "INVALID_ARGUMENT")

    def __str__(self) -> str:
        return f"the server behind model {self.model} answered {self.http_status}: {self.text}"


class UpstreamFailedError(ServeError):
    """The server behind a model failed on this request, or sent what is no answer."""

    code = "E0462"
    http_status: ClassVar[int] = 502
    grpc_code = "UNAVAILABLE"

    def __init__(self, model: str, why: str) -> None:
        super().__init__(model, why)
        self.model, self.why = model, why

    def __str__(self) -> str:
        return f"the server behind model {self.model} failed: {self.why}"

    @property
    def hint(self) -> str:
        """Say where to look."""
        return "its own log says why"


class UpstreamFileError(ModelFileError):
    """An `upstream.json` that cannot be used; the text names the field and what is wanted.

    Its host must be loopback or be allowed by the server's settings; what is secret is named
    by the variable or the file that holds it. Nothing was changed: what served before still does.
    """

    code = "E0463"

    @property
    def hint(self) -> str:
        """Name the page."""
        return "docs/how-to/front-another-server.md shows a whole file"


class UpstreamNotReadyError(ModelFileError):
    """A version was to replace what serves, and the server behind it was not ready in time.

    What served before still does. Start that server, wait until its ready path answers 200,
    and load the version again.
    """

    code = "E0464"

    @property
    def hint(self) -> str:
        """Say what to do."""
        return "start that server and load the version again; `ready_within_s` is how long to wait"
