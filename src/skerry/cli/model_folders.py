"""Where a command finds a model, its fleet, and the engine that runs it."""

from pathlib import Path
from typing import Any

from skerry.base.errors import UsageError

FLEET_FILE = "fleet.yaml"


def fleet_folder(repository: Path) -> Path | None:
    """Return the folder whose lock pins the model: here, or where the repository lies."""
    for folder in (Path.cwd(), repository.resolve().parent):
        if (folder / FLEET_FILE).exists():
            return folder
    return None


def load_model(path: Path) -> Any:
    """Load a model file into the engine that serves."""
    from skerry.serve.onnx_engine import OnnxModel

    return OnnxModel(path.name, path)


def version_folder(repository: Path, name: str, version: str | None) -> Path:
    """Return the folder of a version, the newest one unless another is named."""
    from skerry.schema.model import MODEL_FILE

    home = repository / name
    found = [path.parent for path in home.glob(f"*/{MODEL_FILE}") if path.parent.name.isdecimal()]
    if version is not None:
        wanted = version.removeprefix("v")
        found = [folder for folder in found if folder.name == wanted]
    if not found:
        what = f"{name} version {version}" if version else name
        raise UsageError(
            f"no model {what} in {repository}",
            f"--repository names a folder laid out as <model>/<version>/{MODEL_FILE}",
        )
    return max(found, key=lambda folder: int(folder.name))
