"""The story's model: magika's own, as it comes inside its wheel, with its labels and licence.

Takes nothing but the installed `magika` package; its check samples are what magika
itself computes, with its own feature extraction and its own session.

Source:  magika 1.0.3, https://github.com/google/magika, Apache-2.0.
"""

import io
import json
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.learn.checks import Load
from skerry.learn.declaration import Declaration, declare
from skerry.learn.errors import MissingTrainerError
from skerry.learn.importer import Added, add_trained
from skerry.learn.onnx_file import parse, read_bounded
from skerry.learn.trained import Trained
from skerry.learn.truth import truth_files

Array = NDArray[Any]

NAME = "magika"
INPUT, OUTPUT = "bytes", "target_label"
WIDTH, CLASSES = 2048, 214
DATA_CLASS = "health"
PRE = [{"step": "bytes_head_tail"}]
POST = [{"step": "argmax_label"}]
_SAMPLE_FILES = 8
_SAMPLE_SEED = 7


@cache
def magika_itself() -> Any:
    """Return magika's own identifier, loaded once."""
    try:
        return import_module("magika").Magika()
    except ImportError as error:
        raise MissingTrainerError("the story's model", "magika", "demo") from error


def model_folder() -> Path:
    """Return the folder of the model inside the installed package."""
    return Path(magika_itself()._model_dir)


def labels() -> tuple[str, ...]:
    """Return the 214 content types, in the order of the model's scores."""
    config = json.loads((model_folder() / "config.min.json").read_text("utf-8"))
    return tuple(config["target_labels_space"])


def features(content: bytes) -> Array:
    """Return a file's features (2048,), int32, by magika's own code."""
    itself = magika_itself()
    config = itself._model_config
    seekable = import_module("magika.types").Seekable(io.BytesIO(content))
    found = itself._extract_features_from_seekable(
        seekable,
        config.beg_size,
        config.mid_size,
        config.end_size,
        config.padding_token,
        config.block_size,
        config.use_inputs_at_offsets,
    )
    return np.array([*found.beg, *found.end], dtype=np.int32)


def own_scores(inputs: Sequence[Array]) -> list[Array]:
    """Return what magika's own session gives for rows of features."""
    rows = [magika_itself()._onnx_session.run([OUTPUT], {INPUT: row[None]})[0] for row in inputs[0]]
    return [np.concatenate(rows)]


def trained() -> Trained:
    """Return magika's model with real files to check it on."""
    path = model_folder() / "model.onnx"
    rows = [features(path.read_bytes()) for path, _ in truth_files(_SAMPLE_FILES, _SAMPLE_SEED)]
    return Trained(
        model=parse(read_bounded(path), file=str(path)),
        framework="onnx (tf2onnx)",
        labels=labels(),
        predict=own_scores,
        example=(np.stack(rows),),
    )


def declaration(*, name: str = NAME, number: int = 1, **changes: Any) -> Declaration:
    """Return what is stated of magika; releases built on it change a field or two."""
    stated = {
        "name": name,
        "version": number,
        "summary": f"Tells 214 kinds of files apart from their first and last bytes "
        f"({model_folder().name})",
        "licence": "Apache-2.0",
        "source": f"magika {version('magika')}, https://github.com/google/magika",
        "data_class": DATA_CLASS,
        "pre": PRE,
        "post": POST,
    }
    return declare(stated | changes)


def add_magika(
    repository: Path, *, load: Load, number: int = 1, lock_folder: Path | None = None
) -> Added:
    """Add magika's model to a repository."""
    return add_trained(
        trained(), declaration(number=number), repository, load=load, lock_folder=lock_folder
    )
