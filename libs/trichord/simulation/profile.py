"""Latency profiles: what a model takes on one device, in a YAML file that people measure, read and change.

Two are shipped; ``bench/latency_profile.py`` measures others. Strict: a key that is unknown, missing, given twice or
out of range is an error that names it. Knows nothing of what the figures are used for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import structlog
from pydantic import Field, ValidationError

from trichord import strict_yaml
from trichord.errors import SettingsError
from trichord.settings import ModelSettings
from trichord.simulation.latency import AudioLatency, DecoderLatency, Section, VisionLatency

log = structlog.get_logger(__name__)

_SHIPPED = Path(__file__).parent / "profiles"
DEFAULT = _SHIPPED / "smol-cpu.yaml"
"""What is simulated if nobody says what: preset ``smol`` on two CPU cores, measured.

``demo`` differs from that in its vision tower, which is smaller: simulated, its images take longer than really.
"""


class LatencyProfile(Section):
    """One model on one device."""

    provenance: Literal["measured", "estimated"] = Field(description="Whether anyone has seen these figures.")
    note: str = Field(min_length=1, max_length=2000, description="Of what, on what, when; or estimated how.")
    mean_answer_tokens: float = Field(
        ge=1, le=1e6, description="Mean length of an answer that nothing else ends; lengths are geometric."
    )
    vision: VisionLatency
    audio: AudioLatency
    decoder: DecoderLatency

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a profile. Raises SettingsError saying which key is wrong."""
        try:
            return cls.model_validate(strict_yaml.read(path, "Latency profile"))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"Latency profile {path.name}: {key or 'the file'}: {first['msg']}.") from error


def told(settings: ModelSettings) -> LatencyProfile:
    """The profile of a model that is told to simulate; says so in the log. Raises SettingsError."""
    path = settings.simulation or DEFAULT
    profile = LatencyProfile.read(path)
    log.warning("this model is simulated", profile=path.name, provenance=profile.provenance, note=profile.note)
    return profile


def locate(name: str) -> Path:
    """The file of a profile: a path if ``name`` has a slash or ends in .yaml, else one that is shipped.

    Raises SettingsError, listing those there are.
    """
    if "/" in name or name.endswith(".yaml"):
        return Path(name).absolute()
    shipped = {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}
    if name not in shipped:
        message = f"There is no latency profile {name!r}. Shipped: {', '.join(shipped)}. Or give a file's path."
        raise SettingsError(message)
    return shipped[name]
