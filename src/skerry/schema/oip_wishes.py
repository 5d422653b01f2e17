"""Parameters of a tensor that say more than its data: shared memory and classification.

    shared_memory_region, shared_memory_byte_size, shared_memory_offset
        where an input lies, or where an output shall be put
    classification
        k: the k highest elements as text, "score:index" or "score:index:label"

Both transports carry them alike; here they are read and written for both.

Units:   bytes.
Errors:  OipError, for a value that cannot be meant; UnsupportedError, where the way that
         a request came may not use shared memory.
Source:  Triton's protocol extensions "System Shared Memory" and "Classification".
"""

from collections.abc import Mapping

from skerry.schema.oip import OutputWish, Parameter, RegionReader
from skerry.schema.oip_errors import OipError, UnsupportedError, shown

REGION = "shared_memory_region"
BYTE_SIZE = "shared_memory_byte_size"
OFFSET = "shared_memory_offset"
CLASSES = "classification"

CLASSES_MAX = 65_536
_BYTES_MAX = 2**48

Parameters = Mapping[str, Parameter | None]


def input_bytes(name: str, parameters: Parameters, regions: RegionReader | None) -> memoryview:
    """Return the bytes of an input whose parameters name a region."""
    region, size, offset = _place(name, parameters, regions)
    assert regions is not None  # noqa: S101 - _place has refused None
    return regions(region, size, offset)


def output_wish(
    name: str, parameters: Parameters, regions: RegionReader | None
) -> OutputWish | None:
    """Return what shall become of an output; None where it is only to be sent."""
    wish: OutputWish | None = None
    if parameters.get(CLASSES) is not None:
        wish = OutputWish(classes=_whole(name, CLASSES, parameters[CLASSES], 1, CLASSES_MAX))
    if parameters.get(REGION) is not None:
        wish = wish or OutputWish()
        wish.region, wish.region_bytes, wish.region_offset = _place(name, parameters, regions)
    return wish


def wish_parameters(wish: OutputWish | None) -> dict[str, Parameter]:
    """Return the parameters by which a request asks for an output."""
    if wish is None:
        return {}
    found = placed_parameters(wish) if wish.region else {}
    if wish.classes:
        found[CLASSES] = wish.classes
    return found


def placed_parameters(wish: OutputWish) -> dict[str, Parameter]:
    """Return the parameters that say where an input or an output lies."""
    found: dict[str, Parameter] = {REGION: wish.region, BYTE_SIZE: wish.region_bytes}
    if wish.region_offset:
        found[OFFSET] = wish.region_offset
    return found


def placed_at(name: str, parameters: Parameters) -> OutputWish:
    """Read where an answer says that an output lies."""
    region, size, offset = _where(name, parameters)
    return OutputWish(region=region, region_bytes=size, region_offset=offset)


def _place(name: str, parameters: Parameters, regions: RegionReader | None) -> tuple[str, int, int]:
    if regions is None:
        raise UnsupportedError(
            f"tensor {shown(name)}", f"asking for {REGION}", "plain data on this listener"
        )
    return _where(name, parameters)


def _where(name: str, parameters: Parameters) -> tuple[str, int, int]:
    region = parameters[REGION]
    if not isinstance(region, str):
        raise OipError(f"{REGION} of {shown(name)}", shown(region), "the name of a region")
    size = _whole(name, BYTE_SIZE, parameters.get(BYTE_SIZE), 0, _BYTES_MAX)
    return region, size, _whole(name, OFFSET, parameters.get(OFFSET, 0), 0, _BYTES_MAX)


def _whole(name: str, parameter: str, value: Parameter | None, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise OipError(f"{parameter} of {shown(name)}", shown(value), f"{low} to {high}")
    return value
