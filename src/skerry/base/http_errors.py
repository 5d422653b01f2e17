"""Why a call over HTTP brought no answer. Doors map `http_status` and `grpc_code`."""

from skerry.base.errors import Exit, SkerryError


class PeerUnreachableError(SkerryError):
    """A node could not be reached, or its connection broke before the answer was whole."""

    code = "E0505"
    exit_code = Exit.UNREACHABLE
    http_status = 503
    grpc_code = "UNAVAILABLE"
    retry_after_s = 1.0

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(url, detail)
        self.url, self.detail = url, detail

    def __str__(self) -> str:
        return f"{self.url} cannot be reached: {self.detail}"

    @property
    def hint(self) -> str:
        """Say what to check."""
        return "check that the node runs and that the address is right"


class PeerBrokenError(SkerryError):
    """A node sent something that is not an inference answer, or one larger than allowed."""

    code = "E0507"
    http_status = 502
    grpc_code = "UNAVAILABLE"

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(url, detail)
        self.url, self.detail = url, detail

    def __str__(self) -> str:
        return f"{self.url} sent no usable answer: {self.detail}"
