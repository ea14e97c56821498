"""Decodes one untrusted sound file to mono 16 kHz samples, within limits.

Limits are checked on what the header claims before anything is decoded, and on what is really there while it is. A
library's own words never leave: every message is ours. Knows no gRPC and no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio_encoder import ffmpeg, libsndfile
from audio_encoder.formats import Format, sniff
from audio_encoder.pcm import MonoResampler, Samples, SoundLimits, refusal
from audio_encoder.source import Source

TOLERATED_LOSS_S = 0.1
"""A file may fall this short of the length that it claims: codecs pad, and writers round."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A decoded sound."""

    samples: Samples
    """float32 [n], mono, 16 kHz, in about -1..1."""
    seconds: float
    """Its length as it was sent."""


def decode(data: bytes, limits: SoundLimits) -> Sound:
    """Decodes a file: WAV, FLAC, MP3, Ogg (Vorbis, Opus), MP4/M4A or WebM.

    Raises MediaError, field "audio", for anything else, for what breaks a limit, and for a file that ends before the
    length it claims. A bare MP3 or Ogg stream claims none: the whole packets that are there are the sound.
    """
    if not data:
        raise refusal("It is empty.")
    if len(data) > limits.file_bytes:
        raise refusal(f"The file is larger than {limits.file_bytes} bytes. Send a smaller one.")
    kind = sniff(data)
    if kind is None:
        raise refusal("Its format is not known. Send WAV, FLAC, MP3, Ogg (Vorbis, Opus), MP4/M4A or WebM.")
    open_source = ffmpeg.open_source if kind in (Format.MP4, Format.WEBM) else libsndfile.open_source
    with open_source(data, kind) as source:
        return _read(source, limits)


def _read(source: Source, limits: SoundLimits) -> Sound:
    resampler = MonoResampler(source.sample_rate, source.channels, limits)
    resampler.check_length(source.claimed_frames)
    parts = [resampler.push(chunk) for chunk in source.chunks]
    parts.append(resampler.finish())
    if resampler.num_frames < source.claimed_frames - TOLERATED_LOSS_S * source.sample_rate:
        raise refusal("It ends before the length that it claims: it was cut off. Send the whole file.")
    return Sound(np.concatenate(parts), resampler.seconds)
