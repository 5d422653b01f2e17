"""How one model is to be run: settings that people write beside it, and what a lane gets of them.

    <repository>/<model>/model.json      ours, all of `ModelSettings`
    <repository>/<model>/config.pbtxt    Triton's, the part that `triton_config` reads

They belong to the machine, not to the model: nothing signed names them. Where both
files are there, ours wins whole. They are read at every load, so a change needs one
`load` of the model and no restart.

Units:   seconds, requests per second.
Errors:  SettingsError, naming the file, the field and what was wanted.
"""

import math
from pathlib import Path
from typing import Literal

import msgspec

from skerry.schema.model import MODEL_FILE
from skerry.schema.settings_file import read_settings_file
from skerry.serve.errors import SettingsError
from skerry.serve.triton_config import CONFIG_FILE, Block, read_config

SETTINGS_FILE = "model.json"
BATCH_MAX_MAX = 4096
CONCURRENCY_MAX = 64
THREADS_MAX = 64
QUEUE_LEN_MAX_MAX = 65_536
PRIORITY_MAX = 255
RATE_PER_S_MAX = 1e6

RunOn = Literal["auto", "inline", "thread"]
Switch = Literal["auto", "on", "off"]


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a lane needs to know about its model: settings, profile and measurement, resolved."""

    batch_max: int = 1
    """Items that may run as one; 1 keeps requests apart."""
    run_on: RunOn = "auto"
    """`inline` on the event loop, `thread` beside it; `auto` goes by the length of a run."""
    concurrency: int = 1
    """Runs of this version that may be under way at once; above 1 only on threads."""
    queue_len_max: int = 1024
    """Requests that may wait; the next one is refused at once."""
    priority_default: int = 0
    """Priority of a request that states none (0: after all that state one)."""
    rate_per_s: float | None = None
    """Requests admitted per second in the long run; None for no limit."""
    burst: int = 0
    """Requests that may come at once within that rate."""
    run_s: float = 0.0
    """Measured time of one run; 0 where none was measured yet."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`model.json`: how people want one model to be run. Everything may be left out."""

    versions: Literal["all"] | tuple[int, ...] = "all"
    """Which versions of the folder serve."""
    latest: int | None = None
    """Serve this many of the newest versions, instead of `versions`."""
    batching: Switch = "auto"
    """Run requests together: `auto` where measurement shows that it gains."""
    batch_max: int | None = None
    """Items that may run as one; left out, the card's own limit."""
    run_on: RunOn = "auto"
    """Run on the event loop or on a thread; `auto` takes the loop up to about 1 ms per run."""
    concurrency: int = 1
    """Runs of a version that may be under way at once."""
    queue_len_max: int | None = None
    """Requests that may wait per version; left out, the server's own limit."""
    priority: int = 0
    """Priority of requests that state none: 0, or 1 (most urgent) to 255."""
    rate_per_s: float | None = None
    """Requests admitted per second; more are refused with `Retry-After`."""
    burst: int | None = None
    """Requests that may come at once within the rate; left out, one second's worth."""
    pinned: bool = False
    """Never unload it to make room for another."""
    providers: tuple[str, ...] = ()
    """Execution providers by preference, such as `cuda`; left out, the server's own wish."""
    threads: int | None = None
    """Threads of one run; left out, the profile's choice, else 1."""

    def lane(self, *, queue_len_max: int) -> LaneSettings:
        """Return what a lane gets before anything was measured."""
        burst = 0
        if self.rate_per_s is not None:
            burst = self.burst if self.burst is not None else max(1, math.ceil(self.rate_per_s))
        return LaneSettings(
            batch_max=1 if self.batching == "off" else self.batch_max or 1,
            run_on=self.run_on,
            concurrency=self.concurrency,
            queue_len_max=self.queue_len_max or queue_len_max,
            priority_default=self.priority,
            rate_per_s=self.rate_per_s,
            burst=burst,
        )

    def chosen(self, versions: list[int]) -> list[int]:
        """Return which of the versions on disk are to serve, oldest first."""
        if self.latest is not None:
            return sorted(versions)[-self.latest :]
        if self.versions == "all":
            return sorted(versions)
        return sorted(set(versions) & set(self.versions))


def read_model_settings(folder: Path) -> ModelSettings:
    """Read the settings beside a model's versions; all defaults where there are none."""
    path = folder / SETTINGS_FILE
    if path.is_file():
        return _checked(path, read_settings_file(path, ModelSettings, SettingsError))
    path = folder / CONFIG_FILE
    if path.is_file():
        return _checked(path, from_config(path, read_config(path), folder.name))
    return ModelSettings()


