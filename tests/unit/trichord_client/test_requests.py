"""Keyword arguments to requests of the contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from trichord.client import ChatOptions, Sampling, audio, handle, image, requests, user
from trichord.client.options import Degradation, Priority
from trichord.errors import RequestError
from trichord.v1 import decoder_pb2, gateway_pb2

ASKED = [user("hi")]


class City(BaseModel):
    name: str
    population: int


def sampling(**options: Any) -> decoder_pb2.SamplingParams:
    return requests.chat(ASKED, None, options).sampling  # type: ignore[arg-type]


def test_every_sampling_parameter_has_its_keyword() -> None:
    names = {field.name for field in decoder_pb2.SamplingParams.DESCRIPTOR.fields} - {"response_format"}
    assert set(Sampling.__annotations__) == names | {"json_object", "json_schema"}


def test_keywords_are_the_parameters() -> None:
    told = {"max_tokens": 3, "temperature": 0.5, "seed": 7, "logit_bias": {1: -2.0}, "n": 2, "stop": ["a", "b"]}
    assert sampling(**told, top_k=None) == decoder_pb2.SamplingParams(**told)


def test_one_stop_string_is_not_taken_apart() -> None:
    assert list(sampling(stop="END").stop) == ["END"]


def test_a_chat_without_options_sets_nothing() -> None:
    assert requests.chat(ASKED, None, {}) == gateway_pb2.ChatRequest(messages=ASKED)


def test_parameters_may_come_as_a_message() -> None:
    params = decoder_pb2.SamplingParams(top_p=0.5)
    request = requests.chat(ASKED, params, {"model": "tiny", "request_id": "r"})
    assert (request.sampling, request.model, request.request_id) == (params, "tiny", "r")


def test_parameters_come_once() -> None:
    with pytest.raises(TypeError, match="top_k"):
        requests.chat(ASKED, decoder_pb2.SamplingParams(), {"top_k": 1})


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="max_token"):
        sampling(max_token=3)


@pytest.mark.parametrize("schema", [City, City.model_json_schema()], ids=["model", "dict"])
def test_an_answer_is_held_to_a_schema(schema: Any) -> None:
    held = sampling(json_schema=schema, max_tokens=9)
    assert json.loads(held.response_format.json_schema) == City.model_json_schema()
    assert held.max_tokens == 9


def test_an_answer_is_held_to_json() -> None:
    assert sampling(json_object=True).response_format.json_object
    assert not sampling(json_object=False).HasField("response_format")


@pytest.mark.parametrize("priority", get_args(Priority))
def test_priorities_are_the_contracts(priority: Priority) -> None:
    assert requests.chat(ASKED, None, {"priority": priority}).priority == decoder_pb2.Priority.Value(
        f"PRIORITY_{priority.upper()}"
    )


@pytest.mark.parametrize("degradation", get_args(Degradation))
def test_degradations_are_the_contracts(degradation: Degradation) -> None:
    options: ChatOptions = {"degradation": degradation}
    assert requests.chat(ASKED, None, options).degradation == gateway_pb2.Degradation.Value(
        f"DEGRADATION_{degradation.upper()}"
    )


def test_media_are_kept_as_what_they_are() -> None:
    put = requests.put_media(image(b"I"), 1.5)
    assert (put.image_bytes, put.ttl.ToMilliseconds()) == (b"I", 1500)
    put = requests.put_media(audio(b"A"), None)
    assert (put.audio_bytes, put.HasField("ttl")) == (b"A", False)


@pytest.mark.parametrize("part", [gateway_pb2.Part(), gateway_pb2.Part(text="t"), handle("media-1")])
def test_only_bytes_are_kept(part: gateway_pb2.Part) -> None:
    with pytest.raises(RequestError, match="bytes of an image or a sound"):
        requests.put_media(part, None)


def test_the_page_is_as_large_as_the_contract_allows() -> None:
    contract = (Path(__file__).parents[3] / "protos/trichord/v1/gateway.proto").read_text()
    assert f"Most to tell, 1 to {requests.PAGE_SIZE};" in contract
