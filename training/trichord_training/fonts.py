"""The fonts that texts are drawn in, by set. Knows nothing of what is drawn.

A family is in one set only. Test fonts come with matplotlib, so that every machine with the tests has them; train fonts
are Debian's (``make training-system``), validation fonts TeX's, as matplotlib ships them.
"""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib as mpl
from PIL import ImageFont

from trichord.errors import TrainingError
from trichord_training.splits import Split

DEBIAN_FONTS = Path("/usr/share/fonts")

_FAMILIES = (
    "truetype/liberation", "truetype/freefont", "truetype/roboto", "truetype/open-sans", "truetype/lato",
    "truetype/comfortaa", "truetype/quicksand", "truetype/hack", "truetype/crosextra", "truetype/inconsolata",
    "opentype/cantarell", "opentype/cabin", "opentype/linux-libertine",
)  # fmt: skip

_UNFIT = ("Symbol", "Dingbat", "Hairline", "Thin", "LinBiolinum_K", "LinLibertine_I", "LinLibertine_D", "Condensed")
"""Parts of the names of files without letters, or with letters thinner than a pixel."""

_PATTERNS: dict[Split, tuple[str, ...]] = {
    "validation": ("cmr10.ttf", "cmss10.ttf", "cmtt10.ttf"),
    "test": ("DejaVuSans.ttf", "DejaVuSans-*.ttf", "DejaVuSerif.ttf", "DejaVuSerif-*.ttf"),
}
"""DejaVu Sans Mono is left out: Hack, which is trained with, was made from it."""


@functools.cache
def font_files(split: Split) -> tuple[Path, ...]:
    """The files of a set, in the order of their names. Raises TrainingError if there are none."""
    if split == "train":
        found = [path for family in _FAMILIES for path in (DEBIAN_FONTS / family).glob("*.[to]tf")]
    else:
        found = [path for name in _PATTERNS[split] for path in (Path(mpl.get_data_path()) / "fonts/ttf").glob(name)]
    fit = sorted(path for path in found if not any(part in path.name for part in _UNFIT) and "Display" not in path.name)
    if not fit:
        raise TrainingError(f"There are no fonts to {split} with. Install them: make training-system")
    return tuple(fit)


@functools.lru_cache(maxsize=4096)
def font(path: Path, size_px: int) -> ImageFont.FreeTypeFont:
    """A font at a size."""
    return ImageFont.truetype(path, size_px)
