"""One sample of an evaluation: a question with its media, and the answer that is right. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sample:
    """A message of one user, media before the text, as it is sent."""

    set: str
    """Name of the set that it belongs to."""
    index: int
    """Its place in the set; seed, split, set and index name a sample."""
    question: str
    """The text below the media; empty where the question is spoken."""
    expected: str
    images: tuple[bytes, ...] = ()
    """PNG files."""
    sound: bytes | None = None
    """A WAV file, mono, 16 kHz, 16 bits."""

    def without_media(self) -> Sample:
        """The same text alone: what may be known without seeing or hearing."""
        return replace(self, images=(), sound=None)
