"""Hugging Face transformers' ``generate``: all prompts in one batch.

Arguments: the model's directory, threads.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList

from bench.peers.worker import claim_stdout, serve


class Clock(StoppingCriteria):  # type: ignore[misc]  # the library is untyped
    """Never stops anything; notes when it is asked, which is after every token."""

    def __init__(self) -> None:
        self.started, self.times_s = time.monotonic(), list[float]()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """No sequence is done."""
        self.times_s.append(time.monotonic() - self.started)
        return torch.zeros(len(input_ids), dtype=torch.bool)


def generate(model: Any, prompts: list[dict[str, Any]], num_tokens: int) -> dict[str, Any]:
    """Greedy answers to all prompts, which are equally long; seconds from the start until each token."""
    ids = torch.tensor([prompt["ids"] for prompt in prompts])
    clock = Clock()
    answers = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=num_tokens,
        do_sample=False,
        stopping_criteria=StoppingCriteriaList([clock]),
    )
    return {"streams": [{"ids": row.tolist(), "times_s": clock.times_s} for row in answers[:, ids.shape[1] :]]}


def main(directory: str, threads: int) -> None:
    """Serves the model in bf16."""
    answers = claim_stdout()
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).eval()
    model.generation_config.eos_token_id = None  # it goes on past its end of turn
    model.generation_config.pad_token_id = 0
    serve(
        answers,
        f"transformers {transformers.__version__}, torch {torch.__version__}",
        generate=lambda **arguments: generate(model, **arguments),
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
