"""Draws what the model learns to see: one shape, number or word of a colour, on a ground of another.

Every picture is drawn from a generator of chance, so that a sample is named by its seed. Knows no model and no prompt.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from trichord_training.fonts import font, font_files
from trichord_training.splits import Split, split_of

Mask = npt.NDArray[np.float32]
Kind = Literal["shape", "number", "word"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 35, 35), "green": (35, 155, 60), "blue": (40, 75, 215), "yellow": (240, 215, 45),
    "orange": (245, 140, 25), "purple": (140, 50, 170), "black": (20, 20, 20), "white": (245, 245, 245),
}  # fmt: skip
"""What a thing's colour is called, and its middle in RGB."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")
WORDS = (
    "STOP", "EXIT", "OPEN", "CLOSED", "PUSH", "PULL", "SALE", "TAXI", "BUS", "HOTEL", "CAFE", "BANK", "POLICE",
    "PARKING", "DANGER", "FREE",
)  # fmt: skip
"""Words on signs."""

MAX_DIGITS = 4
_SUPERSAMPLED = 3
_CONTRAST = 180
"""Least sum of differences between the channels of a thing and its ground."""


@dataclass(frozen=True)
class Thing:
    """What a picture shows."""

    kind: Kind
    name: str
    """The shape's name, the number's digits, or the word."""
    colour: str


@dataclass(frozen=True)
class Difficulty:
    """How far a picture may stray from one large thing in the middle: all from 0 to 1."""

    place: float = 1.0
    """Of its distance from the middle and of how small it may be."""
    paint: float = 1.0
    """Of the strength of gradients, noise, plates and tints."""
    long: float = 1.0
    """Share of numbers that have several digits, and of words among texts."""


def some_thing(rng: np.random.Generator, split: Split, difficulty: Difficulty) -> Thing:
    """A thing of a set: numbers of several digits are in one set only."""
    colour = str(rng.choice(list(COLOURS)))
    if rng.random() < 0.4:
        return Thing("shape", str(rng.choice(SHAPES)), colour)
    if rng.random() >= 0.6 * difficulty.long:
        return Thing("number", str(rng.integers(10)), colour)
    if rng.random() < 0.35:
        return Thing("word", str(rng.choice(WORDS)), colour)
    return Thing("number", _long_number(rng, split), colour)


def _long_number(rng: np.random.Generator, split: Split) -> str:
    while True:
        digits = int(rng.integers(2, MAX_DIGITS + 1))
        number = str(rng.integers(10 ** (digits - 1), 10**digits))
        if split_of(number) == split:
            return number


def draw(
    thing: Thing, rng: np.random.Generator, split: Split, size: tuple[int, int], difficulty: Difficulty
) -> npt.NDArray[np.uint8]:
    """The picture of a thing, uint8 [height, width, 3]; ``size`` is (width, height) in pixels."""
    width, height = size
    ground = _other_colour(rng, thing.colour)
    pixels = _painted_ground(rng, ground, size, difficulty.paint)
    mask = _mask(thing, rng, split, size, difficulty.place)
    rows, cols = mask.shape
    room_x, room_y = width - cols, height - rows
    left = int(room_x / 2 + difficulty.place * rng.uniform(-0.5, 0.5) * room_x)
    top = int(room_y / 2 + difficulty.place * rng.uniform(-0.5, 0.5) * room_y)
    region = pixels[top : top + rows, left : left + cols]
    region += mask[..., None] * (_tint(rng, COLOURS[thing.colour], 25 * difficulty.paint) - region)
    noise = difficulty.paint * rng.uniform(0, 10)
    if noise > 1:
        pixels += rng.standard_normal((height, width, 1), np.float32) * noise
    return pixels.clip(0, 255).astype(np.uint8)


def _other_colour(rng: np.random.Generator, colour: str) -> str:
    others = [
        other
        for other, value in COLOURS.items()
        if sum(abs(a - b) for a, b in zip(value, COLOURS[colour], strict=True)) > _CONTRAST
    ]
    return str(rng.choice(others))


def _tint(rng: np.random.Generator, colour: tuple[int, int, int], spread: float) -> npt.NDArray[np.float32]:
    return (np.array(colour) + rng.uniform(-spread, spread, 3)).clip(0, 255).astype(np.float32)


