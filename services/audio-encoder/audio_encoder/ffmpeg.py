"""MP4 (M4A) and WebM through FFmpeg: what libsndfile cannot read.

FFmpeg is loaded only when such a file comes, and is held to two demuxers and five audio codecs, so that none of its
other parsers ever sees a byte. Knows no limits; ``sound`` counts.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from audio_encoder.formats import Format
from audio_encoder.pcm import Samples, refusal
from audio_encoder.source import Source

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

_DEMUXERS = {Format.MP4: "mp4", Format.WEBM: "webm"}

# Not ALAC: a few bytes of it can ask for a frame of 16 million samples.
_CODECS = frozenset({"aac", "flac", "mp3float", "opus", "vorbis"})


@contextlib.contextmanager
def open_source(data: bytes, kind: Format) -> Iterator[Source]:
    """Opens a file of that format. Raises MediaError, also out of the body that takes the chunks."""
    import av

    options = {"codec_whitelist": ",".join(sorted(_CODECS))}
    try:
        with av.open(
            io.BytesIO(data), "r", format=_DEMUXERS[kind], options=options, metadata_errors="ignore"
        ) as container:
            yield _source(container, kind)
    except av.FFmpegError as error:
        raise refusal(f"It cannot be decoded as {kind}: the file is damaged or cut off.") from error


def _source(container: InputContainer, kind: Format) -> Source:
    if not container.streams.audio:
        raise refusal(f"There is no sound in this {kind}.")
    stream = container.streams.audio[0]
    if stream.codec_context is None or stream.codec_context.name not in _CODECS:  # None: FFmpeg knows no such codec
        raise refusal(f"Its encoding is not one that is taken in {kind}. Send AAC or Opus.")
    frames = container.decode(stream)
    first = next(frames, None)  # the header may tell half the rate: of HE-AAC only the decoder knows it
    if first is None:
        raise refusal(f"There is no sound in this {kind}.")
    claimed_frames = round(_claimed_s(container, stream) * first.sample_rate)
    chunks = _chunks(itertools.chain([first], frames), _shape(first))
    return Source(first.sample_rate, first.layout.nb_channels, claimed_frames, chunks)


def _claimed_s(container: InputContainer, stream: AudioStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # else the container's length may be its film's
    return (container.duration or 0) / 1e6 if alone else 0.0


def _chunks(frames: Iterable[AudioFrame], shape: tuple[int, int, str]) -> Iterator[Samples]:
    from av import AudioResampler

    to_interleaved_float = AudioResampler(format="flt")
    for frame in frames:
        if _shape(frame) != shape:
            raise refusal("It changes its sample rate or channels half-way. Send one format throughout.")
        for packed in to_interleaved_float.resample(frame):
            samples: Samples = packed.to_ndarray().astype(np.float32, copy=False)
            yield samples.reshape(-1, shape[1])


def _shape(frame: AudioFrame) -> tuple[int, int, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.format.name