def from_config(path: Path, config: Block, name: str) -> ModelSettings:
    """Return the settings that a Triton configuration stands for."""
    stated = config.text("name", name)
    if stated != name:
        raise SettingsError(str(path), f"name is {stated}, wanted its folder's, {name}")
    if config.text("platform", "onnxruntime_onnx") != "onnxruntime_onnx":
        raise SettingsError(str(path), "platform is not onnxruntime_onnx, the only one run here")
    if config.text("backend", "onnxruntime") != "onnxruntime":
        raise SettingsError(str(path), "backend is not onnxruntime, the only one run here")
    batch_max = config.number("max_batch_size", 0)
    dynamic = config.block("dynamic_batching")
    queue = None
    if dynamic is not None:
        dynamic.only(
            "preferred_batch_size",
            "max_queue_delay_microseconds",
            "priority_levels",
            "default_priority_level",
            "default_queue_policy",
        )
        policy = dynamic.block("default_queue_policy")
        if policy is not None:
            policy.only("max_queue_size")
            queue = policy.number("max_queue_size", 0) or None
    if config.text("default_model_filename", MODEL_FILE) != MODEL_FILE:
        raise SettingsError(str(path), f"default_model_filename is not {MODEL_FILE}")
    count, kinds = _instances(config)
    versions, latest = _policy(config)
    config.only(
        "name",
        "platform",
        "backend",
        "max_batch_size",
        "input",
        "output",
        "dynamic_batching",
        "instance_group",
        "version_policy",
        "optimization",
        "parameters",
        "model_warmup",  # every version is warmed, with its card's samples
        "default_model_filename",
    )
    return ModelSettings(
        versions=versions,
        latest=latest,
        batching="on" if dynamic is not None and batch_max > 1 else "off",
        batch_max=batch_max or None,
        concurrency=count,
        queue_len_max=queue,
        priority=dynamic.number("default_priority_level", 0) if dynamic is not None else 0,
        providers=tuple(dict.fromkeys((*_accelerators(config), *kinds))),
        threads=_threads(config),
    )


def _accelerators(config: Block) -> list[str]:
    """Return the execution providers that Triton's ONNX Runtime backend would be asked for."""
    optimization = config.block("optimization")
    if optimization is None:
        return []
    optimization.only("execution_accelerators")
    both = optimization.block("execution_accelerators")
    if both is None:
        return []
    both.only("gpu_execution_accelerator", "cpu_execution_accelerator")
    found = []
    for side in ("gpu_execution_accelerator", "cpu_execution_accelerator"):
        for one in both.blocks(side):
            one.only("name", "parameters")
            name = one.text("name", "")
            if name not in ("tensorrt", "openvino"):
                raise one.wrong("name", name or "missing", "tensorrt or openvino")
            options = [
                f"{pair.text('key', '')}={pair.text('value', '')}"
                for pair in one.blocks("parameters")
            ]
            found.append(":".join([name, ",".join(options)]) if options else name)
    return found


def _threads(config: Block) -> int | None:
    """Return the one parameter of Triton's ONNX Runtime backend that is set here too."""
    threads = None
    for pair in config.blocks("parameters"):
        pair.only("key", "value")
        key, value = pair.text("key", ""), pair.block("value")
        if key != "intra_op_thread_count" or value is None:
            raise pair.wrong("key", key or "missing", "intra_op_thread_count, the only one read")
        threads = value.number("string_value", 0) or None  # Triton's 0 leaves it open
    return threads


def _instances(config: Block) -> tuple[int, tuple[str, ...]]:
    """Return how many runs may be under way, and on what."""
    groups = config.blocks("instance_group")
    count, providers = 0, []
    for group in groups:
        group.only("name", "count", "kind", "gpus")
        count += group.number("count", 1)
        kind = group.text("kind", "KIND_AUTO")
        if kind not in ("KIND_AUTO", "KIND_CPU", "KIND_GPU"):
            raise group.wrong("kind", kind, "KIND_AUTO, KIND_CPU or KIND_GPU")
        if kind != "KIND_AUTO":
            providers.append("cuda" if kind == "KIND_GPU" else "cpu")
    return (count or 1, tuple(dict.fromkeys(providers)))


def _policy(config: Block) -> tuple[Literal["all"] | tuple[int, ...], int | None]:
    """Return Triton's version policy; its own default is the newest alone."""
    policy = config.block("version_policy")
    if policy is None:
        return "all", 1
    policy.only("latest", "all", "specific")
    latest, specific = policy.block("latest"), policy.block("specific")
    if latest is not None:
        return "all", latest.number("num_versions", 1)
    if specific is not None:
        return tuple(specific.numbers("versions")), None
    return "all", None


def _checked(path: Path, settings: ModelSettings) -> ModelSettings:
    bounds: tuple[tuple[str, float | None, float, float], ...] = (
        ("batch_max", settings.batch_max, 1, BATCH_MAX_MAX),
        ("latest", settings.latest, 1, 1000),
        ("concurrency", settings.concurrency, 1, CONCURRENCY_MAX),
        ("queue_len_max", settings.queue_len_max, 1, QUEUE_LEN_MAX_MAX),
        ("priority", settings.priority, 0, PRIORITY_MAX),
        ("burst", settings.burst, 1, RATE_PER_S_MAX),
        ("threads", settings.threads, 1, THREADS_MAX),
    )
    for name, value, low, high in bounds:
        if value is not None and not low <= value <= high:
            raise SettingsError(str(path), f"{name} is {value:g}, wanted {low:g} to {high:g}")
    rate = settings.rate_per_s
    if rate is not None and not 0 < rate <= RATE_PER_S_MAX:
        raise SettingsError(
            str(path), f"rate_per_s is {rate:g}, wanted more than 0, to {RATE_PER_S_MAX:g}"
        )
    if settings.burst is not None and rate is None:
        raise SettingsError(str(path), "burst is stated without rate_per_s, which it belongs to")
    if settings.versions != "all" and not settings.versions:
        raise SettingsError(str(path), "versions is an empty list, wanted `all` or numbers")
    if settings.concurrency > 1 and settings.run_on == "inline":
        raise SettingsError(
            str(path), f"concurrency is {settings.concurrency}, wanted 1 where run_on is inline"
        )
    return settings
