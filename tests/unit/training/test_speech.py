"""Speech that espeak-ng really speaks, and how clips of it are kept, batched and heard."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_encoder.mel import LogMel
from trichord.errors import TrainingError
from trichord_training import clip_store, speech
from trichord_training.clip_store import batch_of, make_clips
from trichord_training.clips import Clip, read_clips, record, write_clips
from trichord_training.sounds import heard_alone, heard_in_noise
from trichord_training.speech import ACCENTS, VARIANTS, Voice, speak, with_noise

VOICE = Voice("en-us", "m3", 160, 50)
RATE = 16_000


def test_a_text_is_really_spoken() -> None:
    short, long = speak("seven", VOICE), speak("seven two four nine one three", VOICE)
    assert short.dtype == np.float32
    assert 0.2 < len(short) / RATE < 1.5
    assert len(long) > 2 * len(short)
    assert 0.01 < np.abs(long).max() <= 1.05
    assert np.array_equal(short, speak("seven", VOICE))


def test_texts_and_voices_sound_different() -> None:
    sounds = [speak("seven", VOICE), speak("eleven", VOICE), speak("seven", Voice("en-gb", "f2", 160, 50))]
    assert len({sound.tobytes() for sound in sounds}) == 3


def test_a_faster_voice_takes_less_time_and_a_higher_one_more_crossings() -> None:
    def crossings(pitch: int) -> float:
        samples = speak("one two three", Voice("en-us", "m3", 160, pitch))
        spectrum = np.abs(np.fft.rfft(samples))[: 400 * len(samples) // RATE]
        return float((spectrum * np.arange(len(spectrum))).sum() / spectrum.sum() * RATE / len(samples))

    assert len(speak("one two three", Voice("en-us", "m3", 190, 50))) < len(speak("one two three", VOICE))
    assert crossings(90) > crossings(10)


def test_accents_are_espeaks_own() -> None:
    listed = subprocess.run(["espeak-ng", "--voices=en"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()[1:]} >= set(ACCENTS)


def test_voices_of_the_test_set_are_espeaks_own() -> None:
    listed = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True).stdout
    there = {line.partition("!v/")[2].strip() for line in listed.splitlines()}
    assert set(VARIANTS["test"]) <= there


def test_no_espeak_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"cannot speak as tlh\+m3"):
        speak("seven", Voice("tlh", "m3", 160, 50))
    monkeypatch.setattr(speech.shutil, "which", lambda _: None)
    with pytest.raises(TrainingError, match="There is no espeak-ng"):
        speak("seven", VOICE)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_noise_is_12_to_45_decibels_below(seed: int) -> None:
    tone = (0.2 * np.sin(np.arange(RATE) / 5)).astype(np.float32)
    noisy = with_noise(tone, np.random.default_rng(seed))
    loudness = float(noisy @ tone / (tone @ tone))
    below = 10 * np.log10(np.square(noisy - loudness * tone).mean() / np.square(loudness * tone).mean())
    assert (noisy.dtype, len(noisy)) == (np.float32, len(tone))
    assert -46 < below < -11
    assert 10 ** (-12.5 / 20) < loudness < 10 ** (3.5 / 20)


def test_a_recording_is_that_of_its_index() -> None:
    first, again, other = record(0, "test", 3), record(0, "test", 3), record(0, "test", 4)
    assert first.text == again.text
    assert np.array_equal(first.pcm, again.pcm)
    assert not np.array_equal(first.pcm[:100], other.pcm[:100]) or first.text != other.text
    assert first.pcm.dtype == np.int16


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.text(max_size=9), st.lists(st.integers(-32768, 32767), max_size=9)), min_size=1, max_size=5)
)
def test_clips_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, list[int]]]
) -> None:
    path = tmp_path_factory.mktemp("clips") / "train-000.npz"
    write_clips(path, [Clip(text, np.array(pcm, np.int16)) for text, pcm in told])
    assert [(clip.text, clip.pcm.tolist()) for clip in read_clips(path)] == told
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_broken_file_of_clips_is_a_clear_error(tmp_path: Path, share: float) -> None:
    path = tmp_path / "train-000.npz"
    write_clips(path, [Clip("seven", np.arange(900, dtype=np.int16))])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(TrainingError, match=r"train-000\.npz is not a file of clips"):
        read_clips(path)


def test_a_store_that_was_cut_short_is_filled_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_store, "CLIPS_PER_FILE", 2)
    whole = make_clips(tmp_path, 0, "test", 3)
    assert len(whole) == 4
    kept = (tmp_path / "test-000.npz").stat().st_mtime_ns
    (tmp_path / "test-001.npz").unlink()
    filled = make_clips(tmp_path, 0, "test", 3)
    assert [(clip.text, clip.pcm.tobytes()) for clip in filled] == [(clip.text, clip.pcm.tobytes()) for clip in whole]
    assert (tmp_path / "test-000.npz").stat().st_mtime_ns == kept
    assert [clip.text for clip in whole] == [record(0, "test", index).text for index in range(4)]


@given(st.lists(st.integers(1, 10**5), min_size=1, max_size=600), st.integers(1, 40), st.integers(0, 9))
def test_an_epoch_has_every_clip_once_and_each_its_own_order(lengths: list[int], size: int, seed: int) -> None:
    size = min(size, len(lengths))
    steps = len(lengths) // size
    epochs = [[batch_of(lengths, size, e * steps + step, seed) for step in range(steps)] for e in range(2)]
    for epoch in epochs:
        seen = [index for batch in epoch for index in batch]
        assert all(len(batch) == size for batch in epoch)
        assert len(set(seen)) == len(seen) == steps * size
        assert set(seen) <= set(range(len(lengths)))
    if steps > 12:  # fewer may fall into the same order
        assert epochs[0] != epochs[1]


def test_a_batch_is_of_about_one_length() -> None:
    lengths = np.random.default_rng(0).integers(1000, 90_000, 512).tolist()
    spread = np.mean([np.ptp([lengths[index] for index in batch_of(lengths, 16, step, 0)]) for step in range(32)])
    assert spread < 0.15 * np.ptp(lengths)


def test_a_batch_is_heard_at_one_length_with_noise_of_its_own() -> None:
    mel, rng = LogMel(80, 30 * RATE), np.random.default_rng(0)
    clips = [Clip("one", rng.integers(-9000, 9000, count).astype(np.int16)) for count in (8000, 9000)]
    heard = heard_in_noise(clips, mel, np.random.default_rng(1))
    assert heard.shape[:2] == (2, 80)
    assert heard.shape[2] % 4 == 0
    assert 9000 / 160 - 4 <= heard.shape[2] <= (9000 + 3200 + 640) / 160
    assert torch.equal(heard, heard_in_noise(clips, mel, np.random.default_rng(1)))
    assert not torch.equal(heard, heard_in_noise(clips, mel, np.random.default_rng(2)))
    alone = heard_alone(clips[0], mel)
    assert torch.equal(alone[0], mel(torch.from_numpy(clips[0].pcm / np.float32(32768)))[:, : alone.shape[2]])
