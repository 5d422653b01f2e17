"""Images as arrays: decode, resize, normalise, with numpy only where numpy is enough.

Binary PGM and PPM (P5, P6, 8 bit) are decoded here; every other format needs Pillow.

Shapes:  (height, width, channels) uint8 from decode; float32 after resize or normalise.
Errors:  FileRefusedError, for what is not an image or is too large;
         MissingLibraryError, for a format that needs Pillow where it is not installed.
"""

import io
import re
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.pipeline.errors import FileRefusedError, MissingLibraryError, StepError
from skerry.pipeline.options import DecodeImageOptions, NormaliseOptions, ResizeOptions

Array = NDArray[Any]

# Magic, width, height, maxval, each after white space or comment lines; then one byte of space.
_PNM_HEAD = re.compile(
    rb"P([56])(?:\s|#[^\n]*\n)+(\d{1,6})(?:\s|#[^\n]*\n)+(\d{1,6})(?:\s|#[^\n]*\n)+(\d{1,5})\s"
)
_PNM_HEAD_BYTES_MAX = 1024
# ITU-R BT.601 luma, which is what Pillow's "L" uses as well.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def decode_image(content: bytes, options: DecodeImageOptions) -> Array:
    """Decode a file to (height, width, 3 or 1) uint8."""
    pixels = _decode_pnm(content, options.pixels_max)
    if pixels is None:
        return _decode_with_pillow(content, options)
    if options.colour == "grey" and pixels.shape[2] == 3:
        grey: Array = np.rint(pixels @ _LUMA).astype(np.uint8)[:, :, None]
        return grey
    if options.colour == "rgb" and pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return pixels


def resize(image: Array, options: ResizeOptions) -> Array:
    """Resize (height, width, channels) to the options' size; uint8 stays uint8."""
    _expect_image("resize", image)
    rows, row_share = _sources(image.shape[0], options.height)
    columns, column_share = _sources(image.shape[1], options.width)
    if options.method == "nearest":
        near_rows = rows + (row_share >= 0.5)
        near_columns = columns + (column_share >= 0.5)
        near_rows = near_rows.clip(0, image.shape[0] - 1)
        near_columns = near_columns.clip(0, image.shape[1] - 1)
        near: Array = image[near_rows][:, near_columns]
        return near
    below = (rows + 1).clip(0, image.shape[0] - 1)
    right = (columns + 1).clip(0, image.shape[1] - 1)
    down, across = row_share[:, None, None], column_share[None, :, None]
    top = image[rows][:, columns] * (1 - across) + image[rows][:, right] * across
    bottom = image[below][:, columns] * (1 - across) + image[below][:, right] * across
    mixed: Array = top * (1 - down) + bottom * down
    if image.dtype == np.uint8:
        mixed = np.rint(mixed).astype(np.uint8)
    return mixed


def normalise(image: Array, options: NormaliseOptions) -> Array:
    """Scale and centre each channel; float32, channels first unless the options say `hwc`."""
    _expect_image("normalise", image)
    for name, values in (("mean", options.mean), ("std", options.std)):
        if len(values) not in (1, image.shape[2]):
            raise StepError(
                f"normalise {name}", f"{len(values)} values", f"1 or {image.shape[2]} of them"
            )
    if not all(options.std):
        raise StepError("normalise std", "a zero", "values other than 0")
    mean = np.array(options.mean, dtype=np.float32)
    std = np.array(options.std, dtype=np.float32)
    scaled: Array = (image.astype(np.float32) * np.float32(options.scale) - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)) if options.layout == "chw" else scaled


def _decode_pnm(content: bytes, pixels_max: int) -> Array | None:
    head = _PNM_HEAD.match(content[:_PNM_HEAD_BYTES_MAX])
    if head is None:
        return None
    channels = 3 if head[1] == b"6" else 1
    width, height, top = int(head[2]), int(head[3]), int(head[4])
    if not 1 <= width * height <= pixels_max:
        raise FileRefusedError(f"{width} x {height} pixels", f"1 to {pixels_max} pixels")
    if top != 255:
        raise FileRefusedError(f"an image with values up to {top}", "8 bit, up to 255")
    count = width * height * channels
    if len(content) - head.end() < count:
        raise FileRefusedError("an image that ends early", f"{count} bytes of pixels")
    pixels = np.frombuffer(content, dtype=np.uint8, count=count, offset=head.end())
    return pixels.reshape(height, width, channels)


def _decode_with_pillow(content: bytes, options: DecodeImageOptions) -> Array:
    try:
        pillow: Any = import_module("PIL.Image")
    except ImportError as error:
        raise MissingLibraryError(
            "decode_image, for anything but PPM and PGM,", "Pillow"
        ) from error
    try:
        with pillow.open(io.BytesIO(content)) as image:  # reads the head only
            if image.width * image.height > options.pixels_max:
                size = f"{image.width} x {image.height} pixels"
                raise FileRefusedError(size, f"at most {options.pixels_max} pixels")
            pixels = np.asarray(image.convert("RGB" if options.colour == "rgb" else "L"))
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise FileRefusedError(f"not a readable image ({error})", "an image file") from error
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _sources(size: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return, per output pixel, the input pixel before its centre and how far beyond it lies."""
    centre = ((np.arange(wanted) + 0.5) * size / wanted - 0.5).clip(0, size - 1)
    before = np.floor(centre).astype(np.intp)
    return before, (centre - before).astype(np.float32)


def _expect_image(step: str, value: Array) -> None:
    if value.ndim != 3:
        raise StepError(
            step, f"an array of shape {value.shape}", "an image: decode_image before it"
        )
