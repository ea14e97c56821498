"""What a request may say, and the path and code of everything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openai_http import parameters
from gateway.openai_http.refusals import HttpError
from tests.unit.gateway.openai_http.http_lab import audio, image, question, text, user

MISSING, INVALID = "missing_required_parameter", "invalid_value"


def refusal(body: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(HttpError) as caught:
        parameters.parse(body)
    assert caught.value.status == 400
    return caught.value.field, caught.value.openai_code


def audio_of(format: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": "", "format": format}}


def system(part: dict[str, Any]) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "system", "content": [part]}, user()]}


def schema_named(name: str) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": {}}}


NUMBERS: dict[str, tuple[Any, ...]] = {
    "temperature": (-0.1, 2.1, "1", True),
    "top_p": (-0.1, 1.1),
    "n": (0, 9, 16384, 1.5),
    "seed": (-(2**63) - 1, 2**63, 1.0),
    "max_tokens": (0, -1, 2**31),
    "max_completion_tokens": (0, 10**30),
    "frequency_penalty": (-2.1, 2.1),
    "presence_penalty": (-3, "x"),
    "top_k": (-1, 2**31),
    "min_p": (1, -0.1),
    "repetition_penalty": (0, 11),
    "min_tokens": (-1,),
    "priority": ("urgent", 1),
    "degradation": ("", "hope"),
    "stream": ("true", 1),
    "user": ("x" * 513,),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in NUMBERS.items() for value in values])
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    assert refusal(question(**{name: value})) == (name, INVALID)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": [user()]}, "model", MISSING),
        ({"model": "fake"}, "messages", MISSING),
        ({"model": "fake", "messages": []}, "messages", INVALID),
        ({"model": "fake", "messages": "hi"}, "messages", INVALID),
        ({"model": "fake", "messages": [user()] * 4097}, "messages", INVALID),
        ({"model": "fake", "messages": [{"content": "hi"}]}, "messages[0]", MISSING),
        ({"model": "fake", "messages": [user(), {"role": "tool", "content": "x"}]}, "messages[1]", INVALID),
        ({"model": "fake", "messages": [user(), {"role": "user"}]}, "messages[1].content", MISSING),
        ({"model": "fake", "messages": [user(), user({"type": "file"})]}, "messages[1].content[0]", INVALID),
        (question(text(), {"type": "text"}), "messages[0].content[1].text", MISSING),
        (question({"type": "image_url", "image_url": {}}), "messages[0].content[0].image_url.url", MISSING),
        (question({"type": "image_url", "image_url": "data:"}), "messages[0].content[0].image_url", INVALID),
        (question(audio_of("exe")), "messages[0].content[0].input_audio.format", INVALID),
        (system(image()), "messages[0].content[0].type", INVALID),
        ({"model": "fake", "messages": [user(*[text()] * 513)]}, "messages[0].content", INVALID),
        (question(stop=["a"] * 17), "stop", INVALID),
        (question(stop=["a"] * 500_000), "stop", INVALID),
        (question(logit_bias={"5": 101}), "logit_bias.5", INVALID),
        (question(logit_bias={"-1": 1}), "logit_bias.-1", INVALID),
        (question(logit_bias={str(i): 1 for i in range(1025)}), "logit_bias", INVALID),
        (question(logprobs=True, top_logprobs=21), "top_logprobs", INVALID),
        (question(top_logprobs=2), "top_logprobs", INVALID),
        (question(logprobs=True, top_logprobs=-1), "top_logprobs", INVALID),
        (question(stream_options={"include_usage": True}), "stream_options", INVALID),
        (question(max_tokens=1, max_completion_tokens=2), "max_tokens", INVALID),
        (question(metadata={str(i): "" for i in range(17)}), "metadata", INVALID),
        (question(response_format={"type": "xml"}), "response_format", INVALID),
        (question(response_format={"type": "json_schema"}), "response_format.json_schema", MISSING),
        (question(response_format=schema_named("a b")), "response_format.json_schema.name", INVALID),
    ],
)  # fmt: skip
def test_the_offending_place_is_named_in_the_clients_own_terms(body: dict[str, Any], param: str, code: str) -> None:
    assert refusal(body) == (param, code)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("service_tier", "flex"),
        ("store", True),
        ("reasoning_effort", "high"),
        ("verbosity", "low"),
        ("web_search_options", {}),
    ],
)
def test_what_is_known_and_not_served_is_refused_by_name(name: str, value: Any) -> None:
    assert refusal(question(**{name: value})) == (name, "unsupported_parameter")
    assert parameters.parse(question(**{name: None}))


def test_what_messages_cannot_say_here_is_refused() -> None:
    body = {"model": "fake", "messages": [user(), {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]}
    assert refusal(body) == ("messages[1].tool_calls", "unsupported_parameter")
    assert refusal({"model": "fake", "messages": [{**user(), "name": "ann"}]})[0] == "messages[0].name"


def test_defaults_hints_and_unknown_parameters_are_taken() -> None:
    defaults = {"tools": [], "tool_choice": "auto", "modalities": ["text"], "store": False, "service_tier": "default"}
    hints = {"safety_identifier": "x", "prompt_cache_key": "y", "prediction": {"type": "content", "content": "z"}}
    request = parameters.parse(question(text(), image(), audio(), **defaults, **hints, chat_template_kwargs={"a": 1}))
    assert [part.type for part in request.messages[0].content] == ["text", "image_url", "input_audio"]  # type: ignore[union-attr]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*NUMBERS, "messages", "model", "stop", "logit_bias", "tools", "response_format"]), json_values)
def test_any_value_anywhere_is_taken_or_refused(name: str, value: Any) -> None:
    body = question(**{name: value})
    refused: list[HttpError] = []
    try:
        parameters.parse(body)
    except HttpError as error:
        refused.append(error)
    assert all(error.field.startswith(name) for error in refused)
