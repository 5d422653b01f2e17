"""What is wrong with a message of the Open Inference Protocol, said so that it can be mended.

Doors answer an error by three attributes that any `SkerryError` may carry:
`http_status`, `grpc_code` (the name of a `grpc.StatusCode`) and `retry_after_s`.
"""

from typing import ClassVar

from skerry.base.errors import SkerryError


class OipError(SkerryError):
    """A request or an answer does not follow the Open Inference Protocol.

    The text names the part of the message, what it held and what was wanted. Nothing
    was run. Compare the request with the model's metadata: `GET /v2/models/<model>`
    lists every input and output with its datatype and shape.
    """

    code = "E0150"
    http_status: ClassVar[int] = 400
    grpc_code: ClassVar[str] = "INVALID_ARGUMENT"

    def __init__(self, where: str, found: str, wanted: str) -> None:
        super().__init__(where, found, wanted)
        self.where, self.found, self.wanted = where, found, wanted

    def __str__(self) -> str:
        return f"{self.where} is {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say where the truth can be read."""
        return "compare the message with the model's metadata (GET /v2/models/<model>)"


class TensorDataError(OipError):
    """A tensor's bytes do not fill its shape, or its elements are not of its datatype.

    Raw data is little-endian and row-major, without padding; each BYTES element is a
    4-byte little-endian length followed by that many bytes.
    """

    code = "E0151"


class UnsupportedError(OipError):
    """The message asks for something that this server does not offer.

    Shared memory is for loopback and Unix-socket listeners alone, and never CUDA memory;
    FP16 and BF16 travel raw over gRPC. `GET /v2` lists the extensions that are offered.
    """

    code = "E0152"
    grpc_code = "UNIMPLEMENTED"

    @property
    def hint(self) -> str:
        """Say where the offer can be read."""
        return "GET /v2 lists the extensions on offer"


def shown(value: object) -> str:
    """Return a value as text that is short and safe to repeat in an error."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
