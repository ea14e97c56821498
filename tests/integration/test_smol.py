"""The real decoder against an independent implementation: twenty prompts, greedy, float32, token for token."""

from __future__ import annotations

import pytest
import torch

from llm_decoder.loading import EngineSettings, load_engine
from tests.fakes import CollectingSink, request
from tests.fused import FusedModel
from trichord.client import user
from trichord.settings import ModelSettings

PROMPTS = (
    "What is the capital of France?",
    "Name three colours.",
    "Write a haiku about rain.",
    "What is 2 + 2?",
    "Translate 'good morning' to Spanish.",
    "Who wrote Hamlet?",
    "List the planets.",
    "Explain gravity to a child.",
    "What does a vet do?",
    "Give me a recipe for pancakes.",
    "Why is the sky blue?",
    "What comes after Tuesday?",
    "Tell me a joke.",
    "How many legs has a spider?",
    "Write a Python function that adds two numbers.",
    "What is the opposite of hot?",
    "Is a tomato a fruit?",
    "Summarize: the cat sat on the mat and slept.",
    "Wie geht es dir?",
    "Continue: once upon a time",
)
NUM_TOKENS = 16


@pytest.mark.demo
def test_greedy_continuations_equal_the_independent_llamas(demo):
    torch.set_num_threads(1)
    fused = FusedModel(demo)
    engine = load_engine(ModelSettings(checkpoint=demo, dtype="float32"), EngineSettings(kv_cache_bytes=1 << 28))
    prompts = [fused.prompt([user(text)], []) for text in PROMPTS]
    sinks = [CollectingSink() for _ in prompts]
    for prompt, sink in zip(prompts, sinks, strict=True):
        stops = fused.stop_ids
        engine.submit(request(prompt.ids.tolist(), sink, max_tokens=NUM_TOKENS, stop_token_ids=stops))
    try:
        for text, sink in zip(PROMPTS, sinks, strict=True):
            assert sink.done.wait(120)
            answer = [token for token in sink.token_ids if token not in fused.stop_ids]
            assert answer == fused.greedy([user(text)], NUM_TOKENS, guess=answer), text
            assert sink.failure is None
    finally:
        engine.close()
