"""The latency model: what it adds up to, and that more work never takes less time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trichord.simulation.latency import AudioLatency, DecoderLatency, StepLoad, VisionLatency

COSTS = st.floats(0, 1e6)
COUNTS = st.integers(0, 10_000)
LOADS = st.builds(StepLoad, COUNTS, COUNTS, COUNTS, COUNTS)


def any_of(section):
    return st.builds(section, **dict.fromkeys(section.model_fields, COSTS))


VISION = VisionLatency(pass_ms=5, weights_ms=30, tile_ms=10)
AUDIO = AudioLatency(pass_ms=2, weights_ms=6, second_ms=3)
DECODER = DecoderLatency(
    step_ms=1, weights_ms=20, prompt_token_ms=0.5, prompt_pair_ns=100, sequence_ms=2, context_token_us=10
)


@pytest.mark.parametrize(("num_tiles", "pass_ms"), [(1, 35), (3, 35), (4, 45), (8, 85)])
def test_tiles_cost_nothing_until_they_outweigh_the_weights(num_tiles, pass_ms):
    assert VISION.pass_s(num_tiles) == pytest.approx(pass_ms / 1e3)


@pytest.mark.parametrize(("audio_s", "pass_ms"), [(0.5, 8), (2, 8), (30, 92)])
def test_seconds_of_sound_cost_nothing_until_they_outweigh_the_weights(audio_s, pass_ms):
    assert AUDIO.pass_s(audio_s) == pytest.approx(pass_ms / 1e3)


@pytest.mark.parametrize(
    ("load", "step_ms"),
    [
        pytest.param(StepLoad(), 21, id="nothing but the weights"),
        pytest.param(StepLoad(num_sequences=10), 21, id="as many sequences as the weights hide"),
        pytest.param(StepLoad(num_sequences=11), 23, id="one more"),
        pytest.param(StepLoad(num_prompt_tokens=100), 51, id="a chunk of a prompt"),
        pytest.param(StepLoad(num_prompt_tokens=30, num_sequences=4), 24, id="both share the weights"),
        pytest.param(StepLoad(num_sequences=1, num_context_tokens=700), 28, id="keys and values are read besides"),
        pytest.param(StepLoad(num_prompt_tokens=1, num_prompt_pairs=40_000), 25, id="pairs are computed besides"),
    ],
)
def test_a_step_costs_what_it_holds(load, step_ms):
    assert DECODER.step_s(load) == pytest.approx(step_ms / 1e3)


@given(any_of(VisionLatency), COUNTS, COUNTS)
def test_more_tiles_never_take_less(latency, few, more):
    assert latency.pass_s(few) <= latency.pass_s(few + more)


@given(any_of(VisionLatency), st.integers(1, 20), st.integers(1, 20))
def test_one_pass_never_takes_longer_than_two(latency, some, others):
    assert latency.pass_s(some + others) <= (latency.pass_s(some) + latency.pass_s(others)) * (1 + 1e-9)


@given(any_of(AudioLatency), st.floats(0, 1e4), st.floats(0, 1e4))
def test_more_sound_never_takes_less(latency, short_s, more_s):
    assert latency.pass_s(short_s) <= latency.pass_s(short_s + more_s)


@given(any_of(DecoderLatency), LOADS, LOADS)
def test_more_work_never_takes_less_and_a_shared_step_never_more(latency, load, more):
    both = StepLoad(*(a + b for a, b in zip(load, more, strict=True)))
    assert latency.step_s(load) <= latency.step_s(both) * (1 + 1e-9)
    assert latency.step_s(both) <= (latency.step_s(load) + latency.step_s(more)) * (1 + 1e-9)
