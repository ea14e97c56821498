"""What files decode, to which pixels, and what every other file gets."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.unit.vision_encoder import images
from trichord.errors import MediaError
from vision_encoder.image import FORMATS, MAX_JPEG_SCANS, ImageLimits, open_image, to_rgb

# In a service these are remarks on stderr: Pillow warns of metadata that it cannot read, and goes on.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LIMITS = ImageLimits(max_bytes=20 * 1024 * 1024, max_pixels=24_000_000, max_aspect_ratio=100.0)


def decode(data: bytes, limits: ImageLimits = LIMITS) -> np.ndarray:
    with open_image(data, limits) as image:
        rgb = to_rgb(image)
    assert rgb.mode == "RGB"
    return np.asarray(rgb)


@pytest.mark.parametrize("name", images.GOOD)
def test_good_files_decode_to_their_size(name: str) -> None:
    data = images.GOOD[name]
    with Image.open(io.BytesIO(data)) as image:
        assert decode(data).shape == (image.height, image.width, 3)


@pytest.mark.parametrize("name", images.BAD)
def test_bad_files_are_refused_in_our_words(name: str) -> None:
    with pytest.raises(MediaError, match=r"^The image cannot be used\. ") as caught:
        decode(images.BAD[name])
    assert caught.value.field == "image"
    assert not any(leak in caught.value.message for leak in ("0x", "PIL", "BytesIO", "/", "Error"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "empty"),
        ("gif", "PNG, JPEG or WebP"),
        ("truncated png", "undamaged"),
        ("100 million pixels in 12 KB", "more than 24000000 pixels"),
        ("400 million pixels", "more than 24000000 pixels"),
        ("webp of 268 million pixels", "more than 24000000 pixels"),
        ("too long a side", "longer than 16384"),
        ("too thin", "more than 100 times"),
        ("animated webp", "animated"),
        ("a thousand scans", "scans"),
    ],
)
def test_a_refusal_says_what_is_wrong(name: str, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        decode(images.BAD[name])


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = images.BAD["100 million pixels in 12 KB"]
    assert len(bomb) < 13_000
    with pytest.raises(MediaError, match="pixels"), open_image(bomb, LIMITS):
        pytest.fail("the body runs only for images within limits")


def test_each_limit_is_exact() -> None:
    data = images.file(images.picture(20, 10))
    exact = ImageLimits(len(data), 200, 2.0)
    assert decode(data, exact).shape == (10, 20, 3)
    for tighter in (
        ImageLimits(len(data) - 1, 200, 2.0),
        ImageLimits(len(data), 199, 2.0),
        ImageLimits(len(data), 200, 1.9),
    ):
        with pytest.raises(MediaError):
            decode(data, tighter)


def test_the_longest_side_decodes() -> None:
    assert decode(images.blank_png(16_384, 164)).shape == (164, 16_384, 3)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    data = images.turned(kind, orientation)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(decode(data), upright)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"nonsense", bytes(64)])
def test_a_broken_exif_leaves_the_pixels_alone(exif: bytes) -> None:
    assert np.array_equal(decode(images.file(images.picture(), "JPEG", exif=exif)), decode(images.JPEG))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (2, 2), (200, 0, 100, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (200, 0, 100, 255)), (200, 0, 100)),
        (Image.new("RGBA", (2, 2), (0, 100, 200, 51)), (204, 224, 244)),  # a fifth of the colour, the rest white
        (Image.new("LA", (2, 2), (0, 51)), (204, 204, 204)),
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 0x80FF, np.uint16)), (128, 128, 128)),
    ],
    ids=["clear", "opaque", "a fifth", "grey a fifth", "grey", "bit", "16 bit"],
)
def test_every_mode_becomes_rgb_over_white(image: Image.Image, expected: tuple[int, int, int]) -> None:
    assert (decode(images.file(image)) == expected).all()


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    pixels = decode(images.file(image, transparency=1))
    assert pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_palette_twins_differ() -> None:
    """Same indices, other palette: a decoder that looked at indices alone would mix them up (CVE-2025-46722)."""
    twins = []
    for palette in ([255, 0, 0], [0, 0, 255]):
        image = Image.new("P", (2, 2))
        image.putpalette(palette)
        twins.append(decode(images.file(image)))
    assert not np.array_equal(*twins)


def test_a_phones_photograph_is_its_first_image() -> None:
    assert np.array_equal(decode(images.GOOD["a phone's photograph"]), decode(images.JPEG))


def test_ordinary_progressive_files_are_far_from_the_bound_on_scans() -> None:
    assert 5 <= images.GOOD["progressive jpeg"].count(b"\xff\xda") <= MAX_JPEG_SCANS // 5


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([images.PNG, images.JPEG, images.WEBP, images.GOOD["transparent webp"]]),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 2**16),
)
def test_any_damage_gives_pixels_or_a_refusal(data: bytes, changes: list[tuple[int, int]], stop: int) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        pixels = decode(bytes(damaged[: max(stop % (2 * len(damaged)), 1)]))
    except MediaError:
        return
    assert pixels.size <= 3 * LIMITS.max_pixels
