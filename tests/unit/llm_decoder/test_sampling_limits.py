from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_decoder.sampling_limits import check
from trichord.errors import RequestError
from trichord.sampling_ranges import MAX_STOP_BYTES, MAX_STOPS
from trichord.v1.decoder_pb2 import SamplingParams

NAN, INF = math.nan, math.inf

_FIELDS = SamplingParams.DESCRIPTOR.fields
_OWN_NAMES = {"n": "num_samples", "response_format": "json_schema"}


def test_defaults() -> None:
    sampling = check(SamplingParams(), context_left=5000, vocab_size=272)
    assert sampling.max_tokens == 1024
    assert sampling.temperature == 0.0
    assert (sampling.top_k, sampling.top_p, sampling.min_p) == (0, 1.0, 0.0)
    assert (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) == (1.0, 0.0, 0.0)
    assert (sampling.stop, sampling.min_tokens, sampling.ignore_eos) == ((), 0, False)


def test_everything_given_is_kept() -> None:
    params = SamplingParams(
        max_tokens=7,
        temperature=0.5,
        top_k=40,
        top_p=0.25,
        min_p=0.125,
        repetition_penalty=1.5,
        presence_penalty=-0.5,
        frequency_penalty=2,
        seed=2**63 - 1,
        stop=["\n", "🙂"],
        min_tokens=7,
        ignore_eos=True,
        logit_bias={5: -3.5, 271: 100},
        logprobs=0,
        n=8,
    )
    sampling = check(params, context_left=100, vocab_size=272)
    kept = {field.name: getattr(sampling, _OWN_NAMES.get(field.name, field.name)) for field in _FIELDS}
    assert kept == {field.name: getattr(params, field.name) for field in _FIELDS} | {
        "stop": ("\n", "🙂"),
        "logit_bias": {5: -3.5, 271: 100},
        "response_format": "",  # goes with no min_tokens; see test_grammar_schema.py
    }


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_tokens", [0, -1, -(2**31)]),
        ("temperature", [-0.1, 5.1, NAN, INF, -INF]),
        ("top_k", [-1]),
        ("top_p", [0, -0.5, 1.1, NAN, INF]),
        ("min_p", [-0.1, 1, NAN, INF]),
        ("repetition_penalty", [0, 0.09, 10.1, -1, NAN, INF]),
        ("presence_penalty", [-2.1, 2.1, NAN, INF]),
        ("frequency_penalty", [-2.1, 2.1, NAN, INF]),
        ("seed", [2**63, 2**64 - 1]),
        ("min_tokens", [-1, 101, 2**31 - 1]),
        ("logprobs", [-1, 21]),
        ("n", [0, -1, 9, 16384]),
        (
            "logit_bias",
            [{-1: 1.0}, {272: 1.0}, {1: 101}, {1: -101}, {1: NAN}, {1: INF}, dict.fromkeys(range(1025), 1.0)],
        ),
        ("stop", [["a"] * (MAX_STOPS + 1), ["a"] * 500_000]),
    ],
)
def test_out_of_range(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(RequestError) as error:
            check(SamplingParams(**{name: value}), context_left=100, vocab_size=272)
        assert error.value.field.split("[")[0] == f"sampling.{name}"


@pytest.mark.parametrize("stop", ["", "a" * (MAX_STOP_BYTES + 1), "é" * (MAX_STOP_BYTES // 2 + 1)])
def test_a_stop_string_of_the_wrong_length_is_named(stop: str) -> None:
    with pytest.raises(RequestError) as error:
        check(SamplingParams(stop=["fine", stop]), context_left=100, vocab_size=272)
    assert error.value.field == "sampling.stop[1]"


@given(asked=st.none() | st.integers(1, 2**31 - 1), left=st.integers(1, 10_000))
def test_an_answer_never_exceeds_the_context(asked: int | None, left: int) -> None:
    assert check(SamplingParams(max_tokens=asked), left, 272).max_tokens == min(asked or 1024, left)


def test_seeds_are_drawn_anew() -> None:
    seeds = {check(SamplingParams(), 10, 272).seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert check(SamplingParams(seed=0), 10, 272).seed == 0


def test_a_vanishing_temperature_is_greedy() -> None:
    assert check(SamplingParams(temperature=1e-300), 10, 272).temperature == 0.0
    assert check(SamplingParams(temperature=0.001), 10, 272).temperature == 0.001
