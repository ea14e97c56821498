"""Text that the language model must go on saying as it did: its own answers from before any training.

There is no corpus to replay, so the model is its own: where it would have put its probabilities, it shall put them
still (self-distillation). Knows no media.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from trichord.errors import TrainingError
from trichord_training.device import device_of
from trichord_training.language_model import LanguageModel

ANSWER_TOKENS = 64
PROMPTS = (
    "What is the capital of Peru?", "Write a short poem about rain.", "Explain what a computer is to a child.",
    "Give me three tips to sleep better.", "What is photosynthesis?", "Tell me a short story about a fox.",
    "How do I boil an egg?", "What is the difference between a lake and a river?", "Name five fruits.",
    "Write a polite email that asks for a day off.", "Why is the sky blue?", "What does a teacher do?",
    "Give me a recipe for pancakes.", "What is seven times eight?", "Who wrote Hamlet?", "What is gravity?",
    "Describe a beach in the evening.", "How can I save money?", "What is a verb?", "List the planets.",
    "Write a sentence with the word bridge.", "What is a good name for a cat?", "How does a bicycle work?",
    "What is the largest ocean?", "Give an example of a metaphor.", "How long does it take to learn a language?",
    "What should I cook with rice and tomatoes?", "What is democracy?", "Write a birthday wish for a friend.",
    "Is it better to run in the morning or in the evening?", "What is the opposite of brave?",
    "Summarise the story of Cinderella.", "What are the seasons of the year?", "How do bees make honey?",
    "Write a haiku about winter.", "What can I do on a rainy day?", "Why do we dream?", "What is a prime number?",
    "Give me a riddle.", "How do I remove a coffee stain?",
)  # fmt: skip


def replay_texts(model: LanguageModel, prompts: Sequence[Sequence[int]], path: Path) -> list[list[int]]:
    """Each prompt with the untouched model's greedy answer: token ids; made once, and kept in ``path``.

    Raises TrainingError if ``path`` has something else.
    """
    if not path.exists():
        with model.untouched():
            texts = [
                _answered(model, prompt) for prompt in track(prompts, "replay texts", console=Console(stderr=True))
            ]
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(texts))
        unfinished.replace(path)
    return _kept(prompts, path)


def _kept(prompts: Sequence[Sequence[int]], path: Path) -> list[list[int]]:
    try:
        texts = [list(map(int, text)) for text in json.loads(path.read_text())]
        if [text[: len(prompt)] for text, prompt in zip(texts, prompts, strict=True)] != list(map(list, prompts)):
            raise ValueError("other prompts")
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{path.name} has no answers to these prompts. Remove it: it is made anew.") from error
    return texts


@torch.inference_mode()
def _answered(model: LanguageModel, prompt: Sequence[int]) -> list[int]:
    ids = torch.tensor([list(prompt)], device=device_of(model))
    out = model.llama.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=ANSWER_TOKENS, do_sample=False, pad_token_id=0
    )
    return [int(token) for token in out[0]]


def drift(model: LanguageModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """Kullback-Leibler divergence a token of the model from what it was, on some texts."""
    device = device_of(model)
    lengths = torch.tensor([len(text) for text in texts], device=device)
    padded = pad_sequence([torch.tensor(text) for text in texts], batch_first=True).to(device)
    real = torch.arange(padded.shape[1], device=device) < lengths[:, None]
    embeddings = model.embed(padded)
    with torch.no_grad(), model.untouched():
        before = model.scores(model.states(embeddings, lengths)[real]).log_softmax(-1)
    now = model.scores(model.states(embeddings, lengths)[real]).log_softmax(-1)
    return functional.kl_div(now, before, log_target=True, reduction="batchmean")
