"""PyTorch files of every kind: each converts, and agrees with the module it came from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skerry.learn.errors import DeclarationError, UnusableModelError
from skerry.learn.from_torch import read_module
from skerry.learn.importer import add_file

torch: Any = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("onnxscript", reason="needs torch")

ROWS = np.random.default_rng(7).random((8, 4), dtype=np.float32)


@pytest.fixture
def module() -> Any:
    torch.manual_seed(0)
    layers = (torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))
    return torch.nn.Sequential(*layers)


def save(module: Any, kind: str, folder: Path) -> Path:
    path = folder / f"model.{'pt2' if 'program' in kind else 'pt'}"
    rows = torch.from_numpy(ROWS)
    if kind == "pickled":
        torch.save(module.train(), path)  # people forget eval(); dropout must be off all the same
    elif kind == "scripted":
        torch.jit.script(module.eval()).save(path)
    elif kind == "traced":
        torch.jit.trace(module.eval(), rows).save(path)
    else:
        free = ({0: torch.export.Dim("batch")},) if kind == "free program" else None
        exported = torch.export.export(module.eval(), (rows,), dynamic_shapes=free)
        torch.export.save(exported, path)
    return path


@pytest.mark.parametrize("kind", ["pickled", "scripted", "traced", "free program"])
@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_file_agrees_with_its_module_and_batches(
    kind: str, module: Any, tmp_path: Path, load: Any, stated: Any
) -> None:
    check = tmp_path / "rows.npz"
    np.savez(check, rows=ROWS)
    path = save(module, kind, tmp_path)
    added = add_file(
        path,
        stated(),
        tmp_path / "models",
        load=load,
        trust_pickle=True,
        check=None if path.suffix == ".pt2" else check,
    )
    assert added.compared_with == "trainer"
    assert added.difference_max < 1e-5
    assert added.card.max_batch == 32
    assert added.card.framework.startswith("torch ")
    with torch.no_grad():
        wanted = module.eval()(torch.from_numpy(ROWS)).numpy()
    kept = np.frombuffer(added.card.samples[0].outputs[0], np.float32)
    assert kept == pytest.approx(wanted[0], abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_program_of_one_size_keeps_it(
    module: Any, tmp_path: Path, load: Any, stated: Any
) -> None:
    path = save(module, "fixed program", tmp_path)
    added = add_file(path, stated(), tmp_path / "models", load=load, trust_pickle=True)
    assert added.card.inputs[0].shape == ROWS.shape
    assert added.card.max_batch == 0


def test_bare_weights_are_refused_with_what_to_save_instead(module: Any, tmp_path: Path) -> None:
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UnusableModelError, match="OrderedDict, wanted a whole") as caught:
        read_module(tmp_path / "weights.pt", [ROWS])
    assert "torch.export.save" in caught.value.hint


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_no_model_is_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(UnusableModelError, match="not loadable"):
        read_module(path, [ROWS])


def test_a_module_without_example_inputs_asks_for_them(module: Any, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="no example inputs"):
        read_module(save(module, "pickled", tmp_path), [])


def test_example_inputs_that_do_not_fit_are_an_error_with_a_name(
    module: Any, tmp_path: Path
) -> None:
    with pytest.raises(UnusableModelError, match="not convertible to ONNX"):
        read_module(save(module, "pickled", tmp_path), [ROWS[:, :3]])
