"""Steps: magika's own features, images by hand, and cards that say something impossible."""

import io
import sysconfig
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.pipeline.errors import (
    AnswerError,
    FileRefusedError,
    MissingLibraryError,
    StepError,
)
from skerry.pipeline.image import decode_image, normalise, resize
from skerry.pipeline.options import (
    ArgmaxLabelOptions,
    BytesHeadTailOptions,
    DecodeImageOptions,
    NormaliseOptions,
    Options,
    ResizeOptions,
)
from skerry.pipeline.steps import POST, PRE, Label, argmax_label, build, bytes_head_tail, softmax
from skerry.schema.model import Step

BLANK = b" \t\n\r\x0b\x0c"


def step(name: str, **options: object) -> Step:
    return Step(
        step=name,
        options={key: msgspec.Raw(msgspec.json.encode(value)) for key, value in options.items()},
    )


def magikas_own(content: bytes) -> list[int]:
    magika = pytest.importorskip("magika", reason="needs magika")
    from magika.types import Seekable

    features = magika.Magika._extract_features_from_seekable(
        Seekable(io.BytesIO(content)), 1024, 0, 1024, 256, 4096, False
    )
    return [*features.beg, *features.end]


def test_bytes_head_tail_equals_magikas_own_features_on_real_files() -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    paths += sorted((folder / "__pycache__").glob("*.pyc"))[:50]
    assert len(paths) > 150
    for path in paths:
        content = path.read_bytes()
        found = bytes_head_tail(content, BytesHeadTailOptions())
        assert found.dtype == np.int32
        assert found.tolist() == magikas_own(content), path


@given(st.binary(max_size=40), st.integers(0, 5000), st.sampled_from([b" ", b"\n", b"x", b"\0"]))
def test_bytes_head_tail_equals_magikas_own_on_odd_content(
    core: bytes, repeat: int, filler: bytes
) -> None:
    """Blank ends, all-blank files, and sizes around one and two blocks."""
    for content in (core + filler * repeat, filler * repeat + core, BLANK + core + BLANK):
        assert bytes_head_tail(content, BytesHeadTailOptions()).tolist() == magikas_own(content)


def ppm(width: int, height: int, pixels: bytes, *, magic: bytes = b"P6") -> bytes:
    return magic + b"\n# made by hand\n%d %d\n255\n" % (width, height) + pixels


def test_a_ppm_decodes_to_its_pixels() -> None:
    image = decode_image(ppm(2, 1, bytes([255, 0, 0, 0, 0, 255])), DecodeImageOptions())
    assert image.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    grey = decode_image(ppm(1, 1, bytes([255, 0, 0])), DecodeImageOptions(colour="grey"))
    assert grey.tolist() == [[[76]]]  # 0.299 * 255
    assert decode_image(ppm(1, 1, b"\x07", magic=b"P5"), DecodeImageOptions()).tolist() == [
        [[7, 7, 7]]
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ppm(2, 2, b"123"), "ends early"),
        (ppm(100_000, 100_000, b""), "100000 x 100000 pixels"),
        (ppm(0, 5, b""), "0 x 5 pixels"),
        (b"P6 1 1 65535 abcdef", "up to 65535"),
    ],
)
def test_a_bad_image_is_refused_by_what_is_wrong(content: bytes, said: str) -> None:
    with pytest.raises(FileRefusedError, match=said):
        decode_image(content, DecodeImageOptions())


def test_other_formats_need_pillow_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(MissingLibraryError, match="needs Pillow") as caught:
        decode_image(b"\x89PNG\r\n\x1a\n", DecodeImageOptions())
    assert caught.value.hint == "pip install pillow"


def test_pillow_decodes_png_where_it_is_installed() -> None:
    pillow: Any = pytest.importorskip("PIL.Image", reason="needs Pillow")
    out = io.BytesIO()
    pillow.new("RGB", (3, 2), (1, 2, 3)).save(out, "PNG")
    assert decode_image(out.getvalue(), DecodeImageOptions()).tolist() == [[[1, 2, 3]] * 3] * 2
    with pytest.raises(FileRefusedError, match="not a readable image"):
        decode_image(b"nonsense", DecodeImageOptions())


