"""Sound files of every format, and hostile ones: a sound within the limits, or a MediaError in our own words."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
from functools import cache

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_encoder.formats import Format, sniff
from audio_encoder.pcm import MonoResampler, SoundLimits
from audio_encoder.sound import Sound, decode
from tests.unit.audio_encoder.sounds import (
    Frames,
    file_of,
    muxed,
    s16,
    silent_film,
    tone,
    wav,
    with_flac_length,
)
from trichord.errors import MediaError

MIB = 1024 * 1024
LIMITS = SoundLimits(file_bytes=25 * MIB, seconds=120.0, decoded_bytes=128 * MIB)

# Container, encoding, and whether the samples come back to the bit.
LIBSNDFILE = [
    ("WAV", "PCM_U8", False),
    ("WAV", "PCM_16", True),
    ("WAV", "PCM_24", False),
    ("WAV", "PCM_32", False),
    ("WAV", "FLOAT", False),
    ("WAV", "DOUBLE", False),
    ("WAV", "ULAW", False),
    ("WAV", "ALAW", False),
    ("WAVEX", "PCM_16", True),
    ("FLAC", "PCM_16", True),
    ("FLAC", "PCM_24", False),
    ("MP3", "MPEG_LAYER_III", False),
    ("OGG", "VORBIS", False),
    ("OGG", "OPUS", False),
]
FFMPEG = [("mp4", "aac"), ("ipod", "aac"), ("mp4", "libopus"), ("mp4", "libmp3lame"), ("webm", "libopus")]


@cache
def good_files() -> dict[str, bytes]:
    """One second of a stereo tone in every format that is taken."""
    frames = tone(1.0, 48_000, 2)
    files = {
        f"{container}/{subtype}": file_of(frames, 48_000, container, subtype) for container, subtype, _ in LIBSNDFILE
    }
    files |= {f"{container}/{codec}": muxed(frames, 48_000, container, codec) for container, codec in FFMPEG}
    return files | {"MP3 with a tag": muxed(frames, 48_000, "mp3", "libmp3lame")}


def loudest_hz(sound: Sound) -> float:
    spectrum = np.abs(np.fft.rfft(sound.samples * np.hanning(len(sound.samples))))
    return float(np.argmax(spectrum)) * 16_000 / len(sound.samples)


def refused(data: bytes, limits: SoundLimits = LIMITS) -> str:
    """Why a file is refused."""
    with pytest.raises(MediaError) as caught:
        decode(data, limits)
    assert caught.value.field == "audio"
    for leak in ("0x", "rror", "soundfile", "libsndfile", "av.", "ffmpeg", "BytesIO", "/", "lost sync"):
        assert leak not in caught.value.message.replace("MP4/M4A", ""), caught.value.message
    return caught.value.message


@pytest.mark.parametrize("name", sorted(good_files()))
def test_every_format_gives_the_tone(name: str) -> None:
    sound = decode(good_files()[name], LIMITS)
    assert sound.samples.dtype == np.float32
    assert sound.seconds == pytest.approx(1.0, abs=0.06)  # lossy codecs pad
    assert len(sound.samples) == pytest.approx(16_000 * sound.seconds, abs=1)
    assert loudest_hz(sound) == pytest.approx(440, abs=2)
    loudness = np.sqrt(2 * np.mean(sound.samples[1_000:15_000].reshape(14, 1_000) ** 2, axis=1))
    np.testing.assert_allclose(loudness, 0.475 if "mp3" in name.lower() else 0.5, rtol=0.06)  # no holes


@pytest.mark.parametrize(("container", "subtype"), [row[:2] for row in LIBSNDFILE if row[2]])
def test_16_bit_files_at_16_khz_come_back_to_the_bit(container: str, subtype: str) -> None:
    frames = np.round(tone(0.5) * 32_768) / np.float32(32_768)
    sound = decode(file_of(frames, 16_000, container, subtype), LIMITS)
    np.testing.assert_array_equal(sound.samples, frames[:, 0])


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_rates_and_channels(rate: int, channels: int) -> None:
    sound = decode(file_of(tone(0.5, rate, channels), rate, "WAV"), LIMITS)
    assert len(sound.samples) == pytest.approx(8_000, abs=1)
    assert loudest_hz(sound) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(("container", "subtype"), [row[:2] for row in LIBSNDFILE])
def test_chunks_are_the_whole(container: str, subtype: str) -> None:
    """Read piece by piece, a file must be what it is when read at once: in MP3 a seek between pieces tears holes."""
    frames = tone(5.0, 16_000) * np.linspace(0.1, 1, 80_000, dtype=np.float32)[:, np.newaxis]
    data = file_of(frames, 16_000, container, subtype)
    at_once, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert len(at_once) >= 80_000
    sound = decode(data, LIMITS)
    expected = soxr.resample(at_once[:, 0], rate, 16_000) if rate != 16_000 else at_once[:, 0]
    np.testing.assert_allclose(sound.samples, expected.clip(-1, 1), atol=1e-6)


def test_channels_are_averaged() -> None:
    frames = np.stack([tone(0.2)[:, 0], -tone(0.2)[:, 0], np.full(3_200, 0.3, np.float32)], axis=1)
    sound = decode(file_of(frames, 16_000, "WAV", "FLOAT"), LIMITS)
    np.testing.assert_allclose(sound.samples, 0.1, atol=1e-6)


def test_too_loud_float_samples_are_clipped_as_16_bit_would() -> None:
    sound = decode(file_of(4 * tone(0.2), 16_000, "WAV", "FLOAT"), LIMITS)
    assert np.abs(sound.samples).max() == 1.0
    huge = decode(file_of(np.full((1_600, 8), 3e38, np.float32), 16_000, "WAV", "FLOAT"), LIMITS)
    np.testing.assert_array_equal(huge.samples, 1.0)


def test_a_film_without_sound() -> None:
    assert "no sound" in refused(silent_film())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_finite(value: float, channels: int) -> None:
    frames = tone(0.5, channels=channels)
    frames[5_000, 0] = value
    frames[5_000, -1] = -value
    assert "finite" in refused(file_of(frames, 16_000, "WAV", "FLOAT"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"R", "not known"),
        (b"\x00" * 1_000, "not known"),
        (b"hello, world" * 100, "not known"),
        (b"GIF89a" + b"\x00" * 100, "not known"),
        (b"RIFF\x00\x00\x00\x00AVI " + b"\x00" * 100, "not known"),
        (b"#EXTM3U\nhttp://127.0.0.1/x", "not known"),
        (b"ID3", "not known"),
        (b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"\xff\xfb" * 20, "not known"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00RIFF\x00\x00\x00\x00WAVE", "damaged"),
        (b"RIFF\x00\x00\x00\x00WAVE", "damaged"),
        (b"fLaC" + b"\x00" * 100, "damaged"),
        (b"OggS" + b"\x00" * 100, "damaged"),
        (b"\xff\xfb\x90\x00" + b"\x00" * 100, "damaged"),
        (b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 100, "damaged"),
        (b"\x1aE\xdf\xa3" + b"\x00" * 100, "damaged"),
    ],
)
def test_what_is_not_a_sound(data: bytes, reason: str) -> None:
    assert reason in refused(data)


@pytest.mark.parametrize(
    "data",
    [
        file_of(tone(0.5), 16_000, "AIFF"),
        file_of(tone(0.5), 16_000, "AU"),
        file_of(tone(0.5), 16_000, "CAF"),
        file_of(tone(0.5), 16_000, "RF64"),
        file_of(tone(0.5), 16_000, "W64"),
        b"ID3\x04\x00\x00\x00\x00\x00\x00" + file_of(tone(0.5), 16_000, "AIFF"),
    ],
)
def test_formats_off_the_list_never_reach_a_decoder(data: bytes) -> None:
    assert sniff(data) is None
    assert "not known" in refused(data)


def test_encodings_off_the_list_are_refused() -> None:
    assert "encoding" in refused(file_of(tone(0.5), 16_000, "WAV", "MS_ADPCM"))
    assert "encoding" in refused(file_of(tone(0.5), 16_000, "WAV", "GSM610"))
    assert "encoding" in refused(muxed(tone(0.5, 48_000), 48_000, "mp4", "alac"))
    assert "encoding" in refused(muxed(tone(0.5, 48_000), 48_000, "mov", "pcm_s16le"))
    assert "encoding" in refused(muxed(tone(0.5, 48_000), 48_000, "mp4", "ac3"))


@pytest.mark.parametrize("rate", [0, 1, 7_999, 96_001, 655_350, 0x7FFFFFFF, 0xFFFFFFFF])
def test_forged_rates(rate: int) -> None:
    assert refused(wav(b"\x00" * 32_000, rate=rate))


@pytest.mark.parametrize("channels", [0, 9, 255, 1024, 65_535])
def test_forged_channels(channels: int) -> None:
    assert refused(wav(b"\x00" * 262_140, channels=channels))


def test_a_compressed_file_with_a_forged_rate() -> None:
    flac = file_of(np.zeros((1 << 20, 8), np.float32), 655_350, "FLAC")
    assert len(flac) < 100_000
    assert "sample rate" in refused(flac)


@pytest.mark.parametrize("claim", [0, 1_600, 16_000 * 600], ids=["unknown", "too little", "the truth"])
def test_a_flac_bomb_costs_no_more_than_the_limit(claim: int) -> None:
    """600 s of silence are 28 KiB, and 37 MiB of samples, whatever the header claims."""
    bomb = with_flac_length(file_of(np.zeros((16_000 * 600, 1), np.float32), 16_000, "FLAC"), claim)
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        if claim == 1_600:
            assert decode(bomb, LIMITS).seconds <= 120
        else:
            assert "longer than 120 seconds" in refused(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2.5 * 120 * 16_000 * 4
    finally:
        tracemalloc.stop()


def test_limits() -> None:
    assert "larger than 1000 bytes" in refused(wav(s16(tone(1.0))), SoundLimits(1_000, 120.0, 128 * MIB))
    assert "longer than 0.5 seconds" in refused(wav(s16(tone(0.51))), SoundLimits(MIB, 0.5, 128 * MIB))
    assert decode(wav(s16(tone(0.5))), SoundLimits(MIB, 0.5, 128 * MIB)).seconds == 0.5
    wide = file_of(tone(1.0, 96_000, 8), 96_000, "FLAC")
    assert "decodes to more than" in refused(wide, SoundLimits(25 * MIB, 120.0, MIB))
    assert len(decode(wide, SoundLimits(25 * MIB, 120.0, 96_000 * 8 * 4)).samples) == 16_000


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_limits_hold_for_containers(container: str) -> None:
    data = muxed(tone(2.0, 48_000, 2), 48_000, container, "libopus")
    assert "longer than 1 seconds" in refused(data, SoundLimits(25 * MIB, 1.0, 128 * MIB))
    assert "decodes to more than" in refused(data, SoundLimits(25 * MIB, 120.0, 100_000))


@pytest.mark.parametrize("sizes", [{"riff_size": 0}, {"riff_size": 0xFFFFFFFF}, {"riff_size": 12}])
def test_a_lying_riff_size_does_not_matter(sizes: dict[str, int]) -> None:
    sound = decode(wav(s16(tone(0.5)), **sizes), LIMITS)
    assert len(sound.samples) == 8_000


@pytest.mark.parametrize("data_size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_piped_wav_does_not_know_its_length(data_size: int) -> None:
    assert len(decode(wav(s16(tone(0.5)), data_size=data_size), LIMITS).samples) == 8_000


def test_a_data_chunk_that_claims_more_than_there_is() -> None:
    assert "cut off" in refused(wav(s16(tone(0.5)), data_size=32_000))
    assert "longer" in refused(wav(s16(tone(0.5)), data_size=16_000 * 2 * 600))
    assert len(decode(wav(s16(tone(0.5)), data_size=16_044), LIMITS).samples) == 8_000  # counts its header: common


@pytest.mark.parametrize("name", sorted(good_files()))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.85])
def test_truncated(name: str, share: float) -> None:
    data = good_files()[name][: int(len(good_files()[name]) * share)]
    if name.startswith("OGG"):  # a stream by nature: the pages that are there are the sound
        assert _seconds(data) < 0.9
    else:
        assert refused(data)


@given(tail=st.binary(max_size=400), head=st.sampled_from([file[:64] for file in good_files().values()]))
@settings(max_examples=150, deadline=None)
def test_anything_after_a_good_start(head: bytes, tail: bytes) -> None:
    assert _seconds(head + tail) <= LIMITS.seconds


@given(name=st.sampled_from(sorted(good_files())), data=st.data())
@settings(max_examples=200, deadline=None)
def test_good_files_with_bytes_changed(name: str, data: st.DataObject) -> None:
    file = bytearray(good_files()[name])
    positions = st.one_of(st.integers(0, min(200, len(file) - 1)), st.integers(0, len(file) - 1))
    for position, value in data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), min_size=1, max_size=8)):
        file[position] = value
    assert _seconds(bytes(file)) <= LIMITS.seconds


def _seconds(data: bytes) -> float:
    """Length of a file that may be broken; 0 if it is refused, which must be in our own words."""
    with contextlib.suppress(MediaError):
        sound = decode(data, LIMITS)
        assert np.isfinite(sound.samples).all()
        assert len(sound.samples) <= LIMITS.seconds * 16_000 + 1
        return sound.seconds
    assert refused(data)
    return 0.0


@given(data=st.binary(max_size=64))
def test_sniffing_never_fails(data: bytes) -> None:
    assert sniff(data) is None or isinstance(sniff(data), Format)


@pytest.mark.parametrize("name", sorted(good_files()))
def test_sniffing_good_files(name: str) -> None:
    expected = {"MP4": "MP4", "IPOD": "MP4", "WEBM": "WebM", "WAVEX": "WAV", "MP3 WITH A TAG": "MP3"}
    container = name.split("/")[0].upper()
    assert sniff(good_files()[name]) == expected.get(container, container)


@given(rate=st.sampled_from([8_000, 16_000, 22_050, 48_000]), cuts=st.lists(st.integers(0, 4_000), max_size=5))
@settings(max_examples=30, deadline=None)
def test_samples_do_not_depend_on_where_chunks_are_cut(rate: int, cuts: list[int]) -> None:
    def resampled(pieces: list[Frames]) -> Frames:
        resampler = MonoResampler(rate, 2, LIMITS)
        return np.concatenate([*(resampler.push(piece) for piece in pieces), resampler.finish()])

    frames = tone(0.2, rate, 2)
    np.testing.assert_array_equal(resampled(np.split(frames, sorted(cuts))), resampled([frames]))
