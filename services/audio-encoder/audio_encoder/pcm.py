"""PCM of any rate and channels in, mono 16 kHz out, with the limits counted while it runs.

Files and live sound share it, so that the same samples become the same embedding either way. Knows no containers and
no codecs, and holds nothing but the filter's tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from trichord.errors import MediaError
from trichord.media.windows import SAMPLE_RATE

Samples = npt.NDArray[np.float32]

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 96_000
MAX_CHANNELS = 8
BYTES_PER_SAMPLE = 4


@dataclass(frozen=True, slots=True)
class SoundLimits:
    """What one sound may cost."""

    file_bytes: int
    """Bytes of the file."""
    seconds: float
    """Length of the sound."""
    decoded_bytes: int
    """Bytes of the float32 samples of all channels at the sound's own rate: what decoding and mixing really work on."""


class MonoResampler:
    """Takes one sound in chunks, in order, and gives its mono 16 kHz samples, scaled as 16-bit PCM / 32768.

    What comes out does not depend on where the chunks were cut. Every MediaError names the field "audio".
    """

    def __init__(self, sample_rate: int, channels: int, limits: SoundLimits) -> None:
        """Raises MediaError for a rate outside 8 000 to 96 000 Hz, or channels outside 1 to 8."""
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise refusal(f"Its sample rate is not between {MIN_SAMPLE_RATE} and {MAX_SAMPLE_RATE} Hz. Resample it.")
        if not 1 <= channels <= MAX_CHANNELS:
            raise refusal(f"It does not have between 1 and {MAX_CHANNELS} channels. Mix it down.")
        self.sample_rate = sample_rate
        self.channels = channels
        self.num_frames = 0
        """Frames (one sample of each channel) taken so far."""
        self._limits = limits
        self._soxr = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    @property
    def seconds(self) -> float:
        """Length of what was taken so far."""
        return self.num_frames / self.sample_rate

    def check_length(self, num_frames: int) -> None:
        """Raises MediaError if a sound of that many frames breaks a limit."""
        limits = self._limits
        if num_frames > limits.seconds * self.sample_rate:
            raise refusal(f"It is longer than {limits.seconds:g} seconds. Send a shorter one.")
        if num_frames * self.channels * BYTES_PER_SAMPLE > limits.decoded_bytes:
            raise refusal(f"It decodes to more than {limits.decoded_bytes} bytes. Send fewer channels or a lower rate.")

    def push(self, frames: Samples, *, last: bool = False) -> Samples:
        """Takes ``frames`` [n, channels] and gives the 16 kHz samples [m] that are ready.

        Samples outside -1..1 are clipped, as a 16-bit file would have clipped them. Raises MediaError for samples that
        are not finite, and at the chunk that breaks a limit.
        """
        self.check_length(self.num_frames + len(frames))
        self.num_frames += len(frames)
        if not np.isfinite(frames).all():
            raise refusal("It holds samples that are not finite numbers.")
        mono: Samples = np.clip(frames.mean(axis=1, dtype=np.float64), -1.0, 1.0).astype(np.float32)
        if self.sample_rate == SAMPLE_RATE:
            return mono
        resampled: Samples = self._soxr.resample_chunk(mono, last=last)
        return resampled

    def finish(self) -> Samples:
        """The 16 kHz samples that the filter still held. Nothing may be pushed after it."""
        return self.push(np.zeros((0, self.channels), np.float32), last=True)


def refusal(reason: str) -> MediaError:
    """The error for a sound that is not taken; ``reason`` says what is wrong with it and what to do."""
    return MediaError(f"The sound is refused. {reason}", field="audio")
