"""Bombs cost a process of their own; what was tried is remembered; the front refuses before anything is paid."""

import asyncio
import json
import subprocess
import threading
from types import SimpleNamespace

import grpc
import pytest

from llm_decoder.grammar import trial
from llm_decoder.grammar.constraint import Grammars
from llm_decoder.grammar.schema import ANY_OBJECT, FIELD, MAX_SUBSCHEMAS, canonical
from trichord import status
from trichord.errors import InternalError, OverloadedError, RequestError
from trichord.v1.decoder_pb2 import (
    ROLE_USER,
    CountTokensRequest,
    DecoderMessage,
    DecoderPart,
    GenerateRequest,
    ResponseFormat,
    SamplingParams,
)


@pytest.fixture(scope="module")
def grammars(tiny):
    return Grammars.read(tiny)


def branches(index):
    names = [f"a{index}_{number}" for number in range(6)]
    return {"anyOf": [{"type": "object", "properties": {name: {"const": 1}}, "required": [name]} for name in names]}


BOMBS = {
    "branches times branches": {"allOf": [branches(index) for index in range(9)]},
    "divisors times divisors": {"allOf": [{"type": "number", "multipleOf": prime} for prime in (9973, 9967, 9949)]},
    "patterns times patterns": {
        "type": "string",
        "allOf": [{"type": "string", "pattern": f".{{1,200}}{letter}.{{1,200}}"} for letter in "abcdefghijklmnop"],
    },
    "branches beside branches": {
        "$ref": "#/$defs/a",
        "$defs": {
            "a": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/a"}, "maxItems": most} for most in range(250)]}
        },
    },
    "a reference to itself": {"$ref": "#"},
    "a pattern that looks around": {"type": "string", "pattern": "(?=a)b"},
    "a pattern that looks back": {"type": "string", "pattern": r"(a)\1"},
    "a pattern that is none": {"type": "string", "pattern": "((("},
    "half a surrogate pair": {"const": "\ud800"},
    "branches that overlap": {"oneOf": [{"type": "number"}, {"type": "integer"}]},
    "a contradiction": {"type": "object", "required": ["a"], "additionalProperties": False},
    "a reference to nothing": {"$ref": "#/$defs/a"},
    "a type that is none": {"type": "text"},
}


@pytest.mark.parametrize("schema", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_in_our_own_words(schema):
    with pytest.raises(RequestError, match="cannot be enforced") as raised:
        trial.check(canonical(json.dumps(schema)))
    assert raised.value.field == FIELD


@pytest.mark.parametrize("is_open", [True, False])
def test_as_many_properties_as_a_schema_may_have(grammars, is_open):
    properties = {f"property_{number}": {"type": "integer"} for number in range(MAX_SUBSCHEMAS - 1)}
    schema = canonical(json.dumps({"type": "object", "properties": properties, "additionalProperties": is_open}))
    trial.check(schema)
    (constraint,) = grammars.constraints(schema, 1)
    assert constraint([]).sum() == 1


def test_a_schema_is_tried_once(monkeypatch):
    schema = '{"type":"array","maxItems":3}'
    trial.check(schema)
    monkeypatch.setattr(subprocess, "run", None)
    trial.check(schema)
    trial.check(ANY_OBJECT)
    with pytest.raises(TypeError):
        trial.check('{"type":"array","maxItems":4}')


def test_a_trial_that_could_not_be_held_is_our_own_fault_and_not_remembered(monkeypatch):
    schema = '{"type":"array","maxItems":5}'
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
        with pytest.raises(InternalError):
            trial.check(schema)
    with monkeypatch.context() as patched:
        patched.setattr(trial, "MAX_TRIAL_S", 1e-9)
        with pytest.raises(OverloadedError):
            trial.check(schema)
    trial.check(schema)


def test_more_trials_than_there_are_places_wait_and_then_come_back_later(monkeypatch):
    monkeypatch.setattr(trial, "MAX_WAIT_S", 0)
    for _ in range(trial.MAX_TRIALS):
        assert trial._trials.acquire(blocking=False)
    try:
        with pytest.raises(OverloadedError) as raised:
            trial.check('{"type":"array","maxItems":6}')
        assert raised.value.retry_after_s == 1
    finally:
        trial._trials.release(trial.MAX_TRIALS)


@pytest.mark.parametrize("schema", ['{"$ref":"#"}', '{"not":{}}'])
async def test_the_front_refuses_before_anything_is_paid(stub, triton, schema):
    messages = [DecoderMessage(role=ROLE_USER, parts=[DecoderPart(text="hi")])]
    sampling = SamplingParams(response_format=ResponseFormat(json_schema=schema))
    for call in (
        stub.CountTokens(CountTokensRequest(messages=messages, sampling=sampling)),
        stub.Generate(GenerateRequest(messages=messages, sampling=sampling)).read(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        error = status.from_rpc_error(raised.value, "decoder")
        assert isinstance(error, RequestError)
        assert error.field == FIELD
    assert triton.calls == []


async def test_a_schema_that_takes_its_time_holds_nobody_up(stub, monkeypatch):
    is_tried, may_end = threading.Event(), threading.Event()

    def slow(schema):
        is_tried.set()
        assert may_end.wait(60)

    monkeypatch.setattr(trial, "check", slow)
    messages = [DecoderMessage(role=ROLE_USER, parts=[DecoderPart(text="hi")])]
    sampling = SamplingParams(response_format=ResponseFormat(json_schema='{"type":"null"}'))
    slow_call = stub.CountTokens(CountTokensRequest(messages=messages, sampling=sampling))
    assert await asyncio.to_thread(is_tried.wait, 60)
    quick = await stub.CountTokens(CountTokensRequest(messages=messages))
    assert not slow_call.done()
    may_end.set()
    assert (await slow_call).prompt_tokens == quick.prompt_tokens
