"""Small files that would be large: refused, or decoded without them, in a process that the kernel holds to 64 MiB."""

from __future__ import annotations

import zlib
from pathlib import Path

from PIL import Image

from tests import limited
from tests.unit.vision_encoder import images
from trichord.model_config import ModelConfig
from vision_encoder.prepare import Preparer
from vision_encoder.settings import VisionSettings

MIB = 1024 * 1024

USE = """
from trichord.errors import MediaError
from vision_encoder.image import ImageLimits, open_image, to_rgb

LIMITS = ImageLimits(max_bytes=20 * 1024 * 1024, max_pixels=24_000_000, max_aspect_ratio=100.0)

def use(data):
    try:
        with open_image(data, LIMITS) as image:
            return str(to_rgb(image).size)
    except MediaError as error:
        return error.message
"""

TOO_MANY = "The image cannot be used. It has more than 24000000 pixels. Scale it down."
DAMAGED = "The image cannot be used. It is not a whole PNG, JPEG or WebP file. Send one of these, undamaged."
DECODED = "(40, 30)"


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """A good PNG with more chunks behind its header."""
    header = len(b"\x89PNG\r\n\x1a\n") + 25
    return images.PNG[:header] + b"".join(images.chunk(*chunk) for chunk in chunks) + images.PNG[header:]


def bombs() -> dict[str, tuple[bytes, str]]:
    """Each with what is said of it."""
    zeros = zlib.compress(bytes(100 * MIB), 9)
    megabyte = zlib.compress(bytes(900_000), 9)
    return {
        "100 million pixels": (images.blank_png(10_000, 10_000), TOO_MANY),
        "4 billion pixels of webp": (images.vp8x(65_536, 65_535), TOO_MANY),
        "text": (with_chunks((b"zTXt", b"k\0\0" + zeros)), DAMAGED),
        "international text": (with_chunks((b"iTXt", b"k\0\1\0\0\0" + zeros)), DAMAGED),
        "colour profile": (with_chunks((b"iCCP", b"k\0\0" + zeros)), DAMAGED),
        "exif in text": (with_chunks((b"zTXt", b"Raw profile type exif\0\0" + zeros)), DAMAGED),
        "many texts": (with_chunks(*((b"zTXt", b"k%d\0\0" % i + megabyte) for i in range(500))), DAMAGED),
        "much plain text": (with_chunks(*((b"tEXt", b"k%d\0" % i + bytes(1_000)) for i in range(9_000))), DECODED),
        "a large exif": (with_chunks((b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(9 * MIB))), DECODED),
    }


def test_bombs_cost_next_to_nothing(tmp_path) -> None:
    corpus = bombs()
    assert len(corpus["100 million pixels"][0]) < 13_000
    done = limited.run(USE, images.PNG, {name: data for name, (data, _) in corpus.items()}, 64 * MIB, tmp_path)
    assert done.told == {name: told for name, (_, told) in corpus.items()}
    assert done.grown_bytes < 48 * MIB


def test_the_largest_image_stays_within_what_is_held_for_it(tmp_path) -> None:
    """24 million pixels, turned and transparent, against DECODE_BYTES_PER_PIXEL."""
    exif = Image.Exif()
    exif[images.ORIENTATION_TAG] = 6
    largest = images.file(Image.new("RGBA", (6_000, 4_000), (1, 2, 3, 4)), "WEBP", lossless=True, exif=exif)
    done = limited.run(USE, images.turned("WEBP", 6), {"largest": largest}, 28 * 24_000_000, tmp_path)
    assert done.told == {"largest": "(4000, 6000)"}


async def test_palette_twins_have_keys_of_their_own(config: ModelConfig) -> None:
    """Same indices, other colours (CVE-2025-46722): neither what caches look up by nor the pixels may be the same."""
    preparer = Preparer(config, VisionSettings(checkpoint=Path(), triton=""))
    twins = []
    for palette in ([255, 0, 0], [0, 0, 255]):
        image = Image.new("P", (20, 20))
        image.putpalette(palette)
        twins.append(await preparer.prepare(images.file(image)))
    preparer.close()
    assert twins[0].content_sha256 != twins[1].content_sha256
    assert twins[0].image.patches.tobytes() != twins[1].image.patches.tobytes()
