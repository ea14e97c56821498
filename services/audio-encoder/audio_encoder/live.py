"""Live sound: chunks of PCM in, windows out as soon as they are whole.

Gives the same windows as a file of the same samples. Knows no gRPC and no model.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np

from audio_encoder.pcm import MonoResampler, Samples, SoundLimits
from trichord.errors import MediaError, RequestError
from trichord.media.windows import MIN_WINDOW_SAMPLES, cut, window_samples
from trichord.model_config import AudioConfig
from trichord.v1 import audio_pb2

BYTES_PER_SAMPLE = 2
FULL_SCALE = 32_768.0


@contextlib.contextmanager
def _naming(field: str) -> Iterator[None]:
    """Says which field of StreamAudioRequest a refused sound came in."""
    try:
        yield
    except MediaError as error:
        error.at(field)
        raise


class LiveSound:
    """One sound that is still arriving. Not thread-safe: chunks have an order."""

    @_naming("format")
    def __init__(self, pcm_format: audio_pb2.PcmFormat, limits: SoundLimits, config: AudioConfig) -> None:
        """Raises MediaError for a sample rate or a number of channels that is not taken."""
        self._resampler = MonoResampler(pcm_format.sample_rate, pcm_format.channels, limits)
        self._config = config
        self._digest = hashlib.sha256()
        self._window = np.empty(window_samples(config), np.float32)
        self._filled = 0
        self._num_samples = 0

    @property
    def seconds(self) -> float:
        """Length of what has arrived."""
        return self._resampler.seconds

    @property
    def content_sha256(self) -> str:
        """Over the bytes of the samples, in hex."""
        return self._digest.hexdigest()

    @_naming("pcm_s16le")
    def push(self, pcm_s16le: bytes) -> list[Samples]:
        """Takes a chunk of interleaved 16-bit samples; gives the windows that it completes, mono 16 kHz.

        Raises RequestError for half a frame, and MediaError at the chunk that breaks a limit.
        """
        frame_bytes = BYTES_PER_SAMPLE * self._resampler.channels
        if len(pcm_s16le) % frame_bytes:
            raise RequestError(f"A chunk holds whole frames: a multiple of {frame_bytes} bytes.", field="pcm_s16le")
        self._resampler.check_length(self._resampler.num_frames + len(pcm_s16le) // frame_bytes)
        self._digest.update(pcm_s16le)
        frames = np.frombuffer(pcm_s16le, "<i2").reshape(-1, self._resampler.channels).astype(np.float32)
        return list(self._fill(self._resampler.push(frames / FULL_SCALE)))

    @_naming("pcm_s16le")
    def finish(self) -> list[Samples]:
        """The windows that the end of the sound completes, a shorter last one included.

        Raises MediaError if the whole sound is too short for one.
        """
        windows = list(self._fill(self._resampler.finish()))
        cut(self._num_samples, self._config)
        if self._filled >= MIN_WINDOW_SAMPLES:
            windows.append(self._window[: self._filled])
        return windows

    def _fill(self, samples: Samples) -> Iterator[Samples]:
        self._num_samples += len(samples)
        while len(samples):
            part = samples[: len(self._window) - self._filled]
            self._window[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            samples = samples[len(part) :]
            if self._filled == len(self._window):
                yield self._window
                self._window, self._filled = np.empty_like(self._window), 0
