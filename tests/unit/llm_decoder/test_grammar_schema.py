"""Schemas are bounded and of known keywords before anything is compiled; a response format goes with what it can."""

import json

import pytest

from llm_decoder import sampling_limits
from llm_decoder.grammar.schema import (
    ANY_OBJECT,
    FIELD,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_ENUM_VALUES,
    MAX_PATTERN_BYTES,
    MAX_SUBSCHEMAS,
    canonical,
)
from trichord.errors import RequestError
from trichord.v1.decoder_pb2 import ResponseFormat, SamplingParams


def nested(depth):
    schema = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


REFUSED = {
    "too many bytes": (" " * MAX_BYTES + "{}", "bytes"),
    "a deep list": ("[" * 30_000, "JSON"),
    "a deep schema": (json.dumps(nested(MAX_DEPTH)), "deep"),
    "deep data": (json.dumps({"const": nested(MAX_DEPTH)}), "deep"),
    "no JSON": ("{", "JSON"),
    "infinity": ('{"const": Infinity}', "JSON"),
    "a number that overflows": ('{"const": 1e999}', "JSON"),
    "digits without end": ('{"const": ' + "1" * 5000 + "}", "JSON"),
    "a list": ("[]", "object"),
    "true": ("true", "object"),
    "a schema that is none": ('{"properties": {"a": 1}}', "'/properties/a'"),
    "a list that is none": ('{"anyOf": {}}', "'/anyOf'"),
    "names that are none": ('{"properties": []}', "'/properties'"),
    "an unknown keyword": ('{"properties": {"a/~": {"not": {}}}}', "'/properties/a~1~0/not'"),
    "the compiler's own keyword": ('{"x-guidance": {"lenient": true}}', "'/x-guidance'"),
    "a reference elsewhere": ('{"$ref": "https://example.com/schema"}', "'/$ref'"),
    "a file": ('{"$ref": "other.json"}', "'/$ref'"),
    "an id inside": ('{"$defs": {"a": {"$id": "https://example.com/"}}}', "'/$defs/a/$id'"),
    "another dialect": ('{"$schema": "http://json-schema.org/draft-04/schema#"}', "'/$schema'"),
    "a long pattern": (json.dumps({"pattern": "a" * (MAX_PATTERN_BYTES + 1)}), "'/pattern'"),
    "a long pattern of names": (json.dumps({"patternProperties": {"é" * MAX_PATTERN_BYTES: {}}}), "bytes"),
    "a pattern that is none": ('{"pattern": 1}', "'/pattern'"),
    "an unknown format": ('{"format": "binary"}', "'/format'"),
    "an enum that is none": ('{"enum": 1}', "'/enum'"),
    "many values": (json.dumps({"enum": [0] * (MAX_ENUM_VALUES + 1)}), "enums"),
    "many schemas": (json.dumps({"anyOf": [{}] * MAX_SUBSCHEMAS}), "schemas"),
    "names counted twice": ('{"minProperties": 2}', "'/minProperties'"),
    "a large divisor": ('{"multipleOf": 10001}', "'/multipleOf'"),
    "a divisor that is none": ('{"multipleOf": true}', "'/multipleOf'"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_schema_is_refused(text, said):
    with pytest.raises(RequestError) as raised:
        canonical(text)
    assert raised.value.field == FIELD
    assert said in raised.value.message
    assert len(raised.value.message) < 300


TAKEN = [
    {"$id": "https://example.com/", "$schema": "http://json-schema.org/draft-07/schema#", "title": "a", "default": {}},
    {"properties": {"not": {"pattern": "^a$"}, "$ref": True}, "required": ["not"], "additionalProperties": False},
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": ["string", "null"], "format": "uuid"}}},
    {"const": {"not": {"x-guidance": 1}}, "enum": [{"multipleOf": 1e300}]},
    nested(MAX_DEPTH - 1),
    {"anyOf": [{}] * (MAX_SUBSCHEMAS - 1)},
    {"enum": [0] * MAX_ENUM_VALUES},
]


@pytest.mark.parametrize("schema", TAKEN)
def test_a_schema_is_taken_as_it_is(schema):
    assert json.loads(canonical(json.dumps(schema))) == schema


def test_a_schema_that_parsers_could_read_differently_is_written_anew():
    assert canonical('{"type": "string", "type" : "object"}') == '{"type":"object"}'


def check(**params):
    return sampling_limits.check(SamplingParams(**params), context_left=100, vocab_size=10).json_schema


def test_a_response_format_becomes_a_schema():
    assert check() == ""
    assert check(response_format=ResponseFormat(json_object=False)) == ""
    assert check(response_format=ResponseFormat(json_object=True)) == ANY_OBJECT
    assert check(response_format=ResponseFormat(json_schema='{"type": "null"}')) == '{"type":"null"}'


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"response_format": ResponseFormat()}, "sampling.response_format"),
        ({"response_format": ResponseFormat(json_schema="")}, FIELD),
        ({"response_format": ResponseFormat(json_object=True), "min_tokens": 1}, "sampling.min_tokens"),
        ({"response_format": ResponseFormat(json_object=True), "ignore_eos": True}, "sampling.ignore_eos"),
    ],
)
def test_a_response_format_that_cannot_be_kept_names_its_field(params, field):
    with pytest.raises(RequestError) as raised:
        check(**params)
    assert raised.value.field == field
