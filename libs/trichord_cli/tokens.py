"""``trichord tokens``: what images and sounds cost, before they are sent.

Edge only; the arithmetic is ``trichord.media``'s. Reads sizes and lengths, never a file of media.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from trichord.model_config import ModelConfig

MAX_SECONDS = 24 * 3600.0

_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")

Images = Annotated[list[str] | None, typer.Option("--image", help="Pixels, WIDTHxHEIGHT; may be repeated.")]
Sounds = Annotated[
    list[float] | None, typer.Option("--audio", min=0, max=MAX_SECONDS, help="Seconds; may be repeated.")
]


def tokens(
    images: Images = None,
    sounds: Sounds = None,
    preset: Annotated[str, typer.Option(help="Name of a preset or checkpoint, or a path (with a slash).")] = "demo",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Tell how images are sliced, and what images and sounds cost in tokens."""
    from trichord.checkpoint.locate import config_of

    if not images and not sounds:
        raise typer.BadParameter("give at least one --image or --audio.")
    config = config_of(preset)
    image_costs = [_image_cost(text, config) for text in images or ()]
    sound_costs = [_sound_cost(seconds, config) for seconds in sounds or ()]
    total = sum(cost["tokens"] for cost in image_costs + sound_costs)
    if as_json:
        costs = {"model": config.model, "images": image_costs, "audio": sound_costs, "tokens": total}
        typer.echo(json.dumps(costs, indent=2))
    else:
        typer.echo(
            "\n".join([*map(_image_line, image_costs), *map(_sound_line, sound_costs), f"{total} tokens in all"])
        )


def _image_cost(size: str, config: ModelConfig) -> dict[str, Any]:
    from trichord.media.slicing import plan_slices

    match = _SIZE.fullmatch(size)
    if match is None:
        raise typer.BadParameter(f"{size!r} is not WIDTHxHEIGHT in pixels, such as 720x1480.", param_hint="--image")
    plan = plan_slices(int(match[1]), int(match[2]), config.slicing, config.vision.patch_size)
    return {
        "image": size,
        "grid": {"cols": plan.cols, "rows": plan.rows} if plan.cols else None,
        "slice": plan.slice_size._asdict() if plan.cols else None,
        "global": plan.global_size._asdict(),
        "tiles": plan.num_tiles,
        "patches": plan.num_patches,
        "tokens": plan.num_tokens(config.resampler.num_queries),
    }


def _sound_cost(seconds: float, config: ModelConfig) -> dict[str, Any]:
    from trichord.media.windows import SAMPLE_RATE, cut, tokens_of_seconds

    num_tokens = tokens_of_seconds(seconds, config.audio)
    return {"seconds": seconds, "windows": len(cut(round(seconds * SAMPLE_RATE), config.audio)), "tokens": num_tokens}


def _image_line(cost: dict[str, Any]) -> str:
    grid, slice_, whole = cost["grid"], cost["slice"], cost["global"]
    slices = f"{grid['cols']}x{grid['rows']} slices of {slice_['width']}x{slice_['height']}, " if grid else ""
    sizes = f"{slices}global {whole['width']}x{whole['height']}"
    return f"image {cost['image']}: {sizes}, {cost['patches']} patches, {cost['tokens']} tokens"


def _sound_line(cost: dict[str, Any]) -> str:
    return f"audio {cost['seconds']:g} s: {cost['windows']} windows, {cost['tokens']} tokens"
