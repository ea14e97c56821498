"""Image files made on the spot: good ones of every kind, and a corpus of bad ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

ORIENTATION_TAG = 0x0112


def picture(width: int = 40, height: int = 30, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A smooth picture without symmetry, so that every turn of it is another one."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 4), dtype=np.uint8), "RGBA")
    return small.resize((width, height), Image.Resampling.BILINEAR).convert(mode)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(kind: str, orientation: int) -> bytes:
    """A file whose EXIF asks for a turn."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    return file(picture(), kind, exif=exif, **options)


def blank_png(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel, all of them black, made without ever holding them."""
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + (width + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is sent over and over."""
    data = file(picture(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def animation(kind: str) -> bytes:
    frames = [picture(seed=seed) for seed in range(3)]
    return file(frames[0], kind, save_all=True, append_images=frames[1:])


def vp8x(width: int, height: int) -> bytes:
    """A WebP header that claims a canvas, with nothing behind it."""
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + (width - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body) + 3) + body + (height - 1).to_bytes(3, "little")


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


PNG, JPEG, WEBP = file(picture()), file(picture(), "JPEG"), file(picture(), "WEBP")

GOOD = {
    "png": PNG,
    "jpeg": JPEG,
    "webp": WEBP,
    "progressive jpeg": file(picture(), "JPEG", progressive=True),
    "cmyk jpeg": file(picture(mode="CMYK"), "JPEG"),
    "grey jpeg": file(picture(mode="L"), "JPEG"),
    "palette png": file(picture(mode="P")),
    "one-bit png": file(picture(mode="1")),
    "16-bit png": file(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)),
    "transparent png": file(picture(mode="RGBA")),
    "transparent webp": file(picture(mode="RGBA"), "WEBP", lossless=True),
    "grey and transparent png": file(picture(mode="LA")),
    "one pixel": file(picture(1, 1)),
    "a strip": file(picture(400, 4)),
    "a phone's photograph": file(picture(), "MPO", save_all=True, append_images=[picture(seed=1)]),
}
"""Files that decode."""

BAD = {
    "nothing": b"",
    "one byte": b"\x89",
    "text": b"An image, honestly." * 100,
    "gif": file(picture(mode="P"), "GIF"),
    "bmp": file(picture(), "BMP"),
    "tiff": file(picture(), "TIFF"),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "png signature only": PNG[:8],
    "truncated png": PNG[: len(PNG) // 2],
    "truncated jpeg": JPEG[: len(JPEG) // 2],
    "truncated webp": WEBP[: len(WEBP) // 2],
    "jpeg header only": JPEG[:20],
    "broken png header": flipped(PNG, 20),
    "broken png pixels": flipped(PNG, PNG.index(b"IDAT") + 4),
    "png without pixels": blank_png(10, 0),
    "100 million pixels in 12 KB": blank_png(10_000, 10_000),
    "400 million pixels": blank_png(20_000, 20_000)[:1000],
    "webp of 268 million pixels": vp8x(16_384, 16_384),
    "webp of 4 billion pixels": vp8x(65_536, 65_535),
    "too long a side": blank_png(16_385, 200),
    "too thin": blank_png(1_010, 10),
    "animated png": animation("PNG"),
    "animated webp": animation("WEBP"),
    "a thousand scans": many_scans(1_000),
}
"""Files that are refused."""
