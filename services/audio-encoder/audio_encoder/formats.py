"""Tells a sound file's format by its first bytes: the allow-list that stands before every decoder.

Pure. Knows nothing of what the rest of the file holds.
"""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """A format on the list."""

    WAV = "WAV"
    FLAC = "FLAC"
    MP3 = "MP3"
    OGG = "OGG"
    MP4 = "MP4"
    WEBM = "WebM"


_MAGIC = {b"fLaC": Format.FLAC, b"OggS": Format.OGG, b"\x1aE\xdf\xa3": Format.WEBM}

_ID3_HEADER_BYTES = 10


def sniff(data: bytes) -> Format | None:
    """The format of a file, or None if it is not on the list. An ID3v2 tag may come first."""
    start = _id3_bytes(data)
    head = data[start : start + 12]
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return Format.WAV
    if head[4:8] == b"ftyp":  # ISO 14496-12: the file type box comes first
        return Format.MP4
    if _is_mpeg_audio_frame(head):
        return Format.MP3
    return _MAGIC.get(head[:4])


def _id3_bytes(data: bytes) -> int:
    """Length of the ID3v2 tag at the start: 4 bytes of 7 bits each (id3.org, ID3v2.4.0 section 3.1)."""
    if data[:3] != b"ID3" or len(data) < _ID3_HEADER_BYTES:
        return 0
    size = 0
    for byte in data[6:_ID3_HEADER_BYTES]:
        size = size << 7 | byte & 0x7F
    return _ID3_HEADER_BYTES + size


def _is_mpeg_audio_frame(head: bytes) -> bool:
    """11 set bits of sync, then a version and a layer that are not reserved (ISO 11172-3, section 2.4.2.3)."""
    if len(head) < 2 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 0b11, head[1] >> 1 & 0b11
    return version != 0b01 and layer != 0b00
