"""Classification: the k best as text, for every shape and for stock clients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skerry.schema.oip import Tensor
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_tensors import tensor_from_array
from skerry.serve.classification import classified

scores = hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6))


def test_the_best_come_first_with_index_and_label() -> None:
    tensor = tensor_from_array("y", np.array([[0.1, 0.7, 0.2], [9, 8, 9]], np.float32))
    found = classified(tensor, 2, ["cat", "dog"])
    assert (found.datatype, found.shape) == ("BYTES", (2, 2))
    assert found.data.tolist() == [
        [b"0.700000:1:dog", b"0.200000:2"],
        [b"9.000000:0:cat", b"9.000000:2"],
    ]


def test_whole_numbers_stay_whole_and_large_ones_exact() -> None:
    tensor = tensor_from_array("y", np.array([2**63, 2**63 + 1, 0], np.uint64))
    assert classified(tensor, 2).data.tolist() == [
        b"9223372036854775809:1",
        b"9223372036854775808:0",
    ]


def test_of_equal_scores_the_first_index_comes_first() -> None:
    tensor = tensor_from_array("y", np.arange(100, dtype=np.int32) // 50)
    picked = [int(text.split(b":")[1]) for text in classified(tensor, 100).data]
    assert picked == [*range(50, 100), *range(50)]


@given(scores, st.integers(1, 9))
def test_each_item_has_its_highest_scores_in_falling_order(
    data: np.ndarray[Any, Any], classes: int
) -> None:
    found = classified(tensor_from_array("y", data), classes)
    items = data.reshape(1 if data.ndim == 1 else len(data), -1)
    rows = found.data.reshape(len(items), -1)
    assert rows.shape[1] == min(classes, items.shape[1])
    for item, row in zip(items, rows, strict=True):
        picked = [int(text.split(b":")[1]) for text in row]
        values = np.where(np.isnan(item), -np.inf, item)
        assert len(set(picked)) == len(picked)
        assert values[picked].tolist() == sorted(values.tolist(), reverse=True)[: len(picked)]


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("y", "BYTES", (1,), np.array([b"x"], object)),
        Tensor("y", "FP32", (), np.array(1, np.float32)),
    ],
)
def test_what_has_no_scores_is_refused_by_name(tensor: Tensor) -> None:
    with pytest.raises(OipError, match="classification of output 'y'"):
        classified(tensor, 1)


@pytest.mark.parametrize("module", [triton_http, triton_grpc])
def test_a_stock_client_asks_for_classes_and_gets_the_card_s_labels(
    repository: Path, models: Any, request: pytest.FixtureRequest, module: Any
) -> None:
    models.card(repository / "double" / "2", labels=("a", "b", "c", "d"))
    live = request.getfixturevalue("live")
    port = live.ports.http if module is triton_http else live.ports.grpc
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        tensor = module.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.array([[1, 4, 3, 2]], np.float32))
        wanted = module.InferRequestedOutput("y", class_count=2)
        answer = client.infer("double", [tensor], outputs=[wanted])
        assert answer.as_numpy("y").tolist() == [[b"8.000000:1:b", b"6.000000:2:c"]]
