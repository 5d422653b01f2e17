"""Profiles: figures become a choice by plain rules, and hold for one machine and one file."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from skerry.schema.profile import (
    PROFILE_BYTES_MAX,
    BatchPoint,
    Machine,
    ThreadPoint,
    read_profile,
    unfit,
)
from skerry.serve import profile
from skerry.serve.batch_axes import BatchAxes, find_batch_axes
from skerry.serve.onnx_engine import EngineSettings, OnnxModel
from skerry.serve.profile import choose, measure

ROWS = BatchAxes((0,), (0,))


def curve(*item_us: float) -> list[BatchPoint]:
    return [BatchPoint(items=2**n, run_us=us * 2**n, item_us=us) for n, us in enumerate(item_us)]


def threads(one_us: float, two_us: float) -> list[ThreadPoint]:
    return [
        ThreadPoint(threads=n, run_us=us, cpu_us=us * n) for n, us in ((1, one_us), (2, two_us))
    ]


def chosen(points: list[BatchPoint], one_us: float, **changes: Any) -> Any:
    fields = {"arena_us": one_us, "io_binding_us": one_us, "axes": ROWS} | changes
    two_us = fields.pop("two_us", one_us)
    return choose(points, threads(one_us, two_us), **fields)[0]


def test_a_model_bound_by_dispatch_runs_in_the_largest_batch() -> None:
    """The tiny MLP of the serving reference: 6.1 us alone, 0.21 us per item of 32."""
    found = chosen(curve(6.1, 3.1, 1.5, 0.76, 0.4, 0.21), 6.1)
    assert (found.batch_max, found.batching, found.run_on) == (32, True, "inline")


def test_the_smallest_batch_that_is_about_as_good_is_enough() -> None:
    """Silero VAD: 16 items cost 49.4 us each, 32 cost 49.1."""
    assert chosen(curve(100, 77, 61, 54, 49.4, 49.1), 100).batch_max == 16


def test_a_model_that_gains_nothing_from_batches_is_left_alone() -> None:
    """The image model: 287 us alone, 286 in a batch of 8, 338 in one of 32."""
    found = chosen(curve(287, 287, 286, 286, 300, 338), 287)
    assert (found.batch_max, found.batching) == (1, False)


def test_a_long_run_leaves_the_event_loop_and_two_threads_are_asked_for_by_name() -> None:
    assert chosen(curve(6700), 6700, two_us=3500).run_on == "thread"
    assert chosen(curve(6700), 6700, two_us=3500).threads == 1
    assert chosen(curve(6700), 6700, two_us=3500, latency=True).threads == 2
    assert chosen(curve(6700), 6700, two_us=6000, latency=True).threads == 1


def test_batches_on_the_event_loop_hold_it_no_longer_than_a_single_run_may() -> None:
    """300 us alone; 4 items take 920 us and 8 take 1,600: the loop waits for neither."""
    found = chosen(curve(300, 260, 230, 200, 190, 185), 300)
    assert (found.batch_max, found.run_on) == (4, "inline")


def test_batches_that_cost_less_than_half_are_worth_a_thread() -> None:
    """900 us alone and 1,600 us for 32 of them: 50 us each."""
    found = chosen(curve(900, 460, 240, 130, 80, 50), 900)
    assert (found.batch_max, found.run_on) == (32, "thread")


def test_arena_and_io_binding_must_be_worth_it() -> None:
    assert not chosen(curve(100), 100, arena_us=96).arena
    assert chosen(curve(100), 100, arena_us=90).arena
    assert chosen(curve(100), 100, io_binding_us=90).io_binding
    assert not chosen(curve(100), 100, io_binding_us=None).io_binding


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "VARIANT_S", 0.004)


def state_model(models: Any, path: Path, *, shared: bool = False) -> None:
    """As Silero VAD: no axis has a name, and the state's batch axis is its second.

    With `shared`, each item sees the sum over all, so no axis keeps items apart.
    """
    nodes = [
        helper.make_node("ReduceSum", ["audio"], ["total"], keepdims=0),
        helper.make_node("Add", ["audio", "total"] if shared else ["audio", "audio"], ["out"]),
        helper.make_node("Identity", ["state"], ["next"]),
    ]
    models.save(
        nodes,
        [("audio", TensorProto.FLOAT, [None, 8]), ("state", TensorProto.FLOAT, [2, None, 4])],
        [("out", TensorProto.FLOAT, [None, 8]), ("next", TensorProto.FLOAT, [None, None, None])],
        path,
    )


def test_axes_without_names_are_found_by_trial(models: Any, tmp_path: Path) -> None:
    state_model(models, tmp_path / "m.onnx")
    model = OnnxModel("m", tmp_path / "m.onnx")
    assert model.batch_axes is None
    assert find_batch_axes(model, model.zeros()) == BatchAxes((0, 1), (0, 1))
    state_model(models, tmp_path / "s.onnx", shared=True)
    shared = OnnxModel("s", tmp_path / "s.onnx")
    assert find_batch_axes(shared, shared.zeros()) is None


def test_a_profile_is_measured_written_read_and_used(
    models: Any, tmp_path: Path, quick: None
) -> None:
    path = tmp_path / "vad" / "1" / "model.onnx"
    state_model(models, path)
    found = measure(path)
    assert [point.items for point in found.batch_curve] == [1, 2, 4, 8, 16, 32]
    assert [point.threads for point in found.threads] == [1, 2]
    assert found.io_binding_run_us is None
    assert len(found.reasons) == 5
    (path.parent / "profile.json").write_bytes(msgspec.json.encode(found))
    again = read_profile(path.parent)
    assert again == found
    axes = BatchAxes(found.chosen.input_batch_axes, found.chosen.output_batch_axes)
    model = OnnxModel("vad", path, EngineSettings(batch_axes=axes))
    out, state = model.run(model.zeros(5), model.output_names)
    assert (out.shape, state.shape) == ((5, 8), (2, 5, 4))


def test_a_profile_holds_for_its_own_machine_and_bytes_alone(
    models: Any, tmp_path: Path, quick: None
) -> None:
    path = tmp_path / "double" / "1" / "model.onnx"
    models.scale(path, 2.0)
    found = measure(path, {"x": np.ones((1, 4), np.float32)})
    here = found.machine
    assert unfit(found, here, path) == ""
    other = msgspec.structs.replace(here, cores=here.cores + 1)
    assert "cores is" in unfit(found, other, path)
    later = msgspec.structs.replace(here, onnxruntime="9.9")
    assert "onnxruntime is 9.9" in unfit(found, later, path)
    models.scale(path, 3.0)
    assert "another model file" in unfit(found, here, path)
    assert Machine.here("1.0").processor


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', " " * (PROFILE_BYTES_MAX + 1)])
def test_an_unreadable_profile_says_so_and_stops_nothing(tmp_path: Path, text: str) -> None:
    assert read_profile(tmp_path) is None
    (tmp_path / "profile.json").write_text(text)
    assert isinstance(read_profile(tmp_path), str)
