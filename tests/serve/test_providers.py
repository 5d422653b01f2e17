"""Execution providers: what is wanted meets what is offered, and nothing is left out in silence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.serve.errors import ProviderError
from skerry.serve.providers import CPU, KNOWN, LeftOut, choose, read_wanted, unused

CUDA, TENSORRT = KNOWN["cuda"], KNOWN["tensorrt"]
OFFERED = (TENSORRT, CUDA, CPU)


def names(*wanted: str, offered: tuple[str, ...] = OFFERED) -> list[str]:
    return [name for name, _ in choose(wanted, offered).providers]


def test_a_machine_with_an_accelerator_takes_it_unasked_and_keeps_the_cpu_behind_it() -> None:
    assert names() == [CUDA, CPU]
    assert names(offered=(CPU,)) == [CPU]


def test_tensorrt_compiles_for_minutes_and_runs_only_where_it_is_wanted() -> None:
    assert names("tensorrt", "cuda") == [TENSORRT, CUDA, CPU]


def test_no_request_leaves_the_machine_for_a_cloud_provider() -> None:
    assert names(offered=("AzureExecutionProvider", CPU)) == [CPU]
    with pytest.raises(ProviderError, match="AzureExecutionProvider"):
        choose(["AzureExecutionProvider"], ["AzureExecutionProvider"])


def test_each_provider_left_out_has_its_reason() -> None:
    choice = choose(["qnn", "openvino", "cuda", "cuda", "cpu", "xnnpack"], (*OFFERED, KNOWN["qnn"]))
    assert choice.left_out == (
        LeftOut("openvino", "not in the ONNX Runtime that is installed here"),
        LeftOut("cuda", "named twice, the first one counts"),
        LeftOut("xnnpack", "not in the ONNX Runtime that is installed here"),
    )
    fixed = choose(["qnn"], (KNOWN["qnn"], CPU), fixed_shapes=False)
    assert fixed.left_out == (
        LeftOut("qnn", "takes fixed shapes only, and this model has free axes"),
    )
    late = choose(["cpu", "cuda"], OFFERED)
    assert late.left_out == (LeftOut("cuda", "comes after the CPU, which runs everything"),)


def test_options_are_the_providers_own_and_a_persons_win() -> None:
    (cuda, options), _ = choose(
        ["cuda:device_id=1,cudnn_conv_algo_search=DEFAULT"], OFFERED
    ).providers
    assert cuda == CUDA
    assert options == {
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "DEFAULT",
        "device_id": "1",
    }


def test_what_was_asked_for_and_did_not_start_is_reported() -> None:
    """As ONNX Runtime for GPUs does on a machine whose driver is missing: it takes the CPU."""
    found = unused(choose(["cuda"], OFFERED), [CPU])
    assert [(one.provider, "did not start" in one.reason) for one in found] == [("cuda", True)]


@pytest.mark.parametrize("bad", ["cudaa", "", "cuda:device_id", "cuda:=1"])
def test_a_slip_is_named_with_the_names_that_are_known(bad: str) -> None:
    with pytest.raises(ProviderError) as caught:
        read_wanted(bad)
    assert "openvino" in caught.value.hint


@given(
    st.lists(st.sampled_from(sorted(KNOWN)), max_size=8),
    st.sets(st.sampled_from(sorted(KNOWN.values()))),
)
def test_the_cpu_is_always_last_and_everything_wanted_is_used_or_explained(
    wanted: list[str], offered: set[str]
) -> None:
    choice = choose(wanted, offered)
    used = [name for name, _ in choice.providers]
    assert used[-1] == CPU
    assert len(used) == len(set(used))
    assert set(used[:-1]) <= offered
    for short in wanted:
        assert KNOWN[short] in used or any(one.provider == short for one in choice.left_out)
