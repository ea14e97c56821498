"""The file of a trace: what is written is read, what is wrong is named, and nothing else comes through."""

import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.replay import azure, trace
from autoscaler.replay.mix import Mix
from autoscaler.replay.trace import HEADER, Arrival, parse
from autoscaler.replay.traces import SHAPES, generate
from trichord.errors import SettingsError

TEXT = Arrival(0.0, 0, 0, 0.0, 100, 10)


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    times = sorted(draw(st.lists(st.floats(0, 1e6, allow_nan=False), max_size=20)))
    result = []
    for time_s in times:
        images = draw(st.integers(0, 8))
        tiles = draw(st.integers(images, 80)) if images else 0
        audio_s = draw(st.floats(0, 120))
        result.append(Arrival(time_s, images, tiles, audio_s, draw(st.integers(1, 10**6)), draw(st.integers(1, 10**6))))
    return result


@given(arrivals())
def test_what_is_written_is_read(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    trace.write(written, path)
    assert trace.read(path) == written


@given(st.text() | st.text(alphabet="0123456789.,e-\n"))
def test_any_text_is_read_within_bounds_or_refused(text):
    file = io.StringIO(f"{HEADER}\n{text}")
    with contextlib.suppress(SettingsError):
        for number, arrival in enumerate(parse(file), 1):
            assert number <= text.count("\n") + 1
            assert 0 <= arrival.time_s < 1e9
            assert arrival.prompt_tokens >= 1


REFUSED = {
    "no header": ("0,0,0,0,1,1\n", "Line 1"),
    "a value too few": (f"{HEADER}\n0,0,0,0,1\n", "Line 2 of the trace has 5 values"),
    "an empty line": (f"{HEADER}\n0,0,0,0,1,1\n\n", "Line 3 of the trace has 1 values"),
    "not a number": (f"{HEADER}\nnan,0,0,0,1,1\n", "time_s is a number"),
    "infinite": (f"{HEADER}\n0,0,0,inf,1,1\n", "audio_s is a number"),
    "negative": (f"{HEADER}\n0,0,0,-1,1,1\n", "audio_s is a number"),
    "a broken count": (f"{HEADER}\n0,0,0,0,1.5,1\n", "prompt_tokens is a whole number"),
    "underscores": (f"{HEADER}\n0,0,0,0,1_0,1\n", "prompt_tokens is a whole number"),
    "a blank": (f"{HEADER}\n0,0,0,0, 1,1\n", "prompt_tokens is a whole number"),
    "no answer": (f"{HEADER}\n0,0,0,0,1,0\n", "output_tokens is a whole number from 1"),
    "an image without tiles": (f"{HEADER}\n0,1,0,0,1,1\n", "every image has at least one tile"),
    "tiles without an image": (f"{HEADER}\n0,0,3,0,1,1\n", "every image has at least one tile"),
    "back in time": (f"{HEADER}\n5,0,0,0,1,1\n4,0,0,0,1,1\n", "Line 3 of the trace goes back in time"),
    "a line without end": (f"{HEADER}\n{'1' * 10_000}", "Line 2 of the trace is longer than 255"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(SettingsError, match=message):
        list(parse(io.StringIO(text)))


def test_a_file_that_is_not_there_is_an_error_without_its_folder(tmp_path):
    with pytest.raises(SettingsError, match=r"^Trace none.csv cannot be read: No such file"):
        trace.read(tmp_path / "none.csv")


def test_media_take_places_in_the_prompt():
    assert TEXT.positions == 100
    assert TEXT._replace(images=1, tiles=7).positions == 100 + 7 * 66
    assert TEXT._replace(audio_s=10.0).positions == 350


@pytest.mark.parametrize("name", SHAPES)
def test_generated_traces_are_the_same_for_a_seed_and_can_be_written(name, tmp_path):
    made = generate(SHAPES[name], 2.0, 1200.0, seed=7)
    assert made == generate(SHAPES[name], 2.0, 1200.0, seed=7)
    assert made != generate(SHAPES[name], 2.0, 1200.0, seed=8)
    trace.write(made, tmp_path / "made.csv")
    assert trace.read(tmp_path / "made.csv") == made


def test_the_shapes_are_what_they_say():
    burst = [arrival.time_s for arrival in generate(SHAPES["burst"], 50.0, 660.0, seed=1)]
    quiet = sum(time_s < 300 for time_s in burst)
    loud = sum(300 <= time_s < 360 for time_s in burst)
    assert quiet / 300 == pytest.approx(5, rel=0.1)
    assert loud / 60 == pytest.approx(50, rel=0.1)
    assert all(time_s % 1800 < 300 for time_s in (a.time_s for a in generate(SHAPES["on-off"], 1.0, 7200.0, seed=1)))
    assert SHAPES["diurnal"](0) == pytest.approx(0.1)
    assert SHAPES["diurnal"](43_200) == pytest.approx(1.0)


def test_shares_of_media_are_those_asked_for():
    mixed = Mix(images=0.35, audio=0.10, both=0.05).onto([TEXT] * 20_000, seed=3)
    with_images = sum(a.images > 0 for a in mixed) / len(mixed)
    with_audio = sum(a.audio_s > 0 for a in mixed) / len(mixed)
    with_both = sum(a.images > 0 and a.audio_s > 0 for a in mixed) / len(mixed)
    assert (with_images, with_audio, with_both) == pytest.approx((0.40, 0.15, 0.05), abs=0.01)
    assert all(a.images <= a.tiles <= 10 * a.images and a.audio_s <= 120 for a in mixed)


AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:50.9951690,396,109\n2023-11-16 18:15:46.6805900,374,44"
)


def test_azure_traces_are_read_in_order_from_zero(tmp_path):
    path: Path = tmp_path / "azure.csv"
    path.write_text(AZURE)
    assert azure.is_azure(path)
    first, second = azure.read(path)
    assert first == Arrival(0.0, 0, 0, 0.0, 374, 44)
    assert second.time_s == pytest.approx(50.995169 - 46.680590, abs=1e-6)


def test_a_broken_line_of_an_azure_trace_is_named(tmp_path):
    path: Path = tmp_path / "azure.csv"
    path.write_text(AZURE + "\nyesterday,1,1\n")
    with pytest.raises(SettingsError, match="Line 4 of the trace is not a time"):
        azure.read(path)


def test_copies_are_as_many_and_stay_within_the_trace():
    hour = [TEXT._replace(time_s=float(second)) for second in range(0, 3600, 10)]
    many = azure.multiplied(hour, 5, seed=2)
    assert len(many) == 5 * len(hour)
    assert many == sorted(many)
    assert many[0].time_s >= 0
    assert many[-1].time_s <= hour[-1].time_s


def test_a_day_has_a_night():
    hour = [TEXT._replace(time_s=second / 2) for second in range(7200)]
    day = azure.a_day_of(hour, seed=2)
    assert day == sorted(day)
    midnight = sum(arrival.time_s < 3600 for arrival in day)
    noon = sum(43_200 <= arrival.time_s < 46_800 for arrival in day)
    assert (midnight / 7200, noon / 7200) == pytest.approx((0.1, 1.0), abs=0.02)
