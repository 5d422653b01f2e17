"""Several answers as one: mean, median and vote do what their names say."""

import numpy as np
import pytest

from skerry.route.combine import combine
from skerry.route.errors import CombineError
from skerry.schema.oip import Tensor
from skerry.schema.route import Combine


def scores(*rows: list[float]) -> list[Tensor]:
    data = np.array(rows, np.float32)
    return [Tensor("y", "FP32", data.shape, data)]


def labels(*texts: bytes) -> list[Tensor]:
    data = np.array(texts, object)
    return [Tensor("label", "BYTES", data.shape, data)]


def test_mean_and_median_go_element_by_element() -> None:
    answers = [scores([0.0, 1.0]), scores([0.5, 0.5]), scores([1.0, 0.0])]
    answers.append(scores([10.0, 0.5]))
    assert combine(answers, Combine.MEAN)[0].data.tolist() == [[2.875, 0.5]]
    assert combine(answers, Combine.MEDIAN)[0].data.tolist() == [[0.75, 0.5]]
    assert combine(answers, Combine.MEAN)[0].data.dtype == np.float32


def test_a_vote_over_scores_gives_each_class_its_share() -> None:
    answers = [scores([0.9, 0.1], [0.2, 0.8]), scores([0.4, 0.6], [0.1, 0.9])]
    answers.append(scores([0.6, 0.4], [0.3, 0.7]))
    voted = combine(answers, Combine.VOTE)[0].data
    assert voted == pytest.approx(np.array([[2 / 3, 1 / 3], [0.0, 1.0]]))


def test_a_vote_over_text_gives_what_most_said_and_of_equals_the_first() -> None:
    answers = [labels(b"cat", b"a"), labels(b"dog", b"b"), labels(b"dog", b"c")]
    assert combine(answers, Combine.VOTE)[0].data.tolist() == [b"dog", b"a"]


def test_answers_that_do_not_fit_together_are_named() -> None:
    with pytest.raises(CombineError, match=r"FP32 \[1, 3\], wanted FP32 \[1, 2\]"):
        combine([scores([1, 2]), scores([1, 2, 3])], Combine.MEAN)
    with pytest.raises(CombineError, match="is missing"):
        combine([scores([1, 2]), labels(b"x")], Combine.MEAN)
    with pytest.raises(CombineError, match="vote"):
        combine([labels(b"x"), labels(b"y")], Combine.MEAN)
