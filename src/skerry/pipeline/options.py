"""Options of the declared steps: what a card may write, each with its unit and bounds.

A step refuses options it does not know. Numbers may be written as text, since a card
may come from YAML read without type guessing.
"""

from typing import Annotated, Literal

import msgspec

Side = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Channel = Annotated[list[float], msgspec.Meta(max_length=4)]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every step's options; a step without options takes this one."""


class BytesHeadTailOptions(Options, frozen=True, kw_only=True):
    """Bytes of a file's two ends as integers, as magika 1.0 takes them.

    `head` and `tail` are how many integers each end gives; `block_bytes` of each end are
    read and stripped of white space first; `padding` fills what is missing.
    """

    head: Annotated[int, msgspec.Meta(ge=0, le=65_536)] = 1024
    tail: Annotated[int, msgspec.Meta(ge=0, le=65_536)] = 1024
    block_bytes: Annotated[int, msgspec.Meta(ge=1, le=1_048_576)] = 4096
    padding: Annotated[int, msgspec.Meta(ge=-1, le=65_535)] = 256


class DecodeImageOptions(Options, frozen=True, kw_only=True):
    """An image file to (height, width, channels) uint8.

    `colour` is `rgb` or `grey`; `pixels_max` bounds the decoded size, so that a small
    file cannot unpack into all of the memory.
    """

    colour: Literal["rgb", "grey"] = "rgb"
    pixels_max: Annotated[int, msgspec.Meta(ge=1, le=64_000_000)] = 16_000_000


class ResizeOptions(Options, frozen=True, kw_only=True):
    """To `height` x `width` pixels; bilinear with half-pixel centres and no smoothing."""

    height: Side
    width: Side
    method: Literal["bilinear", "nearest"] = "bilinear"


class NormaliseOptions(Options, frozen=True, kw_only=True):
    """`(x * scale - mean) / std` per channel, as float32, in `chw` or `hwc` order."""

    scale: Annotated[float, msgspec.Meta(gt=0)] = 1 / 255
    mean: Channel = msgspec.field(default_factory=lambda: [0.0])
    std: Channel = msgspec.field(default_factory=lambda: [1.0])
    layout: Literal["chw", "hwc"] = "chw"


class ArgmaxLabelOptions(Options, frozen=True, kw_only=True):
    """The label of the largest score; `below` instead where that score is under `threshold`."""

    threshold: Ratio = 0.0
    below: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "unknown"
