"""What can be wrong with a model that someone brings."""

from skerry.base.errors import Exit, SkerryError


class LearnError(SkerryError):
    """A model that cannot be brought in."""

    code = "E0700"
    exit_code = Exit.FILE_INVALID


class UnusableModelError(LearnError):
    """A model file that is corrupt, too large, of an unsupported kind, or does not run.

    Nothing was written to the repository. `found` is what the file is, `wanted` what
    would do.
    """

    code = "E0701"

    def __init__(self, file: str, found: str, wanted: str, advice: str = "") -> None:
        super().__init__(file, found, wanted, advice)
        self.file, self.found, self.wanted, self.advice = file, found, wanted, advice

    def __str__(self) -> str:
        return f"{self.file}: {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """The advice given where it was raised."""
        return self.advice


class DisagreesError(LearnError):
    """The exported model does not give what its trainer gave, or not the same twice.

    Compare the preprocessing first: most differences are an input that was scaled on
    one side only. A model with random operators in it (dropout left on) differs from
    itself; export it in evaluation mode.
    """

    code = "E0702"

    def __init__(self, output: str, difference: float, tolerance: float, reference: str) -> None:
        super().__init__(output, difference, tolerance, reference)
        self.output, self.difference = output, difference
        self.tolerance, self.reference = tolerance, reference

    def __str__(self) -> str:
        return (
            f"output {self.output!r} differs from {self.reference} by {self.difference:.3g}, "
            f"wanted at most {self.tolerance:g}"
        )

    @property
    def hint(self) -> str:
        """Name the two usual ways out."""
        return "export in evaluation mode, and check that both sides scale their input alike"


class DuplicateVersionError(LearnError):
    """A version that is there already, with other bytes.

    A version never changes: nodes, signatures and records name it. Give the changed
    model the next number.
    """

    code = "E0703"

    def __init__(self, name: str, version: int, folder: str) -> None:
        super().__init__(name, version, folder)
        self.name, self.version, self.folder = name, version, folder

    def __str__(self) -> str:
        return f"{self.folder}: {self.name} version {self.version} is there with other bytes"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return f"add it as a new version, for example --version {self.version + 1}"


class PickleError(LearnError):
    """Loading this file would run whatever code is inside it, and nobody said it may.

    Pickle, joblib and PyTorch files are programs. Pass `--trust-pickle` only for a file
    that you or someone you trust wrote; better, export it to ONNX where it was trained.
    """

    code = "E0704"
    exit_code = Exit.REFUSED

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self.file = file

    def __str__(self) -> str:
        return f"{self.file}: loading it runs the code inside it, and that was not allowed"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "pass --trust-pickle if you know who wrote the file"


class MissingTrainerError(LearnError):
    """A library that this kind of model needs is not installed here."""

    code = "E0705"
    exit_code = Exit.WRONG_USE

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(what, library, extra)
        self.what, self.library, self.extra = what, library, extra

    def __str__(self) -> str:
        return f"{self.what} needs {self.library}, which is not installed"

    @property
    def hint(self) -> str:
        """Name the extra."""
        return f"pip install 'skerry[{self.extra}]'"


class DeclarationError(LearnError):
    """What was declared about a model is missing, unknown or contradicts the model.

    `where` is the option or field; docs/reference/model-card.md lists them all.
    """

    code = "E0706"

    def __init__(self, where: str, found: str, wanted: str) -> None:
        super().__init__(where, found, wanted)
        self.where, self.found, self.wanted = where, found, wanted

    def __str__(self) -> str:
        return f"{self.where}: {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Name the page."""
        return "docs/reference/model-card.md lists every field"
