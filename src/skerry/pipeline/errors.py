"""What can be wrong with a file, a declared step, or a folder that is watched.

Doors answer these by `http_status` and `grpc_code`, as they do for `OipError`.
"""

from typing import ClassVar

from skerry.base.errors import Exit, SkerryError


class PipelineError(SkerryError):
    """A step before or after a model that cannot be done."""

    code = "E0600"
    http_status: ClassVar[int] = 500
    grpc_code: ClassVar[str] = "INTERNAL"


class StepError(PipelineError):
    """A card declares a pre- or postprocessing step that does not exist or cannot be built.

    `where` names the step as in the card, for example `pre[0] resize`.
    """

    code = "E0601"
    exit_code = Exit.FILE_INVALID

    def __init__(self, where: str, found: str, wanted: str) -> None:
        super().__init__(where, found, wanted)
        self.where, self.found, self.wanted = where, found, wanted

    def __str__(self) -> str:
        return f"{self.where}: {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Name the page."""
        return "docs/reference/model-card.md lists every step with its options"


class FileRefusedError(PipelineError):
    """A file that this model cannot take: too large, not the format its card declares.

    Trying the same file again gives the same answer, so a watched folder sets it aside.
    """

    code = "E0602"
    exit_code = Exit.WRONG_USE
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(found, wanted)
        self.found, self.wanted = found, wanted

    def __str__(self) -> str:
        return f"the file is {self.found}, wanted {self.wanted}"


class FilesRequestError(PipelineError):
    """A request that sends files to a model in a form that is not understood.

    A file request has exactly one input, named `file`, of datatype BYTES and shape [n],
    and may ask for the outputs `label` and `score`.
    """

    code = "E0603"
    exit_code = Exit.WRONG_USE
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(found, wanted)
        self.found, self.wanted = found, wanted

    def __str__(self) -> str:
        return f"a file request has {self.found}, wanted {self.wanted}"


class MissingLibraryError(PipelineError):
    """A step needs a library that is not installed here."""

    code = "E0604"
    exit_code = Exit.WRONG_USE
    http_status = 501
    grpc_code = "UNIMPLEMENTED"

    def __init__(self, step: str, library: str) -> None:
        super().__init__(step, library)
        self.step, self.library = step, library

    def __str__(self) -> str:
        return f"{self.step} needs {self.library}, which is not installed"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return f"pip install {self.library.lower()}"


class AnswerError(PipelineError):
    """A model's output that the declared postprocessing cannot read."""

    code = "E0605"

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(found, wanted)
        self.found, self.wanted = found, wanted

    def __str__(self) -> str:
        return f"the model gave {self.found}, wanted {self.wanted}"