def _painted_ground(
    rng: np.random.Generator, colour: str, size: tuple[int, int], paint: float
) -> npt.NDArray[np.float32]:
    """A ground [height, width, 3] of a colour, that may grow lighter or darker along a direction."""
    width, height = size
    pixels = np.empty((height, width, 3), np.float32)
    pixels[:] = _tint(rng, COLOURS[colour], 25 * paint)
    if rng.random() < 0.4 * paint:
        slope_x, slope_y = rng.uniform(-25, 25, 2) * paint
        shade = slope_x * np.linspace(-1, 1, width)[None, :] + slope_y * np.linspace(-1, 1, height)[:, None]
        pixels += shade[..., None].astype(np.float32)
    return pixels


def _mask(thing: Thing, rng: np.random.Generator, split: Split, size: tuple[int, int], place: float) -> Mask:
    """Where the thing is, 0 to 1, cropped to it."""
    share = 0.85 - place * rng.uniform(0, 0.45)
    side = int(min(size) * share) // 4 * 4
    if thing.kind == "shape":
        return _shape_mask(thing.name, side)
    path = font_files(split)[int(rng.integers(len(font_files(split))))]
    room = (int(size[0] * (0.92 - place * rng.uniform(0, 0.2))) // 4 * 4, side)
    mask = _text_mask(thing.name, path, room)
    tilt = 8 * place * rng.uniform(-1, 1)
    return _rotated(mask, tilt, size) if abs(tilt) > 2 else mask


@functools.lru_cache(maxsize=4096)
def _text_mask(text: str, path: Path, room: tuple[int, int]) -> Mask:
    """A text as large as fits into ``room``, (width, height)."""
    probe = font(path, 64).getbbox(text)
    scale = min(room[0] / (probe[2] - probe[0]), room[1] / (probe[3] - probe[1]))
    face = font(path, max(8, int(64 * scale)))
    left, top, right, bottom = face.getbbox(text)
    image = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), text, font=face, fill=255)
    return _as_mask(image.crop((0, 0, min(image.width, room[0]), min(image.height, room[1]))))


def _rotated(mask: Mask, degrees: float, size: tuple[int, int]) -> Mask:
    image = Image.fromarray((mask * 255).astype(np.uint8)).rotate(degrees, Image.Resampling.BILINEAR, expand=True)
    return _as_mask(image) if image.width <= size[0] and image.height <= size[1] else mask


def _as_mask(image: Image.Image) -> Mask:
    return np.asarray(image, np.float32) / np.float32(255)


@functools.cache
def _shape_mask(name: str, side: int) -> Mask:
    large = side * _SUPERSAMPLED
    image = Image.new("L", (large, large))
    _draw_shape(ImageDraw.Draw(image), name, large - 1)
    return _as_mask(image.resize((side, side), Image.Resampling.BICUBIC))


def _draw_shape(pen: ImageDraw.ImageDraw, name: str, side: int) -> None:
    middle = side / 2
    match name:
        case "circle":
            pen.ellipse((0, 0, side, side), fill=255)
        case "ring":
            pen.ellipse((0, 0, side, side), fill=255)
            pen.ellipse((side * 0.28, side * 0.28, side * 0.72, side * 0.72), fill=0)
        case "square":
            pen.rectangle((side * 0.05, side * 0.05, side * 0.95, side * 0.95), fill=255)
        case "cross":
            pen.rectangle((side * 0.33, 0, side * 0.67, side), fill=255)
            pen.rectangle((0, side * 0.33, side, side * 0.67), fill=255)
        case "heart":
            pen.ellipse((0, 0, middle, middle), fill=255)
            pen.ellipse((middle, 0, side, middle), fill=255)
            pen.polygon(
                [(side * 0.07, side * 0.38), (middle, side * 0.2), (side * 0.93, side * 0.38), (middle, side)], fill=255
            )
        case _:
            pen.polygon(_corners(name, middle), fill=255)


def _corners(name: str, middle: float) -> list[tuple[float, float]]:
    """Corners of a shape with straight sides, around (middle, middle)."""
    if name == "triangle":
        return [(middle, 0), (2 * middle, 2 * middle), (0, 2 * middle)]
    points = 5 if name == "star" else 2
    inner = 0.42 if name == "star" else 1.0
    radii = [middle * (inner if corner % 2 else 1.0) for corner in range(2 * points)]
    return [
        (middle + radius * math.sin(corner * math.pi / points), middle - radius * math.cos(corner * math.pi / points))
        for corner, radius in enumerate(radii)
    ]
