from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skerry.learn.declaration import Declaration, declare
from skerry.serve.onnx_engine import OnnxModel


@pytest.fixture
def load() -> Callable[[Path], OnnxModel]:
    """The engine that serves is the one that checks."""
    return lambda path: OnnxModel(path.name, path)


@pytest.fixture
def stated() -> Callable[..., Declaration]:
    def build(**changes: Any) -> Declaration:
        fields = {"name": "iris", "version": 1, "licence": "MIT", "source": "this test"}
        return declare(fields | changes)

    return build
