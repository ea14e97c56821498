"""Answers of a model with random weights, held to schemas: what is finished is valid, and nobody else notices."""

import dataclasses
import json
import random

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.gpu.device_sampler import DeviceSampler
from llm_decoder.grammar.constraint import Constraint, Grammars
from llm_decoder.grammar.schema import ANY_OBJECT, canonical
from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.model_runner import ModelRunner
from llm_decoder.request import Finish
from llm_decoder.sampler import Sampler
from llm_decoder.scheduler import Limits, Scheduler
from tests.fakes import LLM, random_llama, request
from trichord.errors import RequestError

CONFIG = LLM.model_copy(update={"vocab_size": 272, "max_position_embeddings": 1024})
MODEL = random_llama(CONFIG)
BLOCK = 8
ENDS = {256, 257, 258}


@pytest.fixture(scope="module")
def grammars(tiny):
    return Grammars.read(tiny)


def start(num_blocks=512, max_running=6):
    cache = KvCache(CONFIG, num_blocks, BLOCK, torch.float32, "cpu")
    limits = Limits(max_running=max_running, max_waiting=64, step_tokens=32)
    runner = ModelRunner(MODEL, TorchForward(MODEL, cache), BLOCK)
    return Engine(runner, Scheduler(BlockManager(num_blocks, BLOCK), limits))


@pytest.fixture(scope="module")
def engine():
    engine = start()
    yield engine
    engine.close()


def answer(engine, requests):
    for one in requests:
        engine.submit(one)
    for one in requests:
        assert one.sink.done.wait(120)
    return [one.sink.token_ids for one in requests]


def held(grammars, schema, **sampling):
    one = request([1, 2, 3], stop_token_ids=ENDS, **{"max_tokens": 200, "temperature": 1.0, **sampling})
    (one.allowed_tokens,) = grammars.constraints(schema, 1)
    return one


def text_of(token_ids, vocabulary):
    return b"".join(vocabulary.token_bytes(token_id) for token_id in token_ids).decode()


names = st.sampled_from(["a", "b", 'q"', "größe", "$ref"])
leaves = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, width: {"type": "integer", "minimum": low, "maximum": low + width},
        st.integers(-99, 99),
        st.integers(0, 500),
    ),
    st.builds(
        lambda low, width: {"type": "string", "minLength": low, "maxLength": low + width},
        st.integers(0, 3),
        st.integers(0, 4),
    ),
    st.builds(
        lambda values: {"enum": values},
        st.lists(st.one_of(st.integers(-9, 9), st.text(max_size=4), st.none()), min_size=1, max_size=4),
    ),
    st.builds(lambda value: {"const": value}, st.one_of(st.text(max_size=5), st.lists(st.booleans(), max_size=2))),
    st.sampled_from(
        [{"type": "string", "pattern": pattern} for pattern in ("^[a-c]{1,4}$", r"^\d{2}:\d{2}$", "^(x|yy)+z$")]
    ),
    st.sampled_from([{"type": "string", "format": "date"}, {"type": "string", "format": "uuid"}]),
    st.just({"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700}),
    st.builds(
        lambda low, width: {"type": "number", "exclusiveMinimum": low, "maximum": low + width},
        st.integers(-50, 50),
        st.integers(1, 99),
    ),
    st.builds(lambda most: {"type": "object", "maxProperties": most, "minProperties": 1}, st.integers(1, 2)),
)


def _objects(inner):
    def build(properties, data):
        required = data[: len(properties)]
        return {
            "type": "object",
            "properties": properties,
            "required": [name for name, is_required in zip(properties, required, strict=False) if is_required],
            "additionalProperties": False,
        }

    return st.builds(build, st.dictionaries(names, inner, max_size=3), st.lists(st.booleans(), max_size=3))


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        _objects(inner),
        st.builds(lambda items, most: {"type": "array", "items": items, "maxItems": most}, inner, st.integers(0, 3)),
        st.builds(
            lambda items: {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)},
            st.lists(inner, min_size=1, max_size=2),
        ),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"allOf": [one, {"title": "the same"}]}, inner),
        st.builds(lambda values: {"type": "object", "additionalProperties": values, "maxProperties": 2}, inner),
        st.builds(
            lambda values: {"type": "object", "patternProperties": {"^[xy]$": values}, "additionalProperties": False},
            inner,
        ),
    ),
    max_leaves=5,
)


