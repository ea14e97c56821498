"""Whether text ability stayed: how likely a checkpoint finds what the base that it was trained from would say.

Both are computed in float32, token for token over whole sequences. Shapes: N tokens, D hidden, V vocabulary, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from llm_decoder.conversation import Message
from llm_decoder.kv_cache import attend_causally
from llm_decoder.llama import Llama
from trichord.checkpoint.progress import Advance
from trichord.checkpoint.weights import load_into
from trichord.errors import TrainingError
from trichord.model_config import ModelConfig
from trichord_training.evaluation.inprocess import InProcessModel

ANSWER_TOKENS = 48


class Text(NamedTuple):
    """A prompt and what the base said, the end of the turn included, as token ids."""

    prompt: Sequence[int]
    answer: Sequence[int]


def check_comparable(base: ModelConfig, trained: ModelConfig) -> None:
    """Raises TrainingError if one language model's tokens are not the other's."""
    if base.llm != trained.llm:
        raise TrainingError(f"{trained.model} was not trained from {base.model}: their language models differ in size.")


async def answers_of(base: InProcessModel, prompts: Sequence[str], advance: Advance) -> list[Text]:
    """The base's greedy answers to prompts, with its own default system message."""
    texts = []
    for prompt in prompts:
        told, answer = await base.generate([Message("user", (prompt,))], [], ANSWER_TOKENS)
        texts.append(Text(told.ids.tolist(), answer))
        advance(1)
    return texts


def perplexity(checkpoint: Path, texts: Sequence[Text], advance: Advance) -> float:
    """The exponential of the mean negative log-likelihood of an answer's token. Raises CheckpointError."""
    with torch.device("meta"):
        model = Llama(ModelConfig.read(checkpoint).llm)
    load_into(model, checkpoint, "llm.", torch.float32)
    model.eval().requires_grad_(False)
    total = 0.0
    for text in texts:
        total += _negative_log_likelihood(model, text)
        advance(1)
    return math.exp(total / sum(len(text.answer) for text in texts))


@torch.inference_mode()
def _negative_log_likelihood(model: Llama, text: Text) -> float:
    ids = torch.tensor([*text.prompt, *text.answer])
    hidden_ND = model(model.embed(ids), torch.arange(len(ids)), _attend)
    logits = model.logits(hidden_ND[len(text.prompt) - 1 : -1])
    return torch.nn.functional.cross_entropy(logits, ids[len(text.prompt) :], reduction="sum").item()


def _attend(_layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor) -> Tensor:
    """See ``llama.Attend``: one sequence, whole."""
    return attend_causally(q_NHd, k_NKd.transpose(0, 1), v_NKd.transpose(0, 1))
