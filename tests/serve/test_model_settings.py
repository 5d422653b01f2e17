"""Settings beside a model: read whole, or refused by field."""

import json
from pathlib import Path
from typing import Any

import pytest

from skerry.serve.errors import SettingsError
from skerry.serve.model_settings import LaneSettings, ModelSettings, read_model_settings

TRITON = """
# as Triton's own examples are written
name: "scans"
platform: "onnxruntime_onnx"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y", data_type: TYPE_FP32, dims: [ -1 ] } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  default_queue_policy { max_queue_size: 32 }
}
instance_group [ { count: 2 kind: KIND_GPU } ]
version_policy: { specific { versions: [1, 3] } }
optimization { execution_accelerators {
  gpu_execution_accelerator : [ {
    name : "tensorrt"
    parameters { key: "trt_fp16_enable" value: "1" }
  } ]
} }
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
model_warmup [ { name: "one" batch_size: 1 } ]
"""


def folder(tmp_path: Path, **files: str) -> Path:
    made = tmp_path / "scans"
    made.mkdir()
    for name, text in files.items():
        (made / name.replace("_", ".")).write_text(text)
    return made


def test_a_model_without_settings_has_the_defaults(tmp_path: Path) -> None:
    assert read_model_settings(folder(tmp_path)) == ModelSettings()


def test_a_triton_configuration_becomes_settings(tmp_path: Path) -> None:
    assert read_model_settings(folder(tmp_path, config_pbtxt=TRITON)) == ModelSettings(
        versions=(1, 3),
        batching="on",
        batch_max=16,
        concurrency=2,
        queue_len_max=32,
        providers=("tensorrt:trt_fp16_enable=1", "cuda"),
        threads=2,
    )


def test_without_a_version_policy_triton_serves_the_newest_alone(tmp_path: Path) -> None:
    settings = read_model_settings(folder(tmp_path, config_pbtxt='name: "scans"'))
    assert settings.chosen([1, 2, 10]) == [10]
    assert settings.batching == "off"


def test_our_own_file_wins_over_tritons(tmp_path: Path) -> None:
    made = folder(tmp_path, config_pbtxt=TRITON, model_json='{"concurrency": 3}')
    assert read_model_settings(made) == ModelSettings(concurrency=3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rate_limiter { }", "rate_limiter is not supported here"),
        ("dynamic_batching { preserve_ordering: true }", "dynamic_batching.preserve_ordering is"),
        ('name: "other"', "name is other, wanted its folder's, scans"),
        ('backend: "python"', "backend is not onnxruntime"),
        ("max_batch_size: many", "max_batch_size is many, wanted a whole number"),
        ("max_batch_size: 99999", "batch_max is 99999, wanted 1 to 4096"),
        ("instance_group [ { kind: KIND_MODEL } ]", "instance_group.kind is KIND_MODEL"),
        ('default_model_filename: "a.onnx"', "default_model_filename is not model.onnx"),
        ("optimization { graph { level: 1 } }", "optimization.graph is not supported"),
        (
            'optimization{execution_accelerators{cpu_execution_accelerator{name:"acl"}}}',
            "cpu_execution_accelerator.name is acl, wanted tensorrt or openvino",
        ),
        ('parameters { key: "execution_mode" }', "parameters.key is execution_mode"),
        ("version_policy { latest {", "version_policy.latest is not closed"),
        ("input [ {} ", "the list of input is not closed"),
        ("\n\nname = 3", "line 3: '=' belongs to no field"),
        ("name:", "name has no value"),
        ("a {" * 40, "too deep"),
    ],
)
def test_what_triton_has_and_we_have_not_is_refused_by_name(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_model_settings(folder(tmp_path, config_pbtxt=text))
    assert why in str(caught.value)
    assert "config.pbtxt" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"colour": 1}, "unknown field `colour`"),
        ({"concurrency": 0}, "concurrency is 0, wanted 1 to 64"),
        ({"rate_per_s": 0}, "rate_per_s is 0, wanted more than 0"),
        ({"burst": 4}, "burst is stated without rate_per_s"),
        ({"versions": []}, "versions is an empty list"),
        ({"concurrency": 2, "run_on": "inline"}, "wanted 1 where run_on is inline"),
        ({"priority": 256}, "priority is 256, wanted 0 to 255"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, fields: Any, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_model_settings(folder(tmp_path, model_json=json.dumps(fields)))
    assert why in str(caught.value)


def test_a_lane_gets_plain_values() -> None:
    settings = ModelSettings(rate_per_s=2.5, priority=3, batch_max=8)
    assert settings.lane(queue_len_max=64) == LaneSettings(
        batch_max=8, queue_len_max=64, priority_default=3, rate_per_s=2.5, burst=3
    )
    assert ModelSettings(batching="off", batch_max=8).lane(queue_len_max=1).batch_max == 1


def test_versions_are_chosen_by_number_or_by_age() -> None:
    on_disk = [3, 1, 12]
    assert ModelSettings().chosen(on_disk) == [1, 3, 12]
    assert ModelSettings(latest=2).chosen(on_disk) == [3, 12]
    assert ModelSettings(versions=(1, 2)).chosen(on_disk) == [1]