def test_resize_to_the_same_size_changes_nothing() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for method in ("bilinear", "nearest"):
        options = ResizeOptions(height=2, width=4, method=method)
        assert (resize(image, options) == image).all()


def test_halving_averages_pairs_and_doubling_interpolates() -> None:
    row = np.array([[[0.0], [10.0], [20.0], [30.0]]], dtype=np.float32)
    assert resize(row, ResizeOptions(height=1, width=2)).ravel().tolist() == [5.0, 25.0]
    two = np.array([[[0.0], [10.0]]], dtype=np.float32)
    doubled = resize(two, ResizeOptions(height=1, width=4)).ravel().tolist()
    assert doubled == [0.0, 2.5, 7.5, 10.0]
    nearest = resize(two, ResizeOptions(height=1, width=4, method="nearest")).ravel().tolist()
    assert nearest == [0.0, 0.0, 10.0, 10.0]


def test_normalise_scales_centres_and_puts_channels_first() -> None:
    image = np.array([[[255, 0, 51]]], dtype=np.uint8)
    options = NormaliseOptions(mean=[0.5, 0.5, 0.1], std=[0.5, 0.5, 0.1])
    out = normalise(image, options)
    assert out.shape == (3, 1, 1)
    assert out.dtype == np.float32
    assert out.ravel().tolist() == pytest.approx([1.0, -1.0, 1.0], abs=1e-6)
    with pytest.raises(StepError, match="2 values, wanted 1 or 3"):
        normalise(image, NormaliseOptions(mean=[0.5, 0.5]))
    with pytest.raises(StepError, match="a zero"):
        normalise(image, NormaliseOptions(std=[0.0]))


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=20))
def test_softmax_gives_shares_that_add_up_and_keep_the_order(scores: list[float]) -> None:
    shares = softmax(np.array([scores]), Options())
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    assert scores[int(shares.argmax())] == pytest.approx(max(scores), abs=1e-12)


def test_argmax_names_the_best_label_or_says_below() -> None:
    scores = np.array([[0.2, 0.8], [0.6, 0.4]], dtype=np.float32)
    assert [a.label for a in argmax_label(scores, ArgmaxLabelOptions(), ("a", "b"))] == ["b", "a"]
    strict = ArgmaxLabelOptions(threshold=0.7, below="unsure")
    found = argmax_label(scores, strict, ("a", "b"))
    assert found[0] == Label("b", pytest.approx(0.8))
    assert found[1].label == "unsure"


@pytest.mark.parametrize("scores", [np.ones((1, 3)), np.ones(2), np.array([[np.nan, 1.0]])])
def test_an_answer_that_cannot_be_read_is_refused(scores: Any) -> None:
    with pytest.raises(AnswerError):
        argmax_label(scores, ArgmaxLabelOptions(), ("a", "b"))


def test_numbers_written_as_text_are_read_as_numbers() -> None:
    _, options = build("pre[1]", step("resize", height="32", width=16), PRE)
    assert options == ResizeOptions(height=32, width=16)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (step("tokenise"), r"pre\[0\]: no step 'tokenise', wanted one of bytes_head_tail"),
        (step("resize", height=8), "missing required field `width`"),
        (step("resize", height=0, width=8), ">= 1"),
        (step("resize", height=8, width=99_999), "<= 4096"),
        (step("bytes_head_tail", haed=8), "unknown field `haed`"),
        (step("decode_image", colour="cmyk"), "cmyk"),
        (step("normalise", mean=[0.0] * 5), "length <= 4"),
    ],
)
def test_a_declared_step_that_cannot_be_is_named(declared: Step, said: str) -> None:
    with pytest.raises(StepError, match=said):
        build("pre[0]", declared, PRE)


def test_the_vocabularies_do_not_overlap() -> None:
    assert not PRE.keys() & POST.keys()
