"""Small files that would be large: refused, in a process that the kernel holds to little more than the limit allows."""

from __future__ import annotations

import numpy as np

from tests import limited
from tests.unit.audio_encoder.sounds import file_of, muxed, tone, wav

MIB = 1024 * 1024

USE = """
from audio_encoder.pcm import SoundLimits
from audio_encoder.sound import decode
from trichord.errors import MediaError

LIMITS = SoundLimits(file_bytes=25 * 1024 * 1024, seconds=120.0, decoded_bytes=128 * 1024 * 1024)

def use(data):
    try:
        return str(len(decode(data, LIMITS).samples))
    except MediaError as error:
        return error.message
"""

TOO_LONG = "The sound is refused. It is longer than 120 seconds. Send a shorter one."
RATE = "The sound is refused. Its sample rate is not between 8000 and 96000 Hz. Resample it."
CHANNELS = "The sound is refused. It does not have between 1 and 8 channels. Mix it down."


def silence(seconds: int, rate: int, channels: int, container: str, subtype: str) -> bytes:
    return file_of(np.zeros((seconds * rate, channels), np.float32), rate, container, subtype)


def test_bombs_cost_no_more_than_the_longest_sound(tmp_path) -> None:
    flac = silence(600, 24_000, 2, "FLAC", "PCM_16")
    assert len(flac) < 100_000
    assert 600 * 24_000 * 2 * 4 > 115_000_000, "what it would decode to"
    corpus = {
        "flac": (flac, TOO_LONG),
        "opus": (silence(600, 48_000, 1, "OGG", "OPUS"), TOO_LONG),
        "forged rate": (file_of(np.zeros((1 << 20, 8), np.float32), 655_350, "FLAC", "PCM_16"), RATE),
        "rate of a wav": (wav(bytes(32_000), rate=655_350), RATE),
        "channels": (wav(bytes(262_140), channels=255), CHANNELS),
        "claimed length": (wav(bytes(32_000), data_size=0x7FFE0000), TOO_LONG),
        "good": (wav(bytes(32_000)), "16000"),
    }
    warm = file_of(tone(1.0), 16_000, "FLAC")
    done = limited.run(USE, warm, {name: data for name, (data, _) in corpus.items()}, 64 * MIB, tmp_path)
    assert done.told == {name: told for name, (_, told) in corpus.items()}
    assert done.grown_bytes < 32 * MIB


def test_a_container_bomb_costs_no_more_than_the_longest_sound(tmp_path) -> None:
    frames = np.zeros((180 * 48_000, 1), np.float32)
    corpus = {kind: muxed(frames, 48_000, kind, "libopus") for kind in ("mp4", "webm")}
    warm = muxed(tone(1.0, 48_000), 48_000, "webm", "libopus")
    done = limited.run(USE, warm, corpus, 96 * MIB, tmp_path)
    assert done.told == dict.fromkeys(corpus, TOO_LONG)
    assert done.grown_bytes < 64 * MIB
