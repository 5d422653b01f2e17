"""What can be wrong with a model that someone brings."""

from typing import ClassVar

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


class ExplainError(LearnError):
    """An explanation was asked for that cannot be given; nothing was run.

    One row per request, numeric inputs, `explain_output` among the model's outputs and
    `explain_target` among its values; docs/how-to/explain-an-answer.md lists the parameters.
    """

    code = "E0707"
    exit_code = Exit.WRONG_USE
    http_status: ClassVar[int] = 400
    grpc_code: ClassVar[str] = "INVALID_ARGUMENT"

    def __init__(self, where: str, found: str, wanted: str) -> None:
        super().__init__(where, found, wanted)
        self.where, self.found, self.wanted = where, found, wanted

    def __str__(self) -> str:
        return f"{self.where} is {self.found}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Name the page."""
        return "docs/how-to/explain-an-answer.md lists the parameters"


class BudgetError(LearnError):
    """The budget of an explanation does not reach for the least that its method needs.

    Sampled Shapley values need one order and its reverse, two runs per feature; occlusion
    needs one run per feature.
    """

    code = "E0708"
    exit_code = Exit.WRONG_USE
    http_status: ClassVar[int] = 400
    grpc_code: ClassVar[str] = "INVALID_ARGUMENT"

    def __init__(self, method: str, budget: int, need: int, players: int) -> None:
        super().__init__(method, budget, need, players)
        self.method, self.budget, self.need, self.players = method, budget, need, players

    def __str__(self) -> str:
        return (
            f"explain_budget is {self.budget} runs, wanted at least {self.need} "
            f"for {self.method} of {self.players} features"
        )

    @property
    def hint(self) -> str:
        """Name the ways out."""
        return "raise explain_budget, or ask for explain_method=occlusion"


class ExplainBusyError(LearnError):
    """As many explanations as a server gives at a time are under way; plain answers go first."""

    code = "E0709"
    exit_code = Exit.UNREACHABLE
    http_status: ClassVar[int] = 503
    grpc_code: ClassVar[str] = "RESOURCE_EXHAUSTED"
    retry_after_s: float = 1.0

    def __init__(self, under_way: int) -> None:
        super().__init__(under_way)
        self.under_way = under_way

    def __str__(self) -> str:
        return f"{self.under_way} explanations are under way, which is all at a time"

    @property
    def hint(self) -> str:
        """Say when to try again."""
        return "try again in a second, or ask for the answer without explain"


class ExplainElsewhereError(LearnError):
    """The answer came from a node that sent no explanation with it.

    Only who runs a model can explain its answers. The node may be older than this one.
    """

    code = "E0710"
    exit_code = Exit.BAD_OUTCOME
    http_status: ClassVar[int] = 501
    grpc_code: ClassVar[str] = "UNIMPLEMENTED"

    def __init__(self, node: str, model: str) -> None:
        super().__init__(node, model)
        self.node, self.model = node, model

    def __str__(self) -> str:
        return f"{self.node} answered for {self.model} and sent no explanation"

    @property
    def hint(self) -> str:
        """Name the ways out."""
        return "update that node, or ask for the answer without explain"


class UnexplainableError(LearnError):
    """Running the model again did not give the answer that was to be explained.

    The answer was put together from several models (an ensemble), or the model is random, or
    keeps state. An explanation of another number would mislead.
    """

    code = "E0711"
    exit_code = Exit.BAD_OUTCOME
    http_status: ClassVar[int] = 501
    grpc_code: ClassVar[str] = "UNIMPLEMENTED"

    def __init__(self, model: str, answered: float, again: float) -> None:
        super().__init__(model, answered, again)
        self.model, self.answered, self.again = model, answered, again

    def __str__(self) -> str:
        return f"{self.model} answered {self.answered:g}, and {self.again:g} when run again"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "ask for the answer without explain, or one model of an ensemble by its own name"


class VariantWorseError(LearnError):
    """An INT8 or FP16 variant is further from its original than the limits allow.

    Nothing was written. Calibrate with more rows like those it will see (`--samples`), try
    another precision, or state a wider limit if the task bears it.
    """

    code = "E0712"
    exit_code = Exit.BAD_OUTCOME

    def __init__(self, what: str, figure: str, found: float, limit: float) -> None:
        super().__init__(what, figure, found, limit)
        self.what, self.figure, self.found, self.limit = what, figure, found, limit

    def __str__(self) -> str:
        if self.figure == "agreement":
            return (
                f"{self.what}: {self.found:.2%} of rows keep their top class, "
                f"wanted at least {self.limit:.2%}"
            )
        return (
            f"{self.what}: differs by {self.found:.2%} of the output's range, "
            f"wanted at most {self.limit:.2%}"
        )

    @property
    def hint(self) -> str:
        """Name the ways out."""
        return "give more rows with --samples, try --to fp16, or state another limit"
