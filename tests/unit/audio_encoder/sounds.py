"""Sound files made on the spot: good ones of every format, and forged headers."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import numpy.typing as npt
import soundfile

Frames = npt.NDArray[np.float32]


def tone(seconds: float, rate: int = 16_000, channels: int = 1, hz: float = 440.0) -> Frames:
    """A tone [n, channels] at half scale, of the same loudness in every channel."""
    wave = 0.5 * np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * hz / rate)
    return np.repeat(wave[:, np.newaxis], channels, axis=1).astype(np.float32)


def file_of(frames: Frames, rate: int, container: str, subtype: str = "PCM_16") -> bytes:
    """The frames as libsndfile writes them."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, frames.shape[1], subtype=subtype, format=container) as file:
        for start in range(0, len(frames), 48_000):  # in one piece the Vorbis encoder overflows its stack
            file.write(frames[start : start + 48_000])
    return buffer.getvalue()


def wav(
    data: bytes,
    *,
    rate: int = 16_000,
    channels: int = 1,
    bits: int = 16,
    data_size: int | None = None,
    riff_size: int | None = None,
) -> bytes:
    """A WAV file whose header says what it is told to."""
    frame_bytes = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * frame_bytes & 0xFFFFFFFF, frame_bytes & 0xFFFF, bits)
    size = len(data) if data_size is None else data_size
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def s16(frames: Frames) -> bytes:
    """Interleaved 16-bit little-endian samples."""
    return np.round(frames * 32_767).astype("<i2").tobytes()


def muxed(frames: Frames, rate: int, container: str, codec: str, **options: str) -> bytes:
    """The frames as FFmpeg writes them; up to two channels."""
    layout = {1: "mono", 2: "stereo"}[frames.shape[1]]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, container_options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(frames.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        context = stream.codec_context
        to_codec = av.AudioResampler(context.format, layout, rate, frame_size=context.frame_size or 1024)
        for piece in [*to_codec.resample(frame), *to_codec.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def silent_film() -> bytes:
    """An MP4 without sound."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for _ in range(3):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def with_flac_length(flac: bytes, num_frames: int) -> bytes:
    """The FLAC file with another length in its header (RFC 9639, section 8.2: 36 bits that end at byte 26)."""
    head = int.from_bytes(flac[18:26], "big") >> 36 << 36 | num_frames
    return flac[:18] + head.to_bytes(8, "big") + flac[26:]
