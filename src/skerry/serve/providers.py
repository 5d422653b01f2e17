"""Execution providers: which hardware runs a model, from what is wanted and what is offered.

    wanted (settings, by preference) + offered (by the installed ONNX Runtime)
      -> an ordered list with options, and for each one left out the reason

The CPU is always last, so that a model runs on a machine without its first choice; what
was really used is read from the session afterwards. Plain logic: nothing here loads a
library or looks for a device.

Source:  the execution providers of ONNX Runtime and their option names.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from skerry.serve.errors import ProviderError

CPU = "CPUExecutionProvider"
KNOWN: dict[str, str] = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "nv-tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "vitisai": "VitisAIExecutionProvider",
    "cann": "CANNExecutionProvider",
    "dnnl": "DnnlExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}
"""Our short name to ONNX Runtime's. Its Azure provider is left out on purpose: it would
send requests off the machine."""

AUTO: tuple[str, ...] = ("cuda", "migraphx", "rocm", "openvino", "qnn", "coreml", "directml")
"""Taken where offered and nothing is wanted by name. TensorRT compiles for minutes at a
load, so it is never taken unasked."""

DEFAULTS: dict[str, dict[str, str]] = {
    # Grow by what is asked for, not by doubling: other models live on the same card.
    "cuda": {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"},
    "coreml": {"ModelFormat": "MLProgram"},
    "openvino": {"device_type": "AUTO"},
    "qnn": {"backend_type": "htp"},
}
FIXED_SHAPES_ONLY = frozenset({"qnn", "vitisai"})
WANTED_MAX = 8
_SHORT = {name.casefold(): short for short, name in KNOWN.items()}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A provider that will not be used, and why."""

    provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What a session is asked to use, by preference, and what was left out."""

    providers: tuple[tuple[str, dict[str, str]], ...]
    left_out: tuple[LeftOut, ...] = field(default=())


def read_wanted(text: str) -> tuple[str, dict[str, str]]:
    """Read `cuda`, `CUDAExecutionProvider` or `cuda:device_id=1,gpu_mem_limit=2000000000`."""
    name, _, rest = text.strip().partition(":")
    short = _SHORT.get(name.casefold(), name.casefold())
    if short not in KNOWN:
        raise ProviderError(name, "no execution provider that is known here", tuple(KNOWN))
    options: dict[str, str] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ProviderError(text, f"an option without a value ({pair})", tuple(KNOWN))
        options[key.strip()] = value.strip()
    return short, options


def choose(
    wanted: Sequence[str], offered: Collection[str], *, fixed_shapes: bool | None = None
) -> Choice:
    """Return what to ask a session for.

    `offered` is what the installed ONNX Runtime was built with; `fixed_shapes` says
    whether every axis of the model has a length, where that is known.
    """
    if len(wanted) > WANTED_MAX:
        raise ProviderError(f"{len(wanted)} providers", f"more than {WANTED_MAX}", tuple(KNOWN))
    asked = [read_wanted(text) for text in wanted] or [(short, {}) for short in AUTO]
    taken: list[tuple[str, dict[str, str]]] = []
    left_out: list[LeftOut] = []
    seen: set[str] = set()
    for short, options in asked:
        reason = ""
        if short in seen:
            reason = "named twice, the first one counts"
        elif KNOWN[short] not in offered:
            reason = "not in the ONNX Runtime that is installed here"
        elif short in FIXED_SHAPES_ONLY and fixed_shapes is False:
            reason = "takes fixed shapes only, and this model has free axes"
        elif "cpu" in seen:
            reason = "comes after the CPU, which runs everything"
        seen.add(short)
        if not reason:
            taken.append((KNOWN[short], {**DEFAULTS.get(short, {}), **options}))
        elif wanted:  # of those that nobody asked for, nobody needs to hear
            left_out.append(LeftOut(short, reason))
    if all(name != CPU for name, _ in taken):
        taken.append((CPU, {}))
    return Choice(tuple(taken), tuple(left_out))


def short_name(provider: str) -> str:
    """Return our name of one of ONNX Runtime's providers."""
    return _SHORT.get(provider.casefold(), provider)


def unused(choice: Choice, used: Collection[str]) -> tuple[LeftOut, ...]:
    """Return everything left out, with what a session was asked for and did not take."""
    missing = tuple(
        LeftOut(short_name(name), "did not start on this machine: its driver or device is missing")
        for name, _ in choice.providers
        if name not in used
    )
    return (*choice.left_out, *missing)
