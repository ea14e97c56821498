"""WAV, FLAC, MP3 and Ogg through libsndfile.

Knows no limits but the encodings it lets through; ``sound`` counts.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator

import soundfile

from audio_encoder.formats import Format
from audio_encoder.pcm import Samples, refusal
from audio_encoder.source import CHUNK_FRAMES, Source

# libsndfile reads two dozen encodings in WAV; the rest are rare, and their decoders little tested.
_ENCODINGS = {
    Format.WAV: {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"},
    Format.FLAC: {"PCM_S8", "PCM_16", "PCM_24"},
    Format.MP3: {"MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"},
    Format.OGG: {"VORBIS", "OPUS"},
}

_CONTAINERS = {"WAV": Format.WAV, "WAVEX": Format.WAV, "FLAC": Format.FLAC, "MP3": Format.MP3, "OGG": Format.OGG}

_UNKNOWN_FRAMES = 1 << 62
"""libsndfile says 2^63 - 1 for a length that is not known, e.g. of FLAC that was written to a pipe."""

_PIPED_BYTES = 0x7FFF0000
"""A WAV header with this many data bytes or more was written to a pipe, before the length was known."""

_MAX_RIFF_CHUNKS = 64


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """A file that is only read onwards."""

    def seekable(self) -> bool:
        """No: soundfile would seek after every read, and in MP3 a seek is a guess that tears holes into the sound."""
        return False


@contextlib.contextmanager
def open_source(data: bytes, kind: Format) -> Iterator[Source]:
    """Opens a file of that format. Raises MediaError, also out of the body that takes the chunks."""
    try:
        with _ForwardFile(io.BytesIO(data)) as file:
            if _CONTAINERS.get(file.format) is not kind or file.subtype not in _ENCODINGS[kind]:
                raise refusal(f"Its encoding is not one that is taken in {kind}. Send 16-bit PCM.")
            yield Source(file.samplerate, file.channels, _claimed_frames(file, data, kind), _chunks(file))
    except soundfile.SoundFileError as error:
        raise refusal(f"It cannot be decoded as {kind}: the file is damaged or cut off.") from error


def _chunks(file: _ForwardFile) -> Iterator[Samples]:
    while len(frames := file.read(CHUNK_FRAMES, dtype="float32", always_2d=True)):
        yield frames


def _claimed_frames(file: _ForwardFile, data: bytes, kind: Format) -> int:
    frames = int(file.frames)
    if kind is Format.WAV:  # libsndfile shortens the claim to what is there, and a truncated file would pass
        return int(frames * _riff_overclaim(data))
    return frames if frames < _UNKNOWN_FRAMES else 0


def _riff_overclaim(data: bytes) -> float:
    """How many times the bytes that are there the data chunk claims; 1 if the claim holds or is none."""
    position = 12
    for _ in range(_MAX_RIFF_CHUNKS):
        if position + 8 > len(data):
            break
        name, size = struct.unpack_from("<4sI", data, position)
        position += 8
        if name == b"data":
            present = len(data) - position
            return size / present if present < size < _PIPED_BYTES and present else 1.0
        position += size + size % 2
    return 1.0