def _chain(link):
    node = {
        "type": "object",
        "properties": {"link": link, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
        "required": ["next"],
        "additionalProperties": False,
    }
    return {"$ref": "#/$defs/node", "$defs": {"node": node}}


@settings(max_examples=60)
@given(schema=st.one_of(schemas, st.builds(_chain, schemas)), seed=st.integers(0, 1000))
def test_a_finished_answer_is_valid(engine, grammars, vocabulary, schema, seed):
    one = held(grammars, canonical(json.dumps(schema)), seed=seed)
    (token_ids,) = answer(engine, [one])
    assert one.sink.failure is None
    if one.sink.reason is Finish.LENGTH:
        assert not ENDS & set(token_ids)
        return
    assert token_ids[-1] in ENDS
    jsonschema.validate(json.loads(text_of(token_ids[:-1], vocabulary)), schema)


def test_any_object_is_an_object(engine, grammars, vocabulary):
    requests = [held(grammars, ANY_OBJECT, seed=seed, max_tokens=400) for seed in range(24)]
    answers = answer(engine, requests)
    finished = [ids for one, ids in zip(requests, answers, strict=True) if one.sink.reason is Finish.END_OF_TURN]
    assert finished
    for token_ids in finished:
        assert isinstance(json.loads(text_of(token_ids[:-1], vocabulary)), dict)


def test_the_turn_may_end_exactly_where_the_answer_is_whole(grammars, vocabulary):
    """Every prefix of documents, against Python's own parser."""
    (constraint,) = grammars.constraints('{"type":"array","items":{"type":"integer"}}', 1)
    token_ids = vocabulary.encode("[1, 20 ,3]")
    for length in range(len(token_ids) + 1):
        allowed = set(constraint(token_ids[:length]).nonzero().flatten().tolist())
        is_whole = length == len(token_ids)
        assert (allowed >= ENDS) == is_whole
        assert bool(allowed & ENDS) == is_whole
        assert is_whole or token_ids[length] in allowed
        assert not allowed & set(range(259, 272)), "no special token is text"


def test_other_rows_of_the_batch_are_as_they_were(grammars):
    free = [request([1, 2, number], max_tokens=40, stop_token_ids=ENDS) for number in range(3)]
    alone = [request([1, 2, number], max_tokens=40, stop_token_ids=ENDS) for number in range(3)]
    beside, lonely = start(), start()
    try:
        constrained = [held(grammars, ANY_OBJECT, temperature=0.0, max_tokens=60) for _ in range(3)]
        mixed = [one for pair in zip(free, constrained, strict=True) for one in pair]
        answers = answer(beside, mixed)[::2]
        assert answers == answer(lonely, alone)
    finally:
        beside.close()
        lonely.close()


def test_a_mask_leaves_the_other_rows_of_the_logits_alone(grammars, vocabulary):
    logits = torch.randn(3, 272, generator=torch.Generator().manual_seed(0))
    free, bound = request([1]), held(grammars, ANY_OBJECT, temperature=0.0)
    expected = logits.argmax(dim=-1).tolist()
    for sampler in (Sampler(), DeviceSampler(272, 4, "cpu")):
        drawn = sampler.sample(logits.clone(), [free, bound, free])
        sampled = drawn if isinstance(drawn, list) else drawn.wait()
        assert [one.token_id for one in sampled] == [expected[0], *vocabulary.encode("{"), expected[2]]


def test_preemption_and_recomputation_change_no_answer(grammars):
    """Six answers in a cache for one and a half: they displace one another, and are what they are alone."""
    roomy, narrow = start(), start(num_blocks=20)
    schema = '{"type":"array","items":{"type":"boolean"},"minItems":15,"maxItems":20}'

    def requests():
        return [held(grammars, schema, seed=seed, max_tokens=140) for seed in range(6)]

    try:
        squeezed = requests()
        assert answer(narrow, squeezed) == answer(roomy, requests())
        assert sum(one.num_preemptions for one in squeezed) > 0
    finally:
        roomy.close()
        narrow.close()


def test_samples_of_one_prompt_go_their_own_ways(engine, grammars, vocabulary):
    schema = '{"type":"array","items":{"enum":[1,22,333]},"minItems":2,"maxItems":6}'
    constraints = grammars.constraints(schema, 4)
    first = held(grammars, schema, seed=7)
    first.allowed_tokens = constraints[0]
    others = [dataclasses.replace(first, sink=type(first.sink)(), leader=first) for _ in range(3)]
    for number, (other, constraint) in enumerate(zip(others, constraints[1:], strict=True), start=1):
        other.allowed_tokens = constraint
        other.sampling = dataclasses.replace(other.sampling, seed=7 + number)
    texts = [text_of(ids[:-1], vocabulary) for ids in answer(engine, [first, *others])]
    assert len(set(texts)) > 1
    for text in texts:
        jsonschema.validate(json.loads(text), json.loads(schema))


def test_a_grammar_that_turns_out_too_complex_fails_its_own_answer_only(engine, grammars):
    class Broken(Constraint):
        def __call__(self, output_ids):
            if len(output_ids) == 3:
                raise RequestError("too complex")
            return super().__call__(output_ids)

    broken, fine = held(grammars, ANY_OBJECT, temperature=0.0), request([4, 5], max_tokens=20)
    (inner,) = grammars.constraints(ANY_OBJECT, 1)
    broken.allowed_tokens = Broken(inner._matcher, 272)
    answer(engine, [broken, fine])
    assert broken.sink.failure == "too complex"
    assert len(broken.sink.token_ids) == 3, "nothing is said that the grammar did not allow"
    assert fine.sink.reason is Finish.LENGTH


def test_a_pattern_that_explodes_on_the_way_fails_its_own_request_only(grammars):
    schema = json.dumps({"type": "string", "pattern": r"^(\p{L}{1,500}\w{1,500}){1,50}$"})
    (exploding,), (other,) = grammars.constraints(schema, 1), grammars.constraints(schema, 1)
    rng = random.Random(0)

    def say_letters():
        output_ids = []
        for _ in range(400):
            letters = [i for i in exploding(output_ids).nonzero().flatten().tolist() if i not in ENDS]
            output_ids.append(rng.choice(letters))

    with pytest.raises(RequestError, match="too complex"):
        say_letters()
    assert other([]).any()


def test_what_the_front_would_have_refused_the_engine_refuses_too(grammars):
    with pytest.raises(RequestError, match="cannot be enforced"):
        grammars.constraints('{"$ref":"#"}', 2)
    assert grammars.constraints("", 2) == [None, None]
