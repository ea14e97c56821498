"""Decodes one untrusted image file to RGB pixels, within limits.

The header is read and checked before any pixel is decoded; formats are an allow-list, told by their first bytes. The
same file always gives the same pixels: orientation is applied, transparency is laid over white, 16-bit grey keeps its
high byte, colour profiles are ignored. A library's own words never leave: every message is ours. Knows no tiles.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from trichord.errors import MediaError, TrichordError
from trichord.media.slicing import MAX_SIDE_PIXELS

FORMATS = ("PNG", "JPEG", "WEBP")

MAX_JPEG_SCANS = 100
"""Progressive JPEG has about ten; each costs a pass over all pixels, and an empty one costs a few bytes to send."""

DECODE_BYTES_PER_PIXEL = 28
"""Most memory that decoding takes at its peak (WebP with transparency, turned), in bytes per pixel."""

_SCAN_MARKER = b"\xff\xda"
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What turns an image of each EXIF orientation upright (EXIF 2.32, tag 274)."""


@dataclass(frozen=True)
class ImageLimits:
    """What one image may cost."""

    max_bytes: int
    """Size of the file."""
    max_pixels: int
    """Width times height."""
    max_aspect_ratio: float
    """Longer side over shorter side."""


@contextlib.contextmanager
def open_image(data: bytes, limits: ImageLimits) -> Iterator[Image.Image]:
    """The image of a file, its header read and found within limits, its pixels not yet decoded.

    Whatever goes wrong with it while it is open is MediaError, field "image".
    """
    if not data:
        raise _refusal("It is empty.")
    if len(data) > limits.max_bytes:
        raise _refusal(f"The file is larger than {limits.max_bytes} bytes. Send a smaller one.")
    with _in_our_words(limits), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image.width, image.height, limits)
        _check_frames(image, data)
        yield image


def to_rgb(image: Image.Image) -> Image.Image:
    """The pixels of an open image, upright, mode RGB. Call it inside ``open_image``."""
    image.load()
    turn = _upright_turn(image)
    upright = image.transpose(turn) if turn is not None else image
    if upright.mode == "I;16":
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    transparent = upright.convert("RGBA")
    opaque = Image.new("RGB", transparent.size, "white")
    opaque.paste(transparent, mask=transparent.getchannel("A"))
    return opaque


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    shorter, longer = sorted((width, height))
    if shorter < 1:
        raise _refusal("It has no pixels.")
    if width * height > limits.max_pixels:
        raise _too_many_pixels(limits)
    if longer > MAX_SIDE_PIXELS:
        raise _refusal(f"A side is longer than {MAX_SIDE_PIXELS} pixels. Scale it down.")
    if longer > limits.max_aspect_ratio * shorter:
        raise _refusal(f"One side is more than {limits.max_aspect_ratio:g} times the other. Crop it.")


def _check_frames(image: Image.Image, data: bytes) -> None:
    # MPO is how phones pack a depth map behind a JPEG: its first image is the photograph.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise _refusal("It is animated. Send one of its frames.")
    if image.format in ("JPEG", "MPO") and data.count(_SCAN_MARKER) > MAX_JPEG_SCANS:
        raise _refusal(f"It has more than {MAX_JPEG_SCANS} scans. Save it again with an ordinary encoder.")


def _upright_turn(image: Image.Image) -> Transpose | None:
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken hint leaves the pixels as they are stored
        return None


@contextlib.contextmanager
def _in_our_words(limits: ImageLimits) -> Iterator[None]:
    try:
        yield
    except TrichordError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(limits) from error
    except Exception as error:  # hostile bytes make decoders raise almost anything
        raise _refusal("It is not a whole PNG, JPEG or WebP file. Send one of these, undamaged.") from error


def _too_many_pixels(limits: ImageLimits) -> MediaError:
    return _refusal(f"It has more than {limits.max_pixels} pixels. Scale it down.")


def _refusal(sentence: str) -> MediaError:
    return MediaError(f"The image cannot be used. {sentence}", field="image")
