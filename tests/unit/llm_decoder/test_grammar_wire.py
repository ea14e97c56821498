"""A response format from the front's parameters to the engine's requests, through the model's own adapter."""

import json
from types import SimpleNamespace

import pytest
import torch

from llm_decoder.engine_client import EngineClient
from llm_decoder.grammar.constraint import Grammars
from llm_decoder.triton_request import TritonRequests
from trichord.v1.decoder_pb2 import (
    ROLE_USER,
    DecoderMessage,
    DecoderPart,
    GenerateRequest,
    ResponseFormat,
    SamplingParams,
)

PB_UTILS = SimpleNamespace(
    TritonError=str,
    InferenceResponse=lambda output_tensors, error=None: error,
    TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
)


@pytest.fixture
def take(tiny, intake):
    """Hands a request with these sampling parameters to the adapter: what the engine gets, and what is sent back."""
    grammars = Grammars.read(tiny)

    def take(changes=None, **sampling):
        message = DecoderMessage(role=ROLE_USER, parts=[DecoderPart(text="hi")])
        work = intake.admit(GenerateRequest(messages=[message], sampling=SamplingParams(**sampling)))
        parameters = EngineClient(None, intake.template.stop_ids)._parameters(work, 60.0) | {"key": "k"}
        told = json.dumps(parameters | (changes or {}))
        submitted, sent = [], []
        sender = SimpleNamespace(send=lambda response=None, flags=0: sent.append((response, flags)))
        ids = SimpleNamespace(name=lambda: "INPUT_IDS", to_dlpack=lambda: torch.from_numpy(work.prompt.ids.copy()))
        asked = SimpleNamespace(parameters=lambda: told, get_response_sender=lambda: sender, inputs=lambda: [ids])
        engine = SimpleNamespace(submit=submitted.append)
        requests = TritonRequests(PB_UTILS, engine, "torch", max_hold_ms=0, grammars=grammars)
        requests.take(asked)
        requests.close()
        return submitted, sent

    return take


def starts(request, vocabulary):
    """The characters that an answer may begin with."""
    allowed = request.allowed_tokens([]).nonzero().flatten().tolist()
    return b"".join(vocabulary.token_bytes(token_id) for token_id in allowed).decode()


def test_free_text_has_no_constraint(take):
    (request,), sent = take()
    assert request.allowed_tokens is None
    assert sent == []


def test_every_sample_has_a_constraint_of_its_own(take, vocabulary):
    requests, sent = take(response_format=ResponseFormat(json_schema='{"type": ["array", "null"]}'), n=3)
    assert [starts(request, vocabulary) for request in requests] == ["[n"] * 3
    assert len({id(request.allowed_tokens) for request in requests}) == 3
    assert sent == []


def test_any_object_begins_with_a_brace(take, vocabulary):
    (request,), _ = take(response_format=ResponseFormat(json_object=True))
    assert starts(request, vocabulary) == "{"


def test_a_schema_that_the_engine_cannot_enforce_ends_the_whole_request_at_once(take):
    submitted, sent = take({"json_schema": '{"$ref":"#"}'}, n=3)
    assert submitted == []
    ((error, flags),) = sent
    assert error.startswith("INVALID_REQUEST: The schema cannot be enforced")
    assert flags == 1
