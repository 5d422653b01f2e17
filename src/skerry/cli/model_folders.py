"""Where a command finds one version of a model, with or without a card beside it."""

from pathlib import Path

from skerry.base.errors import UsageError


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
